"""Settings of the watch over training."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lingualign.config.section import Section


class GuardConfig(Section):
    """What is watched while a policy trains (docs/training-guard.md). A loss or gradient that is not finite
    stops the training whatever is set here. All thresholds are ours."""

    action: Literal["off", "warn", "stop", "roll-back"] = "warn"
    """What happens at signs of collapse. warn: one warning a sign. stop: training ends there. roll-back: it
    ends, with the weights of the last checkpoint before the signs, for which more than one is kept."""

    window: int = Field(8, ge=1)
    """Optimiser steps that a metric is averaged over before it is held against a threshold."""

    chosen_fall: float = Field(0.3, gt=0)
    """Sign: the chosen responses have lost more than this of their log-probability since the first step, in
    nats a token. 0.3 makes each token a quarter less likely."""

    saturated_loss: float = Field(0.001, ge=0)
    """Sign: the preference term is below this and every pair is ranked right: nothing is left to learn from
    the preferences. ipo, whose loss has its minimum at a margin, is not held against it. 0: never."""

    max_margin: float = Field(20.0, gt=0)
    """Sign: the margin, times beta, is above this: the model moves apart what it tells apart already."""

    language_fall: float = Field(0.3, gt=0, le=1)
    """Sign: the share of greedy answers in the language of their prompt has fallen by more than this since
    the start, in any language. An answer whose language cannot be told counts as none in it."""

    language_steps: int = Field(25, ge=0)
    """Optimiser steps between such answers; the policies before the first and after the last step answer
    too. 0: never. Weights that are spread over several processes (FSDP, DeepSpeed) never answer."""

    language_prompts: int = Field(8, ge=1)
    """Prompts of each language that are answered: the first ones of the pairs."""

    language_tokens: int = Field(32, ge=1)
    """Longest of these answers, in tokens."""
