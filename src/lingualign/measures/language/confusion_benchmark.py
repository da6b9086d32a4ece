"""The Language Confusion Benchmark: its prompts from its zip, and responses to them from its kind of file.

References:
    - Understanding and Mitigating Language Confusion in LLMs (Marchisio et al. 2024):
      https://arxiv.org/abs/2406.20052
    - test_sets.zip and outputs/*.csv of https://github.com/for-ai/language-confusion
"""

from __future__ import annotations

import csv
import io
import lzma
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lingualign.errors import InputError
from lingualign.languages import resolve
from lingualign.measures.language.language_confusion import Completion
from lingualign.prompts.files import read_rows
from lingualign.prompts.read import Prompt
from lingualign.records import Message

TestSet = tuple[str, str, str]  # source, task, language

MONOLINGUAL, CROSSLINGUAL = "monolingual", "crosslingual"

LARGEST = 100_000_000  # bytes of all test sets unpacked; the benchmark's are less than two million
# What zipfile raises for a damaged file, an encrypted one and an unknown method, and what csv does.
_UNREADABLE = (
    OSError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, NotImplementedError,
    ValueError, LookupError, struct.error, OverflowError, csv.Error,
)  # fmt: skip
_MEMBER = re.compile(rf"(?:^|/)({MONOLINGUAL}|{CROSSLINGUAL})/[^/]+/[^/]+\.csv$")


def read_test_sets(path: Path) -> dict[TestSet, list[Prompt]]:
    """The benchmark's prompts.

    In the `monolingual` task a prompt is in the language that the response should be in; in the
    `crosslingual` one it is in English and asks for that language.

    Args:
        path: The benchmark's `test_sets.zip`.

    Returns:
        (source, task, language) -> prompts in the file's order. The same cross-lingual prompt has the same id
        in every language, "crosslingual/okapi/0"; monolingual prompts are not parallel, and their ids hold
        the language, "monolingual/okapi/ar/0".

    Raises:
        InputError: The file is no readable zip, holds no test set, or a row of one lacks a field, or names a
            language that is not known.
    """
    test_sets: dict[TestSet, list[Prompt]] = {}
    try:
        for task, name, text in _members(path):
            _add_prompts(test_sets, task, text, f"{path}, {name}")
    except _UNREADABLE as error:
        raise InputError(
            f"{path}: not a readable zip of test sets ({error}).",
            "Fetch test_sets.zip from https://github.com/for-ai/language-confusion.",
        ) from error
    if not test_sets:
        raise InputError(
            f"{path} holds no test set.",
            f"It should have files such as test_sets/{MONOLINGUAL}/okapi/ar.csv.",
        )
    return test_sets


def _members(path: Path) -> Iterator[tuple[str, str, str]]:
    """The test sets of a zip, read in memory and never unpacked: task, name and text."""
    with zipfile.ZipFile(path) as archive:
        found = [(match[1], info) for info in archive.infolist() if (match := _MEMBER.search(info.filename))]
        size = sum(info.file_size for _, info in found)
        if size > LARGEST:
            raise zipfile.BadZipFile(f"it unpacks to {size:,} bytes, more than {LARGEST:,}")
        for task, info in found:
            # zipfile reads no more than a member says of itself, so a bomb cannot lie about its size.
            yield task, info.filename, archive.read(info).decode("utf-8")


def _add_prompts(test_sets: dict[TestSet, list[Prompt]], task: str, text: str, place: str) -> None:
    for number, row in enumerate(csv.DictReader(io.StringIO(text, newline="")), 1):
        prompt, source, language = (
            _field(row, name, f"{place}, row {number}") for name in ("prompt", "source", "language")
        )
        prompts = test_sets.setdefault((source, task, resolve(language).code), [])
        own = f"{language}/" if task == MONOLINGUAL else ""
        message = Message(role="user", content=prompt)
        prompts.append(Prompt(f"{task}/{source}/{own}{len(prompts)}", language, (message,)))


def read_completions(path: Path, task: str | None = None) -> list[Completion]:
    """Responses from a file like the benchmark's outputs.

    Args:
        path: CSV, JSON lines, JSON or Parquet, with the fields `completion`, `source` and `language`.
        task: Leaves out rows whose field `task` is another. None: all rows; the benchmark's script, too, then
            takes the responses of both tasks to one source in one language together.

    Raises:
        InputError: The file cannot be read, a row lacks a field or names a language that is not known, or no
            row is of the task.
    """
    completions = []
    for row in read_rows(path):
        if task is not None and _field(row.fields, "task", row.place) != task:
            continue
        text, source, language = (
            _field(row.fields, name, row.place) for name in ("completion", "source", "language")
        )
        completions.append(Completion(text, resolve(language).code, source))
    if not completions:
        raise InputError(f"{path} has no row of the task {task!r}.", "Give one of its field `task`.")
    return completions


def _field(row: Mapping[str, Any], name: str, place: str) -> str:
    value = row.get(name)
    if not isinstance(value, str):
        raise InputError(f"{place}: the field {name!r} is missing or no text.")
    return value
