"""A reward that knows nothing: what any method must beat."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from lingualign.config import Section
from lingualign.records import Response, Score
from lingualign.rewards.base import Candidates, Tools, score_of

READS = "own"


class Settings(Section):
    """There is nothing to set."""


def reads_reference(settings: Settings) -> bool:
    """Whether it asks for the reference; see `lingualign.rewards.base`."""
    return False


def make(settings: Settings, tools: Tools) -> RandomReward:
    """Makes the reward; see `lingualign.rewards.base`."""
    return RandomReward(tools.config.seed)


class RandomReward:
    """A uniform draw from [0, 1) for each response, the same in every run with the same seed.

    The draw depends on the seed and on the response's prompt, language and index alone: not on its text, its
    batch, or what was scored before.

    Args:
        seed: Of all draws.
    """

    name = "random"
    alone = "never"  # draws are by index

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def score(self, batch: Sequence[Candidates]) -> list[list[Score]]:
        """Scores all responses of some prompts; see `lingualign.rewards.Reward`."""
        return [[score_of(response, self._draw(response)) for response in c.responses] for c in batch]

    def _draw(self, response: Response) -> float:
        key = f"{self.seed}/{response['prompt_id']}/{response['language']}/{response['index']}"
        return int.from_bytes(hashlib.sha256(key.encode()).digest()[:6]) / 2**48
