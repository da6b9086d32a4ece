"""One preference training, from pairs to a model folder."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments, set_seed

from lingualign.config import TrainingConfig
from lingualign.errors import InputError
from lingualign.models import no_progress_bars, resolve_device, resolve_dtype, resolve_spec
from lingualign.prompts import ChatFormat
from lingualign.records import Pair
from lingualign.training.collate import Example, encode_pairs, group_by_prompt, make_examples
from lingualign.training.policy import save_policy, trainable_policy
from lingualign.training.trainer import OnStep, PreferenceTrainer

SCHEDULERS = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}


@dataclass(frozen=True)
class TrainingResult:
    """What came of a training.

    Attributes:
        model: Folder of the trained model or adapter.
        steps: Optimiser steps, those of an earlier start counted.
        pairs: Pairs trained on.
        overlong: Ids of the pairs left out for their length.
        resumed_at: Step of the checkpoint that training went on from, 0 without one.
        metrics: Of the last step that was computed; none if an earlier start had computed all.
    """

    model: Path
    steps: int
    pairs: int
    overlong: list[str]
    resumed_at: int = 0
    metrics: dict[str, float] = field(default_factory=dict)


def train(
    config: TrainingConfig,
    pairs: Sequence[Pair],
    reference: Sequence[Mapping[str, Any]] | None,
    *,
    policy: str | Path,
    chat: ChatFormat,
    output: Path,
    seed: int,
    device: str = "auto",
    dtype: str = "auto",
    trust_remote_code: bool = False,
    source_language: str = "en",
    on_step: OnStep | None = None,
) -> TrainingResult:
    """Trains a policy on pairs and saves it to `output/model`.

    Killed and called again with the same arguments, it goes on from the last checkpoint in
    `output/checkpoints` and ends with the same weights. `output/model` appears complete or not at all; the
    checkpoints are then removed.

    Weights are trained in float32; where `dtype` comes to bfloat16, with arithmetic in that (autocast).
    A whole model is saved in the type that the policy's config names.

    Args:
        config: Settings. With `lora`, an adapter on the policy is trained and saved; if the policy is an
            adapter already, that one is trained on. Without, all weights are trained, those of an adapter
            merged first.
        pairs: Preferences.
        reference: Rows of REFERENCE_LOGPS (see `reference_logps`), joined by id; None where there is no
            preference term.
        policy: Spec of the model to start from.
        chat: Its chat format.
        output: Folder to write into.
        seed: Of the order of the pairs, the adapter's weights and its dropout.
        device: See `load_model`.
        dtype: See `load_model`.
        trust_remote_code: Run code that ships with the model.
        on_step: Called with (steps done, of how many, metrics) after each step. Metrics are means over the
            pairs of the step: `loss`, its terms, `margin` in nats (of ipo and simpo, a token), `accuracy`;
            and `learning_rate`, `grad_norm`.

    Raises:
        InputError: No pair is left, or a pair has no reference log-probabilities.
    """
    encoded, overlong = encode_pairs(pairs, chat, config.max_length)
    if not encoded:
        raise InputError(
            f"There is no pair to train on: {len(overlong)} of {len(pairs)} are longer than "
            f"{config.max_length} tokens.",
            "Raise training.max_length, or loosen the filters under `pairs`.",
        )
    examples = make_examples(
        encoded,
        reference if config.preference_weight > 0 else None,
        {pair.language for pair in encoded} - {source_language} if config.nll_on == "targets" else None,
    )
    groups = group_by_prompt(examples) if config.group_prompts else [[example] for example in examples]
    start = resolve_spec(policy)
    place = resolve_device(device)
    mixed = resolve_dtype(dtype, place) is torch.bfloat16
    checkpoints = output / "checkpoints"
    checkpoint = last_checkpoint(checkpoints)
    arguments = _arguments(config, checkpoints, groups, seed, cpu=place.type == "cpu", mixed=mixed)
    metrics: dict[str, float] = {}

    def report(done: int, total: int, values: Mapping[str, float]) -> None:
        metrics.update(values)
        if on_step is not None:
            on_step(done, total, values)

    set_seed(seed)
    model = trainable_policy(
        start, config, device=str(place), dtype=dtype, trust_remote_code=trust_remote_code
    )
    trainer = PreferenceTrainer(config, model, groups, arguments, report)
    with no_progress_bars():
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        save_policy(trainer, start, chat, output / "model", trust_remote_code=trust_remote_code)
    if trainer.is_world_process_zero():
        shutil.rmtree(checkpoints, ignore_errors=True)
    return TrainingResult(
        model=output / "model",
        steps=trainer.state.global_step,
        pairs=len(examples),
        overlong=overlong,
        resumed_at=_step(checkpoint) if checkpoint else 0,
        metrics=metrics,
    )


def last_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint in a folder; those that a killed process left incomplete are removed."""
    for checkpoint in sorted(folder.glob("checkpoint-*"), key=_step, reverse=True):
        try:
            json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))  # is written last
            return checkpoint
        except (OSError, ValueError):
            shutil.rmtree(checkpoint, ignore_errors=True)
    return None


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _arguments(
    config: TrainingConfig,
    folder: Path,
    groups: Sequence[Sequence[Example]],
    seed: int,
    *,
    cpu: bool,
    mixed: bool,
) -> TrainingArguments:
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if config.batch_pairs % processes:
        raise InputError(
            f"training.batch_pairs: {config.batch_pairs} cannot be shared by {processes} processes."
        )
    # In groups, of which the Trainer knows nothing: pairs that belong to one prompt, or each pair one.
    size = sum(map(len, groups)) / len(groups)
    batch = max(1, round(config.batch_pairs / processes / size))
    most = max(1, min(int(config.micro_batch_pairs / size), batch))
    micro = next(count for count in range(most, 0, -1) if batch % count == 0)
    steps = config.epochs * math.ceil(len(groups) / (batch * processes))
    recompute: dict[str, Any] = {}
    if config.gradient_checkpointing:
        recompute = {
            "gradient_checkpointing": True,
            "gradient_checkpointing_kwargs": {"use_reentrant": False},
        }
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=config.epochs,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=batch // micro,
        learning_rate=config.learning_rate,
        lr_scheduler_type=SCHEDULERS[config.scheduler],
        warmup_steps=int(config.warmup * steps),  # none for a single step, whose rate would be 0
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        bf16=mixed,
        use_cpu=cpu,
        seed=seed,
        save_strategy="steps",
        save_steps=config.save_steps,
        save_total_limit=1,
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,
        remove_unused_columns=False,
        disable_tqdm=True,
        report_to="none",
        **recompute,
    )
    if processes == 1:
        # Several GPUs are for `accelerate launch`: DataParallel cannot split a list of sequences.
        arguments._n_gpu = 1
    return arguments
