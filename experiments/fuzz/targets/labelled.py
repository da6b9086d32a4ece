"""Labelled pairs: a file in the source language, or one a language."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from drawing import CODES, LANGUAGES, files, good_rows, json_values, rows, texts, words
from hypothesis import strategies as st
from sandbox import Finding, refused

from lingualign.pipeline.labelled import labelled_files, labelled_sources, read_labelled

MESSAGES = st.lists(
    st.fixed_dictionaries({"role": words() | json_values(), "content": words() | json_values()}), max_size=2
)
FIELDS = {
    "id": st.sampled_from("ab") | json_values(),
    "prompt": words() | texts() | MESSAGES,
    "chosen": words() | texts() | MESSAGES,
    "rejected": words() | texts(),
}
GOOD = {"id": st.sampled_from("abc"), "prompt": words(), "chosen": words(), "rejected": words()}
CASES = st.fixed_dictionaries(
    {
        "source": files(good_rows(GOOD) | rows(FIELDS)),
        "other": files(good_rows(GOOD) | rows(FIELDS)),
        "languages": st.lists(st.sampled_from((*LANGUAGES, *CODES)), max_size=3),
    }
)


def check(case: dict[str, Any], folder: Path) -> None:
    """A pair a row, every message of it text."""
    paths = {}
    for code, name in (("en", "source"), ("sw", "other")):
        suffix, content = case[name]
        paths[code] = folder / f"{code}{suffix}"
        paths[code].write_bytes(content)
    refused(labelled_files, folder, case["languages"], "en")
    refused(labelled_sources, paths["sw"], paths["en"], "en")
    for code, path in paths.items():
        pairs, _ = refused(read_labelled, path, code)
        for pair in pairs or []:
            for message in (*pair["prompt"], *pair["chosen"], *pair["rejected"]):
                if not isinstance(message["content"], str) or not isinstance(message["role"], str):
                    raise Finding(f"the message {message!r}")
                message["content"].encode()
