"""How well a translation model gets from a response to the model's own English responses: MAPO's reward.

    CE(y_l, e)  = -log p(e | y_l) / |e|            under a translation model, from l to the source language
    reward(y_l) = mean over e of 1 / CE(y_l, e)    over the source-language responses e to the same prompt

A response that says what the English ones say makes them likely as its translation. The published code
averages the cross-entropy over the padded length of a batch, so that short references score too well; here
padding counts nowhere, and the end token counts once.

References:
    - MAPO: https://arxiv.org/abs/2401.06838; mean of inverses as in its DPO data, inverse of the mean in
    its PPO
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from lingualign.config import RunConfig, Section
from lingualign.errors import InputError
from lingualign.records import Response, Score
from lingualign.rewards.base import Candidates, Reward, Tools, score_of
from lingualign.translation import Likelihood

READS = "source"


class Settings(Section):
    """Options of the translation reward."""

    combine: Literal["mean", "max", "inverse-of-mean"] = "mean"
    """How the references are put together: the mean of the inverse cross-entropies (paper, for DPO), their
    maximum, or the inverse of the mean cross-entropy (paper, for PPO)."""

    references: int | None = Field(None, ge=1)
    """Most source-language responses to compare with, the first ones (ours: each costs a pass). Unset: all
    different ones, as in the paper."""

    drop_repetitive: bool = True
    """Leave out references with a line that occurs twice (paper), where others are left (ours)."""


def check(settings: Settings, config: RunConfig) -> None:
    """Checks a run with this reward; see `lingualign.rewards.base`."""
    if config.translation.kind not in ("policy", "model"):
        raise InputError(
            f"reward.kind=translation asks how likely a translation is, and translation.kind="
            f"{config.translation.kind} cannot say.",
            "Choose translation.kind=model with the folder of an M2M100 or NLLB model, or policy.",
        )


def reads_reference(settings: Settings) -> bool:
    """Whether it asks for the reference; see `lingualign.rewards.base`."""
    return False


def make(settings: Settings, tools: Tools) -> Reward:
    """Makes the reward; see `lingualign.rewards.base`."""
    return TranslationReward(tools.likelihood(), settings)


class TranslationReward:
    """Scores responses in other languages than the source; it has nothing to say of those in the source
    language.

    Components of a score: `cross_entropy`, the mean over references in nats a token, and `references`, their
    number.

    Args:
        translator: Says how likely translations are.
        settings: The options.
    """

    name = "translation"
    columns = ("language", "source_responses")

    def __init__(self, translator: Likelihood, settings: Settings) -> None:
        self.translator = translator
        self.settings = settings

    def score(self, batch: Sequence[Candidates]) -> list[list[Score]]:
        """Scores all responses of some prompts; see `lingualign.rewards.Reward`."""
        return [scores for one in _by_direction(batch) for scores in self._score(one)]

    def _score(self, batch: Sequence[Candidates]) -> list[list[Score]]:
        """Scores candidates that are all in one language, with one source language."""
        target, source = batch[0].prompt.language, batch[0].source_prompt.language
        references = [
            []
            if target == source
            else pick_references(
                candidates.source_responses, self.settings.references, self.settings.drop_repetitive
            )
            for candidates in batch
        ]
        pairs = [
            (response["text"], reference)
            for candidates, found in zip(batch, references, strict=True)
            for response in candidates.responses
            for reference in found
        ]
        likelihoods = iter(self.translator.likelihoods(pairs, target, source) if pairs else [])
        return [
            [self._one(response, [next(likelihoods) for _ in found]) for response in candidates.responses]
            for candidates, found in zip(batch, references, strict=True)
        ]

    def _one(self, response: Response, likelihoods: Sequence[tuple[float, int]]) -> Score:
        if not likelihoods:
            return score_of(response, None)
        entropies = [-logp / tokens for logp, tokens in likelihoods]
        return score_of(
            response,
            combine_entropies(entropies, self.settings.combine),
            cross_entropy=sum(entropies) / len(entropies),
            references=len(entropies),
        )


def combine_entropies(entropies: Sequence[float], how: Literal["mean", "max", "inverse-of-mean"]) -> float:
    """The reward of one response from its cross-entropies, in tokens a nat.

    Args:
        entropies: Of each reference given the response, in nats a token, above 0.
        how: See `Settings.combine`.

    Example:
        >>> [round(combine_entropies([1.0, 2.0, 4.0], how), 6) for how in ("mean", "max", "inverse-of-mean")]
        [0.583333, 1.0, 0.428571]
    """
    if how == "inverse-of-mean":
        return len(entropies) / sum(entropies)
    inverses = [1 / entropy for entropy in entropies]
    return max(inverses) if how == "max" else sum(inverses) / len(inverses)


def pick_references(responses: Sequence[Response], most: int | None, drop_repetitive: bool) -> list[str]:
    """The different texts of some responses, finished ones, in order.

    Args:
        responses: In the source language.
        most: Of them to take.
        drop_repetitive: Leave out those with a line that occurs twice, where others are left.
    """
    texts = list(
        dict.fromkeys(r["text"] for r in responses if r["finish_reason"] == "stop" and r["text"].strip())
    )
    fresh = [text for text in texts if not _repeats(text)]
    return (fresh if drop_repetitive and fresh else texts)[:most]


def _repeats(text: str) -> bool:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return len(set(lines)) < len(lines)


def _by_direction(batch: Sequence[Candidates]) -> list[list[Candidates]]:
    """The batch cut where the language changes: a stretch goes to the translator at once."""
    runs: list[list[Candidates]] = []
    for candidates in batch:
        direction = (candidates.prompt.language, candidates.source_prompt.language)
        if runs and (runs[-1][0].prompt.language, runs[-1][0].source_prompt.language) == direction:
            runs[-1].append(candidates)
        else:
            runs.append([candidates])
    return runs
