"""A few steps of a run's training, timed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import TrainingArguments

from lingualign.config import RunConfig
from lingualign.models import no_progress_bars, resolve_device, resolve_dtype
from lingualign.prompts import ChatFormat
from lingualign.records import Message, Pair
from lingualign.setup.clock import wait
from lingualign.training.arguments import training_arguments
from lingualign.training.collate import encode_pairs, make_examples
from lingualign.training.policy import trainable_policy
from lingualign.training.trainer import PreferenceTrainer


def training_seconds(
    config: RunConfig, pairs: Sequence[Pair], policy: Path, chat: ChatFormat, folder: Path
) -> float | None:
    """Seconds of an optimiser step, the first one left out; None where too few pairs are short enough."""
    place = resolve_device(config.device)
    encoded, _ = encode_pairs(pairs, chat, config.training.max_length)
    if len(encoded) < len(pairs):
        return None
    groups = [[example] for example in make_examples(encoded, None)]
    arguments = training_arguments(
        config.training,
        folder,
        [1] * len(groups),
        config.seed,
        cpu=place.type == "cpu",
        mixed=resolve_dtype(config.dtype, place) is torch.bfloat16,
        kind=TrainingArguments,
        remove_unused_columns=False,
    )
    arguments.save_strategy = "no"
    model = trainable_policy(
        policy,
        config.training,
        device=str(place),
        dtype=config.dtype,
        trust_remote_code=config.trust_remote_code,
    )
    ends: list[float] = []

    def on_step(done: int, total: int, metrics: Any) -> None:
        wait()
        ends.append(time.monotonic())

    with no_progress_bars():
        PreferenceTrainer(config.training, model, groups, arguments, on_step).train()
    return float(np.mean(np.diff(ends)))


def numbered(pair: Pair, number: int) -> Pair:
    """A pair with a number in all its texts: what is equal within a pass would be computed only once."""

    def mark(messages: Sequence[Message], text: str) -> list[Message]:
        *before, last = messages
        return [*before, Message(role=last["role"], content=f"{last['content']} {text}")]

    return {
        **pair,
        "id": str(number),
        "prompt": mark(pair["prompt"], str(number)),
        "chosen": mark(pair["chosen"], str(number)),
        "rejected": mark(pair["rejected"], f"{number}."),
    }
