"""What pairs can be made from, in memory or read a slice of prompts at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Generic, Protocol, TypeVar, runtime_checkable

from lingualign.config import PairsConfig
from lingualign.pairs.filters import Identifier
from lingualign.prompts import ParallelPrompts, Prompt
from lingualign.records import Pair, Response, Score

SLICE = 64  # prompts whose rows are in memory at a time

Translate = Callable[[Sequence[str], str, str], list[str | None]]  # (texts, from, to) -> translations
Key = tuple[str, str]  # (prompt id, language)
Row = TypeVar("Row", Response, Score)


@runtime_checkable
class Rows(Protocol[Row]):
    """Rows that are found by prompt, wherever they are."""

    def __iter__(self) -> Iterator[Row]:
        """All of them."""

    def read(self, language: str, ids: Sequence[str]) -> dict[str, list[Row]]:
        """The rows of some prompts in a language, by prompt id, each list in order of index."""


class RowsInMemory(Generic[Row]):
    """Rows of a list, by prompt."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows: dict[Key, list[Row]] = {}
        for row in sorted(rows, key=lambda row: row["index"]):
            self._rows.setdefault((row["prompt_id"], row["language"]), []).append(row)

    def __iter__(self) -> Iterator[Row]:
        """See `Rows`."""
        return (row for rows in self._rows.values() for row in rows)

    def read(self, language: str, ids: Sequence[str]) -> dict[str, list[Row]]:
        """See `Rows`."""
        return {i: self._rows[i, language] for i in ids if (i, language) in self._rows}


@dataclass(frozen=True)
class Sources:
    """What pairs can be made from. What the pairing does not read may be empty.

    Attributes:
        prompts: The prompts, in every language of the run.
        source_language: The well-aligned one.
        config: Length control and filters.
        identifier: Tells the language of a text.
        seed: Of every draw.
        responses: Candidates, in any order: a list, or `Rows` that are read as they are asked for.
        scores: A score for each of them, likewise.
        labelled: Labelled pairs in the source language to some of the prompts, by `prompt_id`.
        translate: The run's translator, whose work is kept.
    """

    prompts: ParallelPrompts
    source_language: str
    config: PairsConfig
    identifier: Identifier
    seed: int = 0
    responses: Iterable[Response] = ()
    scores: Iterable[Score] = ()
    labelled: Sequence[Pair] = ()
    translate: Translate | None = None

    @property
    def languages(self) -> list[str]:
        """The languages whose prompts get pairs."""
        targets_only = self.config.languages == "targets"
        return [
            code for code in self.prompts.by_language if not (targets_only and code == self.source_language)
        ]

    def answers(self, language: str) -> Iterator[tuple[Prompt, list[Response]]]:
        """The prompts that are answered in a language, in order, with their responses in order of index."""
        for prompts in self._slices(language):
            found = self._responses.read(language, [prompt.id for prompt in prompts])
            yield from ((prompt, found[prompt.id]) for prompt in prompts if prompt.id in found)

    def scored(self, language: str) -> Iterator[tuple[Prompt, list[Response], list[Score]]]:
        """What `answers` gives, with the scores of each prompt, whichever responses they are of."""
        for prompts in self._slices(language):
            ids = [prompt.id for prompt in prompts]
            found, scores = self._responses.read(language, ids), self._scores.read(language, ids)
            for prompt in prompts:
                if prompt.id in found:
                    yield prompt, found[prompt.id], scores.get(prompt.id, [])

    def _slices(self, language: str) -> Iterator[list[Prompt]]:
        prompts = self.prompts.by_language[language]
        return (prompts[start : start + SLICE] for start in range(0, len(prompts), SLICE))

    @cached_property
    def _responses(self) -> Rows[Response]:
        return self.responses if isinstance(self.responses, Rows) else RowsInMemory(self.responses)

    @cached_property
    def _scores(self) -> Rows[Score]:
        return self.scores if isinstance(self.scores, Rows) else RowsInMemory(self.scores)

    def draw(self, prompt_id: str, language: str) -> Random:
        """Random numbers that belong to one prompt in one language."""
        return Random(f"{self.seed}/{prompt_id}/{language}")

    def translations(self, texts: Mapping[Key, str], source: str, target: str) -> dict[Key, str | None]:
        """Translates texts by key; a text that is in the target language already stays."""
        if source == target:
            return dict(texts)
        if self.translate is None:
            raise ValueError("these pairs need a translator")
        return dict(zip(texts, self.translate(list(texts.values()), source, target), strict=True))
