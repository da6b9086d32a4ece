"""Translations out of a file, which somebody made before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lingualign.errors import InputError
from lingualign.languages import resolve
from lingualign.prompts.files import Row, read_rows

FIELDS = ("source_language", "target_language", "text", "translation")


class FileTranslator:
    """Looks translations up; a text that the file lacks has none.

    Args:
        path: JSON lines, JSON, CSV or Parquet with the fields `source_language`, `target_language` (BCP-47),
            `text` and `translation`; one that is null or empty stands for a failure. The part files of a
            `StoredTranslator` are such files.

    Raises:
        InputError: The file cannot be read, a field is missing or no text, a language is unknown, or one text
            has two different translations.
    """

    name = "file"

    def __init__(self, path: Path) -> None:
        self._known: dict[tuple[str, str, str], str | None] = {}
        for row in read_rows(path):
            source, target, text, translation = _fields(row)
            key, value = (source, target, text), translation or None
            if self._known.setdefault(key, value) != value:
                raise InputError(
                    f"{row.place}: a second and different translation of {text!r} from {source} to {target}.",
                    "Keep one of them.",
                )

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str | None]:
        """See `Translator.translate`."""
        return [self._known.get((source, target, text)) for text in texts]


def _fields(row: Row) -> tuple[str, str, str, str | None]:
    missing = [name for name in FIELDS if name not in row.fields]
    if missing:
        raise InputError(
            f"{row.place}: {', '.join(missing)} is missing.", f"A translation has {', '.join(FIELDS)}."
        )
    source, target, text, translation = (row.fields[name] for name in FIELDS)
    for name, value in zip(FIELDS, (source, target, text, translation or ""), strict=True):
        if not isinstance(value, str):
            raise InputError(f"{row.place}: {name} is not text.")
    for code in (source, target):
        try:
            resolve(code)
        except InputError as error:
            raise InputError(f"{row.place}: {error.message}", error.remedy) from None
    return source, target, text, translation
