"""The lab's exact judge as a reward: the ceiling of what any method can reach on the same samples."""

from __future__ import annotations

from collections.abc import Sequence

from lingualign.config import RunConfig, Section
from lingualign.errors import InputError
from lingualign.records import Response, Score
from lingualign.rewards.base import Candidates, Tools, score_of

READS = "own"


class Settings(Section):
    """There is nothing to set."""


def check(settings: Settings, config: RunConfig) -> None:
    """Checks that the prompts are the lab's.

    Raises:
        InputError: They are not.
    """
    if config.prompts != "lab":
        raise InputError(
            "reward.kind is lab-judge, and the prompts are not the lab's: its judge cannot score them.",
            "Use another reward.kind, or prompts=lab.",
        )


def reads_reference(settings: Settings) -> bool:
    """Whether it asks for the reference; see `lingualign.rewards.base`."""
    return False


def make(settings: Settings, tools: Tools) -> GoldReward:
    """Makes the reward; see `lingualign.rewards.base`."""
    return GoldReward()


class GoldReward:
    """The gold reward in [0, 1] of a response to a prompt of the lab, with the judge's traits as components.

    For comparison only. A method that read the judge would be told what it has to find out.
    """

    name = "lab-judge"
    columns = ("language", "prompt_id")

    def score(self, batch: Sequence[Candidates]) -> list[list[Score]]:
        """Scores all responses of some prompts; see `lingualign.rewards.Reward`.

        Raises:
            InputError: A prompt is not one of the lab's.
        """
        return [[_judge(response) for response in candidates.responses] for candidates in batch]


def _judge(response: Response) -> Score:
    from lingualign.lab.judge import judge

    try:
        judgement = judge(response["prompt_id"], response["language"], response["text"])
    except ValueError as error:
        raise InputError(
            f"Prompt {response['prompt_id']!r} is not one of the lab's: its judge cannot score it.",
            "Use another reward.kind, or prompts=lab.",
        ) from error
    traits = {name: value for name, value in judgement.traits.items() if value is not None}
    return score_of(response, judgement.reward, **traits)
