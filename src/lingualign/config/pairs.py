"""Settings of rewards and pairs."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from lingualign.config.section import Section

NO_REWARD = "none"  # the reward.kind of pairs that need no scores


class RewardConfig(Section):
    """What scores the candidates."""

    kind: str = "implicit"
    """The reward: the name of a file in `lingualign/rewards`, or a file of your own (./my_reward.py).
    implicit: log-ratio of policy and reference (ICR). consistency: with a chosen source-language response
    (CM-Align). votes: over languages (CALM). translation: how likely the source-language responses are as a
    translation (MAPO). agreement: of hidden states (LaCoMSA). reward-model: a reward model.
    language: 1 in the prompt's language, 0 in another. random: a seeded
    uniform draw (a floor). lab-judge: the lab's gold reward (a ceiling; only for prompts of the lab). none:
    nothing is scored, for pairs that need no scores."""

    options: dict[str, Any] = {}
    """Options of that kind alone, e.g. `reward.options.layer=0.5`; `lingualign recipes NAME` explains those
    of a recipe's reward."""

    context: Literal["source-directive", "source", "target", "translated"] = "source-directive"
    """The instruction that the implicit reward reads a response under. source-directive: the source-language
    instruction behind a sentence that asks for the target language (ICR). source: without that sentence.
    target: the instruction it was sampled for. translated: the response is translated to the source language
    first (by `translation`)."""

    reference: Literal["initial", "previous"] = "initial"
    """Denominator of the log-ratio: the run's reference model in every iteration, or in iteration t the
    policy of iteration t-1 (the run's reference in the first)."""

    batch_tokens: int = Field(16384, ge=1)
    """Most tokens in one forward pass."""

    chunk_prompts: int = Field(64, ge=1)
    """Prompts a language in one part file of scores: the unit of resume."""


class LengthControlConfig(Section):
    """The penalty a unit of length that makes chosen and rejected equally long on average."""

    method: Literal["exact", "signed", "grid", "none"] = "exact"
    """exact: solved over the break-points. signed: so too, and a bonus where chosen responses are the shorter
    ones by themselves. grid: the published sweep 0.000, 0.001, ..., 0.999. none: no penalty."""

    unit: Literal["chars", "tokens", "bytes"] = "chars"
    """What length is counted in (paper: characters)."""


class PairsConfig(Section):
    """Which candidates become a pair, and which pairs are left out."""

    kind: str = "best-worst"
    """How pairs are made: the name of a file in `lingualign/pairs`, or a file of your own (./my_pairs.py).
    best-worst: of a prompt's candidates. random-pair: any two of them, the better one chosen. ranked: all
    ordered pairs (MAPO). disagreement: the winning vote against those who disagree (CALM). imbalance: the
    source language's answer, translated, against the target's own (LIDR). swap: one text in the prompt's
    language against the same in another (CLO). translated: labelled pairs, translated."""

    options: dict[str, Any] = {}
    """Options of that kind alone."""

    languages: Literal["all", "targets"] = "all"
    """Whether pairs in the source language are trained on too."""

    length_control: LengthControlConfig = LengthControlConfig()
    """Length control, a language at a time."""

    wrong_language: Literal["drop", "reject", "keep"] = "drop"
    """Candidates that are identified as another language than the prompt's (undecided ones are not). drop:
    left out. reject: never chosen, and rejected whatever their reward. keep: as any other."""

    drop_truncated: bool = True
    """Drop candidates that were cut at `max_new_tokens`."""

    drop_duplicates: bool = True
    """Keep the first of candidates with the same text."""

    min_margin: float = Field(0.0, ge=0)
    """Least difference of length-controlled rewards between chosen and rejected. 0 still drops ties."""

    outlier_quantile: float = Field(1.0, gt=0, le=1)
    """A candidate whose length-controlled reward lies above this quantile of its language cannot be chosen:
    the published upper bound, as a share instead of nats. 1: no bound."""
