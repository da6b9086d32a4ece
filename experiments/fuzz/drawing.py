"""What inputs are drawn from: texts that hurt, values of JSON, tables of every kind, and damage to bytes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

LANGUAGES = ("en", "sw", "de")
CODES = (
    *LANGUAGES,
    "zh-Hans",
    "pt-BR",
    "EN",
    "en ",
    "xx",
    "",
    "../../x",
    "/tmp/x",
    "en/../de",
    "a\0b",
    "=en",
    "e" * 300,
)
HURTFUL = (
    "", " ", "\0", "\x1b[31mred\x1b]0;title\x07", "\ud800", "../../../escape", "/etc/passwd", "~nobody/x",
    "a" * 300, "=1+1", "@SUM(1)", "<script>alert(1)</script>", "[red]markup[/red]", "[/]", "nan", "1e999",
    "9" * 5000, "-0", "\u2028line\u2029", "\u202ereversed", "\ufeff", "{{ 7*7 }}", "{text}", "${HOME}",
    "%s%n", "None", "null", "<<0>>", "[0]", "⟦1⟧", "`x`", "$x$", "\\(a\\)", "```", "\\boxed{", "Answer: B",
    "[[5]]", "[[", "1,234.5", "١٢", "|pipe|", "line\nbreak", "tab\tcell", "'", '"', "\\", "true",
    "!!python/object:os.system x", "&a [*a]",
)  # fmt: skip
UNITS = (
    "\\(", "\\[", "$$", "$", "`", "``", "```", "<!--", "<", "[[", "[", "{", '"', "{\"", "<<", "9", "1,11",
    ",", "\\boxed{", " ", "\n", "a", "a ", "é", "中", "\u0301", "_", "a_b ", "a.b", "@", "http://", "-", "#",
    "&", "*", "Answer:", "\t",
)  # fmt: skip


def texts(hurtful: bool = True) -> st.SearchStrategy[str]:
    """Short texts, texts that hurt, and one thing repeated many times: what slow patterns stumble over."""
    repeated = st.builds(
        lambda head, unit, count, tail: head + unit * count + tail,
        st.sampled_from(("", "x", "Answer: ", "[[", "{", "http://")),
        st.sampled_from(UNITS),
        st.integers(0, 30_000),
        st.sampled_from(("", "x", "\n", "}", "]]", ":")),
    )
    joined = st.lists(st.one_of(st.sampled_from(HURTFUL), st.text(max_size=10)), max_size=6).map("".join)
    found = [st.text(max_size=30), st.sampled_from(HURTFUL), joined, repeated]
    return st.one_of(*found) if hurtful else st.text(max_size=30)


def clean_texts() -> st.SearchStrategy[str]:
    """Texts that any file can hold: no half surrogate pairs."""
    return texts().map(lambda text: text.encode("utf-8", "ignore").decode())


def words() -> st.SearchStrategy[str]:
    """A sentence that nobody objects to."""
    return st.lists(st.sampled_from(("water", "maji", "Wasser", "is", "ni", "7", "two")), min_size=1).map(
        " ".join
    )


def json_values() -> st.SearchStrategy[Any]:
    """Any value of JSON, as Python's parser gives it."""
    scalars = st.one_of(
        st.none(), st.booleans(), st.integers(-5, 5), st.just(10**400), st.floats(), texts(), st.just(1e308)
    )
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts(hurtful=False), inner, max_size=3),
        max_leaves=6,
    )


def rows(
    fields: Mapping[str, st.SearchStrategy[Any]], least: int = 0
) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Rows whose fields are mostly as they should be, sometimes anything, and sometimes missing."""

    @st.composite
    def row(draw: st.DrawFn) -> dict[str, Any]:
        found = {}
        for name, good in fields.items():
            kind = draw(st.integers(0, 19))
            if kind:  # 0: missing
                found[name] = draw(json_values() if kind == 1 else good)
        return found

    return st.lists(row(), min_size=least, max_size=6)


def good_rows(
    fields: Mapping[str, st.SearchStrategy[Any]], least: int = 1
) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Rows as they should be."""
    return st.lists(st.fixed_dictionaries(dict(fields)), min_size=least, max_size=6)


SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")


def encoded(table: Sequence[Mapping[str, Any]], suffix: str, schema: pa.Schema | None = None) -> bytes:
    """Rows as a file of one of the kinds that are read; what a kind cannot hold becomes text."""
    if suffix == ".jsonl":
        return "".join(json.dumps(row) + "\n" for row in map(_limited, table)).encode()
    if suffix == ".json":
        return json.dumps([_limited(row) for row in table]).encode()
    if suffix == ".csv":
        names = list(dict.fromkeys(name for row in table for name in row))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, names)
        writer.writeheader()
        writer.writerows({name: _cell(value) for name, value in row.items()} for row in table)
        return text.getvalue().encode("utf-8", "ignore")
    buffer = io.BytesIO()
    pq.write_table(_arrow(table, schema), buffer, write_page_checksum=False)
    return buffer.getvalue()


def _limited(value: Any) -> Any:
    """A value that `json.dumps` writes: it refuses whole numbers of more than 4,300 digits."""
    return value if not isinstance(value, Mapping) else dict(value)


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _arrow(table: Sequence[Mapping[str, Any]], schema: pa.Schema | None) -> pa.Table:
    try:
        return pa.Table.from_pylist([dict(row) for row in table], schema=schema)
    except (pa.ArrowException, OverflowError, UnicodeError, ValueError, TypeError):
        texts = [
            {name: _cell(value).encode("utf-8", "ignore").decode() for name, value in row.items()}
            for row in table
        ]
        return pa.Table.from_pylist(texts)


TOKENS = (
    b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\"", b"'", b"{", b"}", b"[", b"]", b",", b":", b"\n", b"\r",
    b"\\ud800", b"NaN", b"1e999", b"null", b"[" * 100_000, b'{"a":' * 100_000, b"9" * 5000, b"-", b"&a [*a]",
    b"!!python/name:os.system", b"!!int x", b"!!timestamp x", b"!!binary x", b"%", b"<<:", b"- ", b"\t",
    b"\x1b]0;x\x07", b"\xc3\x28", b"PAR1",
)  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, whole: st.SearchStrategy[bytes], most: int = 3) -> bytes:
    """Bytes that were whole: cut, with bits turned, with tokens put in, with a stretch twice or gone."""
    content = draw(whole)
    for _ in range(draw(st.integers(0, most))):
        at = draw(st.integers(0, len(content)))
        length = draw(st.integers(0, 40))
        kind = draw(st.integers(0, 6))
        if kind == 0:
            content = content[:at]
        elif kind == 1 and content:
            place = min(at, len(content) - 1)
            turned = content[place] ^ (1 << draw(st.integers(0, 7)))
            content = content[:place] + bytes([turned]) + content[place + 1 :]
        elif kind == 2:
            content = content[:at] + draw(st.sampled_from(TOKENS)) + content[at:]
        elif kind == 3:
            content = content[:at] + content[at + length :]
        elif kind == 4:
            content = content[: at + length] + content[at:]
        elif kind == 5:
            content = content[:at] + draw(st.binary(max_size=8)) + content[at + length :]
        else:
            content = content.replace(*draw(st.tuples(st.sampled_from(TOKENS), st.sampled_from(TOKENS))), 3)
    return content


@st.composite
def files(
    draw: st.DrawFn, table: st.SearchStrategy[list[dict[str, Any]]], suffixes: Sequence[str] = SUFFIXES
) -> tuple[str, bytes]:
    """A file of rows, mostly damaged: its ending and its bytes."""
    suffix = draw(st.sampled_from(tuple(suffixes)))
    found = draw(table)
    try:
        whole = encoded(found, suffix)
    except (pa.ArrowException, ValueError, csv.Error):  # nobody can write these rows
        whole = encoded([], ".jsonl")
    return suffix, draw(damaged(st.just(whole)))
