"""Which of a prompt's candidates may be in a pair: filters, each counted by what it removed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from lingualign.config import PairsConfig
from lingualign.records import Response


class Identifier(Protocol):
    """Says which language a text is in; `lingualign.languages.LanguageIdentifier` does."""

    def identify(self, text: str) -> str | None:
        """The code of the text's language, None where it is undecided."""


@dataclass(frozen=True)
class Candidate:
    """A response with its reward, if there is one, and its length in the unit of length control."""

    response: Response
    reward: float | None
    length: int


Filter = Callable[[Sequence[Candidate]], list[Candidate]]


def drop_unscored(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Without those that the reward has nothing to say of."""
    return [candidate for candidate in candidates if candidate.reward is not None]


def drop_truncated(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Without responses that were cut at the length limit."""
    return [candidate for candidate in candidates if candidate.response["finish_reason"] == "stop"]


def drop_duplicates(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The first of those with the same text. A cut response and a finished one are two different ones."""
    kept: dict[tuple[str, str], Candidate] = {}
    for candidate in candidates:
        kept.setdefault((candidate.response["text"], candidate.response["finish_reason"]), candidate)
    return list(kept.values())


def language_filter(identifier: Identifier) -> Filter:
    """A filter that leaves out responses in another language than their prompt's; undecided ones stay."""

    def drop_other_languages(candidates: Sequence[Candidate]) -> list[Candidate]:
        def fits(response: Response) -> bool:
            return identifier.identify(response["text"]) in (None, response["language"])

        return [candidate for candidate in candidates if fits(candidate.response)]

    return drop_other_languages


def apply_filters(
    filters: Mapping[str, Filter], candidates: Sequence[Candidate]
) -> tuple[list[Candidate], dict[str, int]]:
    """The candidates that pass all filters, and how many each one removed, by its name."""
    kept, removed = list(candidates), {}
    for name, keep in filters.items():
        before, kept = len(kept), keep(kept)
        removed[name] = before - len(kept)
    return kept, removed


def make_filters(config: PairsConfig, identifier: Identifier) -> dict[str, Filter]:
    """The filters that are switched on, by the name under which they are counted, in the order they run."""
    filters: dict[str, Filter] = {"no reward": drop_unscored}
    if config.drop_truncated:
        filters["truncated"] = drop_truncated
    if config.drop_duplicates:
        filters["duplicate"] = drop_duplicates
    if config.wrong_language != "keep":
        filters["language"] = language_filter(identifier)
    return filters
