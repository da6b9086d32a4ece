"""What a pairing is: from what a run knows to pairs; and what every pairing has in common.

A new pairing is one file in this folder, whose name is its `pairs.kind`, with

- `READS`, which of `responses`, `scores`, `labelled` and `translation` it needs: stages that nobody reads do
  not run,
- `Settings`, a `Section` with its own options (`pairs.options`), and
- `make(settings)`, which gives the pairing: a function from `Sources` and a `Tally` that yields pairs, a
  language after the other;
- `check(settings, config)`, if anything can be wrong beyond the options: it raises an `InputError` before the
  run starts.

A file of your own works like one of these: `pairs.kind=./my_pairs.py`.

Pairs are written as they come, and responses read as they are asked for (`Sources.answers`). So what a run
keeps in memory is what a pairing keeps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from lingualign.pairs.length_control import LengthControl
from lingualign.pairs.sources import Sources
from lingualign.prompts import Prompt
from lingualign.records import Message, Pair, Response


@dataclass(frozen=True)
class PairingReport:
    """What became of one language's candidates.

    Attributes:
        prompts: Prompts with at least one candidate.
        candidates: Their responses, or labelled pairs.
        removed: Filter -> candidates that it removed: `truncated`, `duplicate`, `language`, `no reward`.
        dropped: Reason -> prompts (or pairs, where there can be several) left out: `too few` (less than two
            candidates left), `outliers` (every candidate lies above the bound), `no choice` (none of
            those left may be chosen: no right answer, for one), `tie` (nothing is better than anything else),
            `identical` (chosen and rejected say the same), `margin` (too small a difference), `untranslated`
            (the translator failed).
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
    """Pairs of all languages in memory, and a report a language."""

    pairs: list[Pair] = field(default_factory=list)
    report: dict[str, PairingReport] = field(default_factory=dict)


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


class Tally:
    """Makes pairs, and counts what became of the rest: the report of a pairing.

    Args:
        sources: What the pairs are made from.
    """

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._counts = {language: _Counts() for language in sources.languages}

    def saw(self, prompt: Prompt, candidates: int = 1, removed: Mapping[str, int] | None = None) -> None:
        """Counts candidates to a prompt, and those of them that filters removed, by the filter's name."""
        counts = self._counts[prompt.language]
        counts.prompts.add(prompt.id)
        counts.candidates += candidates
        counts.removed.update(removed or {})

    def drop(self, prompt: Prompt, reason: str) -> None:
        """Counts a pair that is not made."""
        self._counts[prompt.language].dropped[reason] += 1

    def controlled(self, language: str, control: LengthControl) -> None:
        """Notes the length control of a language."""
        self._counts[language].control = control

    def pairs(
        self,
        prompt: Prompt,
        chosen: Side | None,
        rejected: Side | None,
        suffix: str = "",
        apart: bool | None = None,
    ) -> Iterator[Pair]:
        """Gives the pair of two responses, or none and counts why.

        Args:
            prompt: What they answer.
            chosen: The better one; None could not be translated.
            rejected: The worse one, likewise.
            suffix: Tells several pairs on one prompt apart.
            apart: Whether the two are in different languages, where the caller knows it already.
        """
        if chosen is None or rejected is None:
            self.drop(prompt, "untranslated")
        elif chosen.text == rejected.text:
            self.drop(prompt, "identical")
        else:
            counts = self._counts[prompt.language]
            counts.pairs += 1
            counts.apart += self._apart(chosen.text, rejected.text) if apart is None else apart
            yield make_pair(prompt, chosen, rejected, suffix)

    def _apart(self, chosen: str, rejected: str) -> bool:
        """Whether a reader of nothing but the language could tell which one is the better."""
        languages = [self._sources.identifier.identify(text) for text in (chosen, rejected)]
        return None not in languages and languages[0] != languages[1]

    def report(self) -> dict[str, PairingReport]:
        """Language -> what became of its candidates, when all pairs have been made."""
        return {
            language: PairingReport(
                prompts=len(counts.prompts),
                candidates=counts.candidates,
                removed=dict(counts.removed),
                dropped=dict(counts.dropped),
                length_control=counts.control,
                unit=self._sources.config.length_control.unit,
                pairs=counts.pairs,
                other_language=counts.apart,
            )
            for language, counts in self._counts.items()
        }


@dataclass
class _Counts:
    """What a tally knows of a language; see `PairingReport`."""

    prompts: set[str] = field(default_factory=set)
    candidates: int = 0
    removed: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    control: LengthControl | None = None
    pairs: int = 0
    apart: int = 0


Pairing = Callable[[Sources, Tally], Iterator[Pair]]


def all_pairs(pairing: Pairing, sources: Sources) -> PairingResult:
    """All pairs of a pairing in memory, with its report."""
    tally = Tally(sources)
    pairs = list(pairing(sources, tally))
    return PairingResult(pairs, tally.report())
