"""The measures of a run for trackers of experiments, through accelerate's trackers."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lingualign.errors import InputError
from lingualign.pipeline.files import read_json
from lingualign.pipeline.plan import DECODINGS
from lingualign.tracking import MEASURES, PROJECT, run_name, tensorboard_folder


def track_measures(
    names: Sequence[str], folder: Path, measures: Mapping[str, Any], warn: Callable[[str], None]
) -> None:
    """Tells trackers the measures of every iteration, in a run of its own with the iterations as steps.

    They are told what is new: nothing if the folder's `measures.json` has the same iterations.

    Args:
        names: Of the trackers.
        folder: The run folder, its `measures.json` not yet written.
        measures: What will be its content.
        warn: Told of a tracker that fails: the run is done all the same.
    """
    if not names or _iterations_told(folder / "measures.json") == measures["iterations"]:
        return
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    values = measured_values(measures)
    for name in names:
        try:
            tracker = LOGGER_TYPE_TO_CLASS[name](**_settings(name, folder.absolute()))
            tracker.start()
            for iteration, found in values.items():
                tracker.log(found, step=iteration)
            tracker.finish()
        except Exception as error:  # whatever a tracker raises: no network, no account, a full disk
            warn(f"{name} could not be told the measures: {type(error).__name__}: {error}")


def _iterations_told(path: Path) -> Any:
    """What an earlier start has measured, and so told; None where that cannot be read."""
    try:
        return read_json(path).get("iterations") if path.exists() else None
    except InputError:
        return None


def measured_values(measures: Mapping[str, Any]) -> dict[int, dict[str, float]]:
    """The measures that trackers draw, by iteration, 0 being the start, as `win_rate/greedy/de`.

    The win rate against the start and the share of answers in the right language, of each language, and the
    mean win rate of the target languages.
    """
    values: dict[int, dict[str, float | None]] = {}
    for measured in (measures["start"], *measures["iterations"]):
        found = values[measured.get("iteration", 0)] = {}
        for decoding in DECODINGS:
            part = measured[decoding]
            for language, one in part["languages"].items():
                found[f"win_rate/{decoding}/{language}"] = (one["win_rate"] or {}).get("mean")
                found[f"right_language/{decoding}/{language}"] = one["right_language"]
            found[f"win_rate/{decoding}/targets"] = (part["target_win_rate"] or {}).get("mean")
    return {
        number: {name: value for name, value in found.items() if value is not None}
        for number, found in values.items()
    }


def _settings(name: str, folder: Path) -> dict[str, Any]:
    """How accelerate's trackers take a project and the name of a run."""
    called = run_name(folder / MEASURES)
    if name == "tensorboard":
        return {"run_name": MEASURES, "logging_dir": tensorboard_folder(folder / MEASURES).parent}
    if name == "mlflow":
        return {"experiment_name": PROJECT, "run_name": called}
    project = os.environ.get("WANDB_PROJECT", PROJECT) if name == "wandb" else PROJECT
    return {"run_name": project, "name": called}
