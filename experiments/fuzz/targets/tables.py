"""Part files: Parquet of responses, scores, pairs and reference log-probs, whole and damaged."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from drawing import CODES, LANGUAGES, clean_texts, damaged, encoded, rows
from hypothesis import strategies as st
from sandbox import Finding, refused

from lingualign.pipeline.folder import read_parts
from lingualign.records import PAIRS, REFERENCE_LOGPS, RESPONSES, SCORES
from lingualign.translation.store import TRANSLATIONS

MESSAGES = st.lists(st.fixed_dictionaries({"role": st.just("user"), "content": clean_texts()}), max_size=2)
IDS = st.sampled_from(("a", "b", "a/b", "../x"))
LANGUAGE = st.sampled_from((*LANGUAGES, *CODES))
NUMBERS = st.one_of(st.floats(), st.integers(-3, 3).map(float))
SCHEMAS = {
    "responses": RESPONSES,
    "scores": SCORES,
    "pairs": PAIRS,
    "reference": REFERENCE_LOGPS,
    "kept": TRANSLATIONS,
}
FIELDS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "responses": {
        "prompt_id": IDS,
        "language": LANGUAGE,
        "index": st.integers(-1, 3),
        "text": clean_texts(),
        "finish_reason": st.sampled_from(("stop", "length", "x")),
        "num_tokens": st.integers(-1, 9),
    },
    "scores": {
        "prompt_id": IDS,
        "language": LANGUAGE,
        "index": st.integers(0, 3),
        "reward": st.none() | NUMBERS,
        "components": st.lists(st.fixed_dictionaries({"name": clean_texts(), "value": NUMBERS}), max_size=2),
    },
    "pairs": {
        "id": IDS,
        "prompt_id": IDS,
        "language": LANGUAGE,
        "prompt": MESSAGES,
        "chosen": MESSAGES,
        "rejected": MESSAGES,
        "chosen_score": NUMBERS,
        "rejected_score": NUMBERS,
        "chosen_index": st.integers(0, 3),
        "rejected_index": st.integers(0, 3),
        "chosen_finished": st.booleans(),
        "rejected_finished": st.booleans(),
    },
    "reference": {"id": IDS, "ref_chosen_logps": NUMBERS, "ref_rejected_logps": NUMBERS},
    "kept": {
        "source_language": LANGUAGE,
        "target_language": LANGUAGE,
        "text": clean_texts(),
        "translation": clean_texts(),
    },
}
NULLS = {"reward", "translation"}  # columns that say nothing by null


@st.composite
def parts(draw: st.DrawFn) -> tuple[str, list[bytes]]:
    """A table by name, and its part files."""
    name = draw(st.sampled_from(sorted(SCHEMAS)))
    found = []
    for _ in range(draw(st.integers(1, 2))):
        table = draw(rows(FIELDS[name], least=1))
        fits = draw(st.booleans())
        try:
            whole = encoded(table, ".parquet", SCHEMAS[name] if fits else None)
        except (pa.ArrowException, ValueError):
            whole = b""
        if draw(st.integers(0, 9)) == 0 and whole:
            whole = _twice(whole)
        found.append(draw(damaged(st.just(whole))))
    return name, found


def _twice(whole: bytes) -> bytes:
    """The same table with its first column twice."""
    table = pq.read_table(io.BytesIO(whole))
    if not table.num_columns:
        return whole
    buffer = io.BytesIO()
    pq.write_table(table.append_column(table.schema.field(0), table.column(0)), buffer)
    return buffer.getvalue()


CASES = parts()


def check(case: tuple[str, list[bytes]], folder: Path) -> None:
    """Every value is of the type that the schema says, and none is missing."""
    name, contents = case
    for number, content in enumerate(contents):
        (folder / f"part-en-{number:06d}.parquet").write_bytes(content)
    found, _ = refused(read_parts, folder, SCHEMAS[name])
    for row in found or []:
        if list(row) != SCHEMAS[name].names:
            raise Finding(f"columns are {list(row)}")
        pa.Table.from_pylist([row], schema=SCHEMAS[name])
        empty = [column for column, value in row.items() if value is None and column not in NULLS]
        if empty:
            raise Finding(f"no value in {empty}")
