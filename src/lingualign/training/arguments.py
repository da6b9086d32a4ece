"""What trainings have in common: how they are optimised, and where they resume."""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar
from zipfile import BadZipFile, ZipFile

from transformers import TrainingArguments

from lingualign.config import TrainingConfig
from lingualign.errors import InputError
from lingualign.models import parameters_in
from lingualign.tracking import PROJECT, check_trackers, run_name
from lingualign.training.signs import kept_checkpoints

SCHEDULERS = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}
logger = logging.getLogger(__name__)
Arguments = TypeVar("Arguments", bound=TrainingArguments)


def training_arguments(
    config: TrainingConfig,
    folder: Path,
    sizes: Sequence[int],
    seed: int,
    *,
    cpu: bool,
    mixed: bool,
    kind: type[Arguments],
    **further: Any,
) -> Arguments:
    """Arguments of a Trainer that logs every step and keeps its last checkpoint, or those to go back to.

    Args:
        config: How to optimise. Batches count pairs.
        folder: Of the checkpoints.
        sizes: Pairs in each item of the data set: 1, or more where the pairs of a prompt stay together, of
            which the Trainer knows nothing.
        seed: Of the order.
        cpu: Train on the CPU.
        mixed: Compute in bfloat16.
        kind: Class of the arguments.
        further: Arguments of that class.

    Raises:
        InputError: The pairs of a step cannot be shared by the processes, or a tracker is not installed.
    """
    check_trackers(config.report_to)
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if config.batch_pairs % processes:
        raise InputError(
            f"training.batch_pairs: {config.batch_pairs} cannot be shared by {processes} processes."
        )
    size = sum(sizes) / len(sizes)
    batch = max(1, round(config.batch_pairs / processes / size))
    most = max(1, min(int(config.micro_batch_pairs / size), batch))
    micro = next(count for count in range(most, 0, -1) if batch % count == 0)
    steps = config.epochs * math.ceil(len(sizes) / (batch * processes))
    if config.gradient_checkpointing:
        further["gradient_checkpointing_kwargs"] = {"use_reentrant": False}
    with warnings.catch_warnings():
        # Newer Transformers have another name for gradient_checkpointing.
        warnings.simplefilter("ignore", FutureWarning)
        arguments = kind(
            output_dir=str(folder),
            num_train_epochs=config.epochs,
            per_device_train_batch_size=micro,
            gradient_accumulation_steps=batch // micro,
            learning_rate=config.learning_rate,
            lr_scheduler_type=SCHEDULERS[config.scheduler],
            warmup_steps=int(config.warmup * steps),  # none for a single step, whose rate would be 0
            weight_decay=config.weight_decay,
            max_grad_norm=config.max_grad_norm,
            gradient_checkpointing=config.gradient_checkpointing,
            bf16=mixed,
            use_cpu=cpu,
            seed=seed,
            save_strategy="steps",
            save_steps=config.save_steps,
            save_total_limit=kept_checkpoints(config),
            logging_strategy="steps",
            logging_steps=1,
            logging_nan_inf_filter=False,
            disable_tqdm=True,
            report_to=config.report_to or "none",
            run_name=run_name(folder.parent),
            project=PROJECT,
            trackio_space_id=os.environ.get("TRACKIO_SPACE_ID"),  # some versions' default publishes
            **further,
        )
    if processes == 1:
        # Several GPUs are for `accelerate launch`: DataParallel cannot split a list of sequences.
        arguments._n_gpu = 1
    return arguments


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint in a folder.

    Others are removed: those that a killed process left incomplete, and damaged ones, with a warning.
    """
    for checkpoint in sorted(folder.glob("checkpoint-*"), key=step_of, reverse=True):
        try:
            json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))  # is written last
            damaged = next((path for path in checkpoint.rglob("*") if not _is_whole(path)), None)
            if damaged is None:
                return checkpoint
            logger.warning("%s is damaged: training goes on from the checkpoint before, or anew.", damaged)
        except (OSError, ValueError):
            pass
        shutil.rmtree(checkpoint, ignore_errors=True)
    return None


def _is_whole(path: Path) -> bool:
    """Whether weights are as long as their header says, and the checksums of a file of torch's agree."""
    try:
        if path.suffix == ".safetensors":
            parameters_in(path)
        elif path.suffix in (".pt", ".pth", ".bin") and path.is_file():
            with ZipFile(path) as file:
                return file.testzip() is None
    except (InputError, BadZipFile, ValueError, EOFError, zlib.error):
        return False
    return True


def step_of(checkpoint: Path) -> int:
    """The step at which a checkpoint was written, from its name."""
    return int(checkpoint.name.rpartition("-")[2])
