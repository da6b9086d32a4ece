"""One preference training, from pairs to a model folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
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
from lingualign.tracking import tracked
from lingualign.training.arguments import last_checkpoint, step_of, training_arguments
from lingualign.training.collate import encode_pairs, group_by_prompt, make_examples
from lingualign.training.finite import BAD_BATCH
from lingualign.training.guard import Answers, Guard, OnWarn
from lingualign.training.policy import save_policy, trainable_policy
from lingualign.training.trainer import OnStep, PreferenceTrainer


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
    on_log: Callable[[dict[str, Any]], None] | None = None,
    on_warn: OnWarn | None = None,
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
        on_log: Called once all steps are done, before the model is saved, with what there is to know of them:
            `steps`, the metrics of every step and its number, those of earlier starts among them; and
            `guard`, the signs of collapse and what followed, unless that watch is off.
        on_warn: Told of signs of collapse, in words.

    Raises:
        InputError: No pair is left, a pair has no reference log-probabilities, or a loss or gradient is not
            finite: its step is not made, and its pairs are then in `output/bad_batch.json`.
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
    arguments = training_arguments(
        config,
        checkpoints,
        [len(group) for group in groups],
        seed,
        cpu=place.type == "cpu",
        mixed=mixed,
        kind=TrainingArguments,
        remove_unused_columns=False,
    )
    metrics: dict[str, float] = {}

    def report(done: int, total: int, values: Mapping[str, float]) -> None:
        metrics.update(values)
        if on_step is not None:
            on_step(done, total, values)

    def trainer_of_start() -> PreferenceTrainer:
        set_seed(seed)
        model = trainable_policy(
            start, config, device=str(place), dtype=dtype, trust_remote_code=trust_remote_code
        )
        return PreferenceTrainer(config, model, groups, arguments, report)

    with tracked(config.report_to, output), no_progress_bars():
        trainer = trainer_of_start()
        guard = None
        if config.guard.action != "off":
            guard = Guard(trainer, config, Answers(config, pairs, chat, source_language), on_warn)
            trainer.add_callback(guard)
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        state = trainer.state
        if on_log is not None and trainer.is_world_process_zero():
            # In the order of checkpoints, so that the log does not tell what was read from one.
            steps = [dict(sorted(entry.items())) for entry in state.log_history if "loss" in entry]
            on_log({"steps": steps} if guard is None else {"steps": steps, "guard": guard.record()})
        if guard is not None and guard.rolled_back_to == 0:
            trainer = trainer_of_start()
        save_policy(trainer, start, chat, output / "model", trust_remote_code=trust_remote_code)
    if trainer.is_world_process_zero():
        shutil.rmtree(checkpoints, ignore_errors=True)
        (output / BAD_BATCH).unlink(missing_ok=True)  # of an earlier start
    return TrainingResult(
        model=output / "model",
        steps=state.global_step,
        pairs=len(examples),
        overlong=overlong,
        resumed_at=step_of(checkpoint) if checkpoint else 0,
        metrics=metrics,
    )
