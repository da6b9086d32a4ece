"""Prompts: one file with a language column, or a folder with a file a language."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from drawing import CODES, LANGUAGES, clean_texts, files, good_rows, rows, texts, words
from hypothesis import strategies as st
from sandbox import Finding, refused

from lingualign.config import DataConfig
from lingualign.prompts import read_prompts
from lingualign.prompts.files import language_files, read_rows

IDS = st.sampled_from(("a", "b", "c", "a/b", "../x", "1"))
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(("user", "system", "assistant", "tool")), "content": texts()}
    ),
    max_size=3,
)
GOOD = {"id": IDS, "language": st.sampled_from(LANGUAGES), "prompt": words()}
ANY = {
    "id": IDS | texts(),
    "language": st.sampled_from((*LANGUAGES, *LANGUAGES, *CODES)),
    "prompt": st.one_of(words(), texts(), MESSAGES),
    "instruction": texts(),
    "input": texts(),
    "messages": MESSAGES | clean_texts(),
}
CASES = st.fixed_dictionaries(
    {
        "file": files(st.one_of(good_rows(GOOD), good_rows(GOOD, least=4), rows(ANY))),
        "others": st.lists(st.tuples(st.sampled_from(LANGUAGES), files(rows(ANY))), max_size=3),
        "folder": st.booleans(),
        "allow_missing": st.booleans(),
        "field": st.sampled_from((None, None, "prompt", "messages", "instruction", "no such")),
    }
)


def check(case: dict[str, Any], folder: Path) -> None:
    """All rows are there again: as a prompt, or counted with a reason."""
    suffix, content = case["file"]
    source = folder / f"prompts{suffix}"
    if case["folder"]:
        source = folder / "prompts"
        source.mkdir()
        for code in LANGUAGES[:2]:
            (source / f"{code}{suffix}").write_bytes(content)
        for code, (ending, other) in case["others"]:
            (source / f"{code}{ending}").write_bytes(other)
    else:
        source.write_bytes(content)
    data = DataConfig(allow_missing=case["allow_missing"], prompt_field=case["field"])
    found, _ = refused(read_prompts, str(source), ["en", "sw"], "en", data)
    if found is None:
        return
    for prompts in found.by_language.values():
        for prompt in prompts:
            "".join(message["content"] for message in prompt.messages).encode()
            if not prompt.messages or prompt.messages[-1]["role"] != "user":
                raise Finding("a prompt that does not end with the user's message")
    read = (
        [source]
        if source.is_file()
        else [file for code in ("en", "sw") for file in language_files(source, code)]
    )
    there, kept = sum(len(read_rows(file)) for file in read), sum(map(len, found.by_language.values()))
    if kept + sum(found.left_out_rows.values()) != there:
        raise Finding(f"{there} rows, {kept} kept, and {found.left_out_rows} are told of")
