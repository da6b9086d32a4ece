"""Settings of preference training."""

from __future__ import annotations

import difflib
from typing import Literal

from pydantic import Field, field_validator

from lingualign.config.guard import GuardConfig
from lingualign.config.launch import LaunchConfig
from lingualign.config.section import Section

TRACKERS = ("tensorboard", "wandb", "mlflow", "trackio")  # whom training.report_to may name


class LoraConfig(Section):
    """LoRA instead of full training; the reference is then the base model with the adapter off."""

    r: int = Field(16, ge=1)
    """Rank."""

    alpha: int = Field(32, ge=1)
    """Scale."""

    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout on the adapter's input."""

    target_modules: str | list[str] = "all-linear"
    """Which modules get an adapter, as peft takes it."""


class TrainingConfig(Section):
    """The preference training of one iteration."""

    objective: Literal["dpo", "ipo", "simpo", "kto-pair"] = "dpo"
    """The preference term, to which `nll_weight` times the NLL of the chosen response is added. dpo: -log
    sigmoid of the margin between log-ratios. ipo: the squared distance from 1 / (2 beta) of the margin
    between their token means. simpo: as dpo, between token means of log-probs, without the reference.
    kto-pair: each response against the mean log-ratio of the other side; one forward pass more."""

    preference_weight: float = Field(1.0, ge=0)
    """Weight of the preference term. 0: supervised training on the chosen responses; the rejected ones are
    then not even computed."""

    beta: float = Field(0.1, gt=0)
    """Scale of the margin. dpo, kto-pair: inverse temperature (paper: 0.1). ipo: the margin to reach is
    1 / (2 beta) nats a token. simpo: 2.0 or 2.5 in its paper; 0.1 is far too small."""

    simpo_gamma: float = Field(0.5, ge=0)
    """Margin that simpo is to reach, times beta (its paper: 0.1 to 0.8 times beta; TRL: 0.5)."""

    nll_weight: float = Field(1.0, ge=0)
    """Weight of the NLL of the chosen response, a token mean per sequence (paper: 1). 0: none."""

    nll_on: Literal["all", "targets"] = "all"
    """Whose chosen responses have an NLL term, and are averaged over in it: all, or those to prompts in a
    target language (CLO)."""

    train_modules: Literal["all", "attention"] = "all"
    """Which weights are trained: all, or the query, key, value and output projections of attention (CLO).
    With `lora`: which modules get an adapter, over `lora.target_modules`."""

    group_prompts: bool = False
    """The pairs of one prompt, in all languages, stay together in one optimiser step."""

    reference: Literal["policy", "initial"] = "policy"
    """The frozen model of the objective: the policy at the start of the iteration, or the run's reference
    model. simpo makes no use of it."""

    learning_rate: float = Field(5e-7, gt=0)
    """Peak learning rate (the paper's is unknown; ours)."""

    scheduler: Literal["cosine", "linear", "constant"] = "cosine"
    """Learning-rate schedule (ours)."""

    warmup: float = Field(0.1, ge=0, lt=1)
    """Share of the steps for linear warm-up (ours)."""

    epochs: int = Field(1, ge=1)
    """Passes over the pairs."""

    batch_pairs: int = Field(32, ge=1)
    """Pairs an optimiser step, over all processes (paper: 32)."""

    micro_batch_pairs: int = Field(4, ge=1)
    """Pairs a forward and backward pass; gradients of a step add up exactly whatever this is."""

    max_length: int = Field(4096, ge=2)
    """Pairs with a longer sequence, prompt and response together, are left out, with a count."""

    max_grad_norm: float = Field(1.0, gt=0)
    """Gradient clipping."""

    weight_decay: float = Field(0.0, ge=0)
    """AdamW weight decay."""

    gradient_checkpointing: bool = False
    """Trade compute for memory."""

    save_steps: int = Field(50, ge=1)
    """Optimiser steps between checkpoints to resume from."""

    lora: LoraConfig | None = None
    """Train a LoRA adapter; unset trains all weights."""

    launch: LaunchConfig = LaunchConfig()
    """Training in several processes."""

    guard: GuardConfig = GuardConfig()
    """The watch for collapse."""

    report_to: list[str] = []
    """Trackers that are told the metrics of every step and the measures of every iteration, as
    tensorboard,wandb: tensorboard, wandb, mlflow and trackio, those that are installed. They change nothing
    of what is computed. See docs/progress.md."""

    @field_validator("report_to")
    @classmethod
    def _known_trackers(cls, names: list[str]) -> list[str]:
        for name in names:
            if name not in TRACKERS:
                near = difflib.get_close_matches(name, TRACKERS, n=1)
                meant = f"did you mean {near[0]}" if near else f"there are {', '.join(TRACKERS)}"
                raise ValueError(f"there is no tracker {name!r}: {meant}")
        return list(dict.fromkeys(names))
