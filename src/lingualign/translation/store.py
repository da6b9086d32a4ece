"""Translations that are kept: what has been translated once is read from a folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path

import pyarrow as pa

from lingualign.records import read_table, write_table
from lingualign.translation.base import Translator

Progress = Callable[[int, int], None]  # (texts done, of how many that were not known before)

TRANSLATIONS = pa.schema(
    [
        ("source_language", pa.string()),
        ("target_language", pa.string()),
        ("text", pa.string()),
        ("translation", pa.string()),  # null: the translator failed, and is not asked again
    ]
)


class StoredTranslator:
    """Remembers what another translator did, over all runs that share a folder.

    Every chunk is written as soon as it is done, so a killed run repeats at most one. A text that occurs
    twice is translated once. A text of nothing but whitespace is its own translation.

    Args:
        inner: Translates what is not known yet. The folder does not say who it was: another translator needs
            another folder.
        folder: Holds one Parquet file a chunk, named by a hash of what was translated. A file that is deleted
            is made again, which is the way to have failures tried again.
        chunk: Texts that are translated and written at a time.
        progress: Called with the texts done, and of all that were not known, after each chunk.

    Raises:
        InputError: A file of the folder is not readable.
    """

    def __init__(
        self, inner: Translator, folder: Path, chunk: int = 64, progress: Progress | None = None
    ) -> None:
        self.inner = inner
        self.folder = folder
        self.chunk = chunk
        self.progress = progress
        self._known: dict[tuple[str, str, str], str | None] = {
            (row["source_language"], row["target_language"], row["text"]): row["translation"]
            for path in sorted(folder.glob("*.parquet"))
            for row in read_table(path, TRANSLATIONS)
        }

    @property
    def name(self) -> str:
        """That of the translator behind it."""
        return self.inner.name

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str | None]:
        """See `Translator.translate`."""
        wanted = [text for text in dict.fromkeys(texts) if text.strip()]
        todo = [text for text in wanted if (source, target, text) not in self._known]
        for start in range(0, len(todo), self.chunk):
            part = todo[start : start + self.chunk]
            self._keep(part, self.inner.translate(part, source, target), source, target)
            if self.progress is not None:
                self.progress(start + len(part), len(todo))
        return [self._known[source, target, text] if text.strip() else text for text in texts]

    def _keep(
        self, texts: Sequence[str], translations: Sequence[str | None], source: str, target: str
    ) -> None:
        rows = [
            dict(zip(TRANSLATIONS.names, (source, target, text, translation), strict=True))
            for text, translation in zip(texts, translations, strict=True)
        ]
        content = json.dumps([source, target, *texts])
        digest = sha256(content.encode()).hexdigest()[:16]
        write_table(self.folder / f"{source}-{target}-{digest}.parquet", rows, TRANSLATIONS)
        self._known |= {(source, target, row["text"]): row["translation"] for row in rows}
