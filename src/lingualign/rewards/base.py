"""What a reward is: candidates in, one score a candidate out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from lingualign.prompts import Prompt
from lingualign.records import Component, Response, Score


@dataclass(frozen=True)
class Candidates:
    """The responses to one prompt.

    Attributes:
        prompt: The prompt that they were sampled for, in the target language.
        source_prompt: The same prompt in the source language; the same object where that is the target.
        responses: One or more, in any order.
    """

    prompt: Prompt
    source_prompt: Prompt
    responses: Sequence[Response]


class Reward(Protocol):
    """Scores responses. A new reward is a class with these two members, in a file of its own."""

    @property
    def name(self) -> str:
        """Short name, for tables."""

    def score(self, batch: Sequence[Candidates]) -> list[list[Score]]:
        """Scores all responses of some prompts; what else is in the batch must not matter to a score.

        Returns:
            One list a prompt, one score a response, in the order given.
        """


def score_of(response: Response, reward: float, **components: float) -> Score:
    """The score of one response, with named parts of it."""
    return Score(
        prompt_id=response["prompt_id"],
        language=response["language"],
        index=response["index"],
        reward=float(reward),
        components=[Component(name=name, value=float(value)) for name, value in components.items()],
    )
