"""What a pairing is: from what a run knows to pairs; and what every pairing has in common.

A new pairing is one file in this folder, whose name is its `pairs.kind`, with

- `READS`, which of `responses`, `scores` and `labelled` it needs: stages that nobody reads do not run,
- `Settings`, a `Section` with its own options (`pairs.options`), and
- `make(settings)`, which gives the pairing: a function from `Sources` to a `PairingResult`;
- `check(settings, config)`, if anything can be wrong beyond the options: it raises an `InputError` before the
  run starts.

A file of your own works like one of these: `pairs.kind=./my_pairs.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from lingualign.config import PairsConfig
from lingualign.pairs.filters import Identifier
from lingualign.pairs.length_control import LengthControl
from lingualign.prompts import ParallelPrompts, Prompt
from lingualign.records import Message, Pair, Response, Score

Translate = Callable[[Sequence[str], str, str], list[str | None]]  # (texts, from, to) -> translations
Key = tuple[str, str]  # (prompt id, language)


@dataclass(frozen=True)
class Sources:
    """What pairs can be made from. What the pairing does not read may be empty.

    Attributes:
        prompts: The prompts, in every language of the run.
        source_language: The well-aligned one.
        config: Length control and filters.
        identifier: Tells the language of a text.
        seed: Of every draw.
        responses: Candidates, in any order.
        scores: A score for each of them.
        labelled: Labelled pairs in the source language to some of the prompts, by `prompt_id`.
        translate: The run's translator, whose work is kept.
    """

    prompts: ParallelPrompts
    source_language: str
    config: PairsConfig
    identifier: Identifier
    seed: int = 0
    responses: Sequence[Response] = ()
    scores: Sequence[Score] = ()
    labelled: Sequence[Pair] = ()
    translate: Translate | None = None

    @property
    def languages(self) -> list[str]:
        """The languages whose prompts get pairs."""
        targets_only = self.config.languages == "targets"
        return [
            code for code in self.prompts.by_language if not (targets_only and code == self.source_language)
        ]

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


@dataclass(frozen=True)
class PairingReport:
    """What became of one language's candidates.

    Attributes:
        prompts: Prompts with at least one candidate.
        candidates: Their responses, or labelled pairs.
        removed: Filter -> candidates that it removed: `truncated`, `duplicate`, `language`, `no reward`.
        dropped: Reason -> prompts (or pairs, where there can be several) left out: `too few` (less than two
            candidates left), `outliers` (every candidate lies above the bound), `tie` (nothing is better than
            anything else), `identical` (chosen and rejected say the same), `margin` (too small a difference),
            `untranslated` (the translator failed).
        length_control: The penalty, and the length gap over the prompts whose pair it chooses; None for
            pairs that no reward chooses.
        unit: Of length.
        pairs: Pairs made.
        other_language: Pairs whose two responses are in different languages.
    """

    prompts: int
    candidates: int
    removed: dict[str, int]
    dropped: dict[str, int]
    length_control: LengthControl | None
    unit: str
    pairs: int
    other_language: int = 0


@dataclass(frozen=True)
class PairingResult:
    """Pairs of all languages, and a report a language."""

    pairs: list[Pair] = field(default_factory=list)
    report: dict[str, PairingReport] = field(default_factory=dict)


Pairing = Callable[[Sources], PairingResult]


@dataclass(frozen=True)
class Side:
    """One side of a pair."""

    text: str
    score: float = 0.0
    index: int = 0
    finished: bool = True

    @classmethod
    def of(cls, response: Response, score: float = 0.0) -> Side:
        """A sampled response as a side."""
        return cls(response["text"], score, response["index"], response["finish_reason"] == "stop")


def make_pair(prompt: Prompt, chosen: Side, rejected: Side, suffix: str = "") -> Pair:
    """A pair on a prompt; a suffix tells several on one prompt apart."""
    return Pair(
        id=f"{prompt.id}/{prompt.language}{suffix}",
        prompt_id=prompt.id,
        language=prompt.language,
        prompt=list(prompt.messages),
        chosen=[Message(role="assistant", content=chosen.text)],
        rejected=[Message(role="assistant", content=rejected.text)],
        chosen_score=chosen.score,
        rejected_score=rejected.score,
        chosen_index=chosen.index,
        rejected_index=rejected.index,
        chosen_finished=chosen.finished,
        rejected_finished=rejected.finished,
    )


def told_by_language(pairs: Iterable[Pair], identifier: Identifier) -> int:
    """How many pairs a reader of nothing but the language could get right: the two sides are in different
    ones."""

    def differ(pair: Pair) -> bool:
        chosen = identifier.identify(pair["chosen"][0]["content"])
        rejected = identifier.identify(pair["rejected"][0]["content"])
        return chosen is not None and rejected is not None and chosen != rejected

    return sum(map(differ, pairs))


class Tally:
    """Gathers the pairs and the report of a pairing that chooses by no reward."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._pairs: dict[str, list[Pair]] = {language: [] for language in sources.languages}
        self._prompts: dict[str, set[str]] = {language: set() for language in sources.languages}
        self._candidates: Counter[str] = Counter()
        self._removed: dict[str, Counter[str]] = {language: Counter() for language in sources.languages}
        self._dropped: dict[str, Counter[str]] = {language: Counter() for language in sources.languages}

    def saw(self, prompt: Prompt, candidates: int = 1, **removed: int) -> None:
        """Counts candidates to a prompt, and those of them that a filter removed."""
        self._prompts[prompt.language].add(prompt.id)
        self._candidates[prompt.language] += candidates
        self._removed[prompt.language].update(removed)

    def add(self, prompt: Prompt, chosen: Side | None, rejected: Side | None, suffix: str = "") -> None:
        """Adds a pair, or counts why there is none; a side that is None could not be translated."""
        if chosen is None or rejected is None:
            self.drop(prompt, "untranslated")
        elif chosen.text == rejected.text:
            self.drop(prompt, "identical")
        else:
            self._pairs[prompt.language].append(make_pair(prompt, chosen, rejected, suffix))

    def drop(self, prompt: Prompt, reason: str) -> None:
        """Counts a pair that was not made."""
        self._dropped[prompt.language][reason] += 1

    def result(self) -> PairingResult:
        """All pairs, a language after the other, and the reports."""
        return PairingResult(
            [pair for pairs in self._pairs.values() for pair in pairs],
            {
                language: PairingReport(
                    prompts=len(self._prompts[language]),
                    candidates=self._candidates[language],
                    removed=dict(self._removed[language]),
                    dropped=dict(self._dropped[language]),
                    length_control=None,
                    unit=self._sources.config.length_control.unit,
                    pairs=len(pairs),
                    other_language=told_by_language(pairs, self._sources.identifier),
                )
                for language, pairs in self._pairs.items()
            },
        )
