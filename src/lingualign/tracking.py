"""Trackers of experiments: where they write, and what they call a run.

A training speaks to them through Transformers (`TrainingArguments.report_to`), the measures of a run through
accelerate (`lingualign.pipeline.tracked_measures`); both read the trackers' own environment variables.
Nothing that is computed depends on them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lingualign.errors import InputError

PROJECT = "lingualign"  # of runs at wandb and trackio, and experiment at mlflow, unless their variables say
TENSORBOARD = "TENSORBOARD_LOGGING_DIR"
MEASURES = "measures"


def check_trackers(names: Sequence[str]) -> None:
    """Refuses trackers that Transformers would not find.

    Raises:
        InputError: One is not installed.
    """
    if not names:
        return
    from transformers.integrations import get_available_reporting_integrations

    missing = [name for name in names if name not in get_available_reporting_integrations()]
    if missing:
        raise InputError(
            f"training.report_to: {' and '.join(missing)} cannot be imported.",
            f"Install what is missing, `pip install {' '.join(missing)}`, or leave it out.",
        )


def run_name(folder: Path) -> str:
    """What trackers call a training, by the folder it writes into: the run folder's name, and its own."""
    folder = folder.absolute()
    return f"{folder.parent.name}/{folder.name}" if _in_run(folder) else folder.name


def tensorboard_folder(folder: Path) -> Path:
    """Where TensorBoard finds a training: in the run folder, or where the variable of TensorBoard says."""
    folder = folder.absolute()
    chosen = os.environ.get(TENSORBOARD)
    if chosen is not None:
        return Path(chosen).expanduser() / run_name(folder)
    return folder.parent / "tensorboard" / folder.name if _in_run(folder) else folder / "tensorboard"


@contextmanager
def tracked(names: Sequence[str], folder: Path) -> Iterator[None]:
    """For the time of one training, tells trackers where to write through their environment variables.

    A Trainer must be made and train in the context, as its callbacks read them in either.

    Args:
        names: Of the trackers.
        folder: What the training writes into: an iteration of a run, or any other.
    """
    if not names:
        yield
        return
    before = os.environ.copy()
    os.environ[TENSORBOARD] = str(tensorboard_folder(folder))
    os.environ.setdefault("WANDB_PROJECT", PROJECT)
    os.environ.setdefault("MLFLOW_EXPERIMENT_NAME", PROJECT)
    try:
        yield
    finally:
        for name in (TENSORBOARD, "WANDB_PROJECT", "MLFLOW_EXPERIMENT_NAME"):
            if name in before:
                os.environ[name] = before[name]
            else:
                os.environ.pop(name, None)
        wandb = sys.modules.get("wandb") if "wandb" in names else None
        if wandb is not None and wandb.run is not None:
            wandb.finish()  # or the next iteration would go on in the same curve


def _in_run(folder: Path) -> bool:
    return folder.name == MEASURES or folder.name.startswith("iteration-")
