"""Rows out of files: JSON lines, JSON, CSV, Parquet and saved `datasets` folders.

Knows nothing about prompts. Every row carries the place it came from, so that whoever finds it wrong can say
where it is.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lingualign.errors import InputError
from lingualign.languages import resolve

# What pyarrow raises for a damaged file: its own errors, text that is not UTF-8, dates out of range, names
# that are there twice, and sizes that nobody has room for.
UNREADABLE = (pa.ArrowException, OSError, ValueError, KeyError, OverflowError, MemoryError)


@dataclass(frozen=True)
class Row:
    """One record of a file.

    Attributes:
        place: Where it is, for error messages: the file, and the line or the number of the row.
        fields: Its columns by name.
    """

    place: str
    fields: Mapping[str, Any]


def read_rows(path: Path) -> list[Row]:
    """All rows of a file, in order.

    Raises:
        InputError: The file is missing, unreadable, empty, malformed, or of a kind that is not known.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        known = ", ".join(SUFFIXES)
        raise InputError(
            f"{path}: files of this kind are not read.", f"Known are {known} and saved datasets folders."
        )
    rows = list(reader(path))
    if not rows:
        raise InputError(f"{path} is empty.")
    return rows


def language_files(folder: Path, language: str) -> list[Path]:
    """Files of a folder that are named after a language, of any kind that is read: `sw.jsonl`, `sw.csv`.

    Raises:
        InputError: The package does not know the language.
    """
    resolve(language)  # no code of a language leads out of the folder
    named = [folder / f"{language}{suffix}" for suffix in SUFFIXES]
    return [path for path in named if path.exists()]


def is_saved_dataset(path: Path) -> bool:
    """Whether `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote this folder."""
    return (path / "state.json").is_file() or (path / "dataset_dict.json").is_file()


def read_saved_dataset(path: Path) -> dict[str, list[Row]]:
    """The rows of a saved `datasets` folder by split; a dataset without splits has the one split "".

    Raises:
        InputError: `datasets` cannot load it, or a split is empty.
    """
    from datasets import DatasetDict, load_from_disk  # slow to import, and few runs need it

    try:
        loaded = load_from_disk(str(path))
        splits = dict(loaded) if isinstance(loaded, DatasetDict) else {"": loaded}
        tables = {name: split.to_list() for name, split in splits.items()}
    except (*UNREADABLE, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: not a readable datasets folder ({error}).", "Save it again.") from error
    rows = {}
    for name, table in tables.items():
        place = f"{path}, split {name}" if name else str(path)
        if not table:
            raise InputError(f"{place} is empty.")
        rows[name] = [Row(f"{place}, row {number}", fields) for number, fields in enumerate(table, 1)]
    return rows


def read_text(path: Path) -> str:
    """The text of a file.

    Raises:
        InputError: There is no such file, it cannot be read, or it is not UTF-8.
    """
    content = _bytes(path)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}, line {line}: not UTF-8 text.", "Convert the file to UTF-8.") from error


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:  # no file can be called so
        raise InputError(f"{str(path)!r}: no such file ({error}).") from None


def _jsonl(path: Path) -> Iterator[Row]:
    # Not splitlines(): U+2028 and its like may stand inside a JSON string.
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if line.strip():
            place = f"{path}, line {number}"
            yield Row(place, _object(_parse(line, place, "Each line holds one JSON object."), place))


def _json(path: Path) -> Iterator[Row]:
    text = read_text(path)
    if not text.strip():
        return
    entries = _parse(text, str(path), "If each line is a record of its own, name the file .jsonl.")
    if not isinstance(entries, list):
        raise InputError(f"{path}: a list of objects is expected, not {_kind(entries)}.")
    for number, entry in enumerate(entries, 1):
        place = f"{path}, entry {number}"
        yield Row(place, _object(entry, place))


def _parse(text: str, place: str, remedy: str) -> Any:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        problem = error.msg.removesuffix(" starting at")
        where = f"column {error.colno}" if error.lineno == 1 else f"line {error.lineno}, column {error.colno}"
        raise InputError(f"{place}: malformed JSON at {where} ({problem}).", remedy) from error
    except (ValueError, RecursionError) as error:  # a number of more than 4,300 digits; a million brackets
        problem = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InputError(f"{place}: JSON that cannot be read ({problem}).", remedy) from error
    if "\\ud" in text or "\\uD" in text:
        check_text(value, place)
    return value


def check_text(value: Any, place: str) -> None:
    r"""Refuses half a surrogate pair (`"\ud83d"` alone), which JSON can write and no file can hold as text.

    Raises:
        InputError: There is one somewhere in the value.
    """
    if isinstance(value, dict):
        for name, item in value.items():
            check_text(item, f"{place}: field {name!r}")
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"{place} has half a surrogate pair, which is no text ({error.reason}).",
            "Whatever wrote it cut an emoji or another such character in two.",
        ) from error


def _object(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{place}: an object with named fields is expected, not {_kind(value)}.")
    return value


def _kind(value: Any) -> str:
    names = {list: "a list", dict: "an object", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _csv(path: Path) -> Iterator[Row]:
    # newline="" keeps the line breaks inside quoted cells as they are.
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        names = reader.fieldnames or ()
        twice = [name for name in dict.fromkeys(names) if list(names).count(name) > 1]
        if twice:
            raise InputError(f"{path}: the column {twice[0]!r} is there twice.", "Leave one of them.")
        for fields in reader:
            further = fields.pop(None, None)
            breaks = sum(cell.count("\n") for cell in fields.values() if cell)
            place = f"{path}, line {reader.line_num - breaks}"
            if further:
                raise InputError(f"{place}: more cells than the header has.", "Quote cells that hold commas.")
            yield Row(place, fields)
    except csv.Error as error:
        raise InputError(
            f"{path}, line {reader.line_num}: malformed CSV ({error}).",
            "Check its quotes, or give JSON lines.",
        ) from error


def _parquet(path: Path) -> Iterator[Row]:
    content = _bytes(path)
    try:
        rows = pq.read_table(io.BytesIO(content)).to_pylist()
    except UNREADABLE as error:
        raise InputError(f"{path}: not a readable Parquet file ({error}).", "Write it again.") from error
    for number, fields in enumerate(rows, 1):
        yield Row(f"{path}, row {number}", fields)


_READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".parquet": _parquet,
}

SUFFIXES = tuple(_READERS)
"""Of the files that `read_rows` reads."""
