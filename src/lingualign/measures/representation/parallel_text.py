"""Parallel text: sentences that say the same in several languages, a file a language, a sentence a line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lingualign.errors import InputError
from lingualign.languages import resolve
from lingualign.paths import user_path

SUFFIX = ".txt"


def read_parallel_text(
    folder: str | Path, languages: Sequence[str] | None = None, limit: int | None = None
) -> dict[str, list[str]]:
    """Reads line-aligned sentences from `FOLDER/en.txt`, `FOLDER/sw.txt` and so on.

    Args:
        folder: Of the files, in UTF-8, named after BCP-47 codes.
        languages: Which ones to read, in this order; None: all that are there, by code.
        limit: Only the first of the sentences, e.g. 100 as MEXA's paper does.

    Returns:
        A language -> its sentences without the white space around them, as many as in any other.

    Raises:
        InputError: The folder or a file is missing or not readable, a code is not known, a line is empty, or
            files differ in their number of lines.
    """
    place = user_path(folder)
    if not place.is_dir():
        raise InputError(f"{folder}: no such folder.", f"Give the folder of {{language}}{SUFFIX} files.")
    paths = _paths(place, languages)
    text = {code: _sentences(path) for code, path in paths.items()}
    first = next(iter(text))
    for code, sentences in text.items():
        if len(sentences) != len(text[first]):
            raise InputError(
                f"{paths[code]} has {len(sentences)} lines, but {paths[first]} has {len(text[first])}.",
                "Line N of every file must be a translation of line N of the others.",
            )
    return {code: sentences[:limit] for code, sentences in text.items()}


def _paths(folder: Path, languages: Sequence[str] | None) -> dict[str, Path]:
    found = {path.stem: path for path in sorted(folder.glob(f"*{SUFFIX}"))}
    if not found:
        raise InputError(f"{folder}: no *{SUFFIX} files.", f"Name each file after its language: en{SUFFIX}.")
    if languages is not None and not languages:
        raise InputError(f"{folder}: no language is asked for.", f"The folder has {', '.join(found)}.")
    for code in found if languages is None else languages:
        try:
            resolve(code)
        except InputError as error:
            where = f"{found[code]}: " if code in found else ""
            raise InputError(where + error.message, error.remedy) from None
        if code not in found:
            raise InputError(
                f"{folder / (code + SUFFIX)}: no such file.", f"The folder has {', '.join(found)}."
            )
    return found if languages is None else {code: found[code] for code in languages}


def _sentences(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not readable as UTF-8 text ({error}).") from error
    # Not splitlines: text may hold separators of lines and paragraphs that no other tool counts as ends.
    sentences = [line.strip() for line in text.removesuffix("\n").split("\n")]
    for number, sentence in enumerate(sentences, 1):
        if not sentence:
            raise InputError(
                f"{path}, line {number}: empty.",
                "Every line must hold a sentence: fill it, or remove it from the files of all languages.",
            )
    return sentences
