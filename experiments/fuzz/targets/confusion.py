"""The Language Confusion Benchmark: a zip that may hold anything, and files of responses."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

from drawing import CODES, LANGUAGES, clean_texts, damaged, encoded, files, good_rows, rows, texts, words
from hypothesis import strategies as st
from sandbox import refused

from lingualign.measures.language.confusion_benchmark import read_completions, read_test_sets

LANGUAGE = st.sampled_from((*LANGUAGES, *LANGUAGES, *CODES))
PROMPTS = {"prompt": words() | clean_texts(), "source": words(), "language": LANGUAGE}
COMPLETIONS = {"completion": texts(), "source": words() | texts(), "language": LANGUAGE, "task": words()}
NAMES = st.sampled_from(
    (
        "test_sets/monolingual/okapi/en.csv",
        "crosslingual/okapi/sw.csv",
        "../../monolingual/x/en.csv",
        "/monolingual/a/b.csv",
        "x",
    )
)
METHODS = st.sampled_from((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))


@st.composite
def archives(draw: st.DrawFn) -> bytes:
    """A zip of CSV files, one of them perhaps encrypted or of a method that nobody knows, by its flags."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", draw(METHODS)) as archive:
        for name in draw(st.lists(NAMES, max_size=2, unique=True)):
            content = draw(damaged(good_rows(PROMPTS).map(lambda table: encoded(table, ".csv"))))
            archive.writestr(
                name, content + draw(st.sampled_from((b"", b"", b"x" * 200_000, b"\n" * 300_000)))
            )
    return draw(damaged(st.just(buffer.getvalue())))


CASES = st.fixed_dictionaries(
    {
        "zip": archives(),
        "completions": files(good_rows(COMPLETIONS) | rows(COMPLETIONS)),
        "task": st.none() | words(),
    }
)


def check(case: dict[str, Any], folder: Path) -> None:
    """Reads both; nothing is unpacked anywhere."""
    (folder / "sets.zip").write_bytes(case["zip"])
    refused(read_test_sets, folder / "sets.zip")
    suffix, content = case["completions"]
    (folder / f"completions{suffix}").write_bytes(content)
    refused(read_completions, folder / f"completions{suffix}", case["task"])
