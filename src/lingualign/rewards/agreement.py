"""Agreement with the source language's responses in the policy's own hidden states: LaCoMSA's reward.

With m(y) the mean state of a response's tokens at a middle layer, f(y) the same at the last layer, and y_en,i
the source-language responses to the prompt of y:

    R(y)   = mean over i of cos(m(y), m(y_en,i))
    gap(y) = -R(y) + cos(f(y), mean of f over the responses in y's language)
                   - cos(f(y), mean of f over the source-language responses)
    w(y)   = sigmoid(alpha * gap(y)) ^ gamma

Candidates are ranked by R; w * R is what margins are taken of. A large gap says that a response is unlike the
source language's where meaning is formed, and like its own language's where words are. Which responses the
means of f are over is not known: here those to the same prompt (ours).

A source-language response is compared with the other ones of its language, and the two cosines of its gap are
the same. R alone does not mind the language: a response in the source language has the largest of all, so
leave the filter of other languages on (`pairs.wrong_language`).

References:
    - LaCoMSA (EACL 2026), after its code
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from lingualign.config import Section
from lingualign.embedders import cosines, response_states
from lingualign.prompts import ChatFormat
from lingualign.records import Score
from lingualign.rewards.base import Candidates, Tools, score_of
from lingualign.rewards.consistency import Context, by_index, context_of, self_consistency

if TYPE_CHECKING:  # takes seconds to import
    from torch import nn


READS = "source"


class Settings(Section):
    """Options of the agreement of hidden states."""

    layer: float = Field(0.47, gt=0, le=1)
    """The middle layer, as a share of the depth (LaCoMSA's code: 15 of Llama-3-8B's 32)."""

    context: Context = "source"
    """The prompt that responses are read behind, in the source language for all (source) or the one that they
    answer (target). Ours, chosen in the lab."""

    alpha: float = Field(0.5, ge=0)
    """How far the gap decides the weight (LaCoMSA's code: 0.5)."""

    gamma: float = Field(1.0, ge=0)
    """Exponent of the weight (LaCoMSA's code: 1.0)."""


def reads_reference(settings: Settings) -> bool:
    """Whether it asks for the reference; see `lingualign.rewards.base`."""
    return False


def make(settings: Settings, tools: Tools) -> AgreementReward:
    """Makes the reward; see `lingualign.rewards.base`."""
    return AgreementReward(tools.policy, tools.chat, settings, tools.config.reward.batch_tokens)


def mean_agreement(states: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Mean cosine [n] of each state [n, width] with all source-language states [m, width]."""
    return cosines(states, source).mean(axis=1)


def language_gap(agreement: np.ndarray, last: np.ndarray, own: np.ndarray, source: np.ndarray) -> np.ndarray:
    """How far responses belong to their own language and not to the source language.

    Args:
        agreement: Rewards [n].
        last: Last-layer states of the responses [n, width].
        own: Last-layer states of responses in their language [k, width].
        source: Last-layer states of source-language responses [m, width].

    Returns:
        [n], in [-3, 3].
    """
    own_mean, source_mean = own.mean(axis=0)[None], source.mean(axis=0)[None]
    return -agreement + cosines(last, own_mean)[:, 0] - cosines(last, source_mean)[:, 0]


def gap_weight(gap: np.ndarray, alpha: float, gamma: float) -> np.ndarray:
    """Weights [n] in [0, 1] of rewards by their gaps [n]."""
    return (1 / (1 + np.exp(-alpha * gap))) ** gamma


class AgreementReward:
    """Mean cosine of each response's states with those of the source language's responses.

    Components of a score: `gap`, `weight`, and `weighted`, weight times reward.

    Args:
        policy: Loads the policy, when it is first needed.
        chat: Its chat format.
        settings: How.
        batch_tokens: Most tokens in one forward pass.
    """

    name = "agreement"
    alone = "never"

    def __init__(
        self, policy: Callable[[], nn.Module], chat: ChatFormat, settings: Settings, batch_tokens: int
    ) -> None:
        self._load = policy
        self.chat = chat
        self.settings = settings
        self.batch_tokens = batch_tokens

    @cached_property
    def policy(self) -> nn.Module:
        """Whose states they are."""
        return self._load()

    def score(self, batch: Sequence[Candidates]) -> list[list[Score]]:
        """Scores all responses of some prompts; see `lingualign.rewards.Reward`."""
        from lingualign.hidden import layer_index

        groups = []
        for candidates in batch:
            messages = context_of(candidates, self.settings.context)
            groups.append((messages, candidates.responses))
            groups.append((messages, candidates.parallel.get(candidates.prompt.language, ())))
            groups.append((candidates.source_prompt.messages, candidates.source_responses))
        layers = [layer_index(self.policy, self.settings.layer), layer_index(self.policy, 1.0)]
        # Responses that are in two groups are computed once.
        states = iter(response_states(self.policy, self.chat, groups, layers, self.batch_tokens))
        return [self._score(candidates, next(states), next(states), next(states)) for candidates in batch]

    def _score(
        self, candidates: Candidates, states: np.ndarray, own: np.ndarray, source: np.ndarray
    ) -> list[Score]:
        responses = candidates.responses
        if not len(own) or not len(source):
            return [score_of(response, None) for response in responses]
        rewards = mean_agreement(states[:, 0], source[:, 0])
        if candidates.prompt.language == candidates.source_prompt.language:
            others = by_index(candidates.source_responses, self_consistency(source[:, 0]))
            rewards = np.array([others[response["index"]] for response in responses])
        gaps = language_gap(rewards, states[:, 1], own[:, 1], source[:, 1])
        weights = gap_weight(gaps, self.settings.alpha, self.settings.gamma)
        return [
            score_of(response, reward, gap=gap, weight=weight, weighted=weight * reward)
            for response, reward, gap, weight in zip(
                responses, rewards.tolist(), gaps.tolist(), weights.tolist(), strict=True
            )
        ]
