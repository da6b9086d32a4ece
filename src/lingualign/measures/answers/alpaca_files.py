"""The files of alpaca_eval: `model_outputs.json`, `annotations.json`, and `df_gamed.csv`.

An output is `{"instruction", "output", "generator", "dataset", ...}`. An annotation has `output_1` of the
baseline `generator_1`, `output_2` of the model `generator_2`, and the judge's `preference` between 1 and 2
(null where it failed), never switched, whatever order `raw_completion` was asked in. Other fields are kept as
they are.

`df_gamed.csv`, from alpaca_eval's data set `tatsu-lab/alpaca_eval`, has what the formula `v1` of the
length-controlled win rate needs. Its difficulties belong to AlpacaEval's 805 instructions by position:
annotations, and translations of them, must be in the order of the evaluation set.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np

from lingualign.errors import InputError
from lingualign.measures.answers.length_controlled import Comparison, GamedBaseline, Unit, answer_lengths
from lingualign.measures.answers.preferences import win_shares
from lingualign.pipeline.files import write_json
from lingualign.prompts.files import Row, read_rows


class ModelOutput(TypedDict):
    """An answer of a model."""

    instruction: str
    output: str
    generator: NotRequired[str]
    dataset: NotRequired[str]


class Annotation(TypedDict):
    """A judged pair of answers."""

    instruction: str
    output_1: str
    output_2: str
    generator_1: NotRequired[str]
    generator_2: NotRequired[str]
    annotator: NotRequired[str]
    preference: float | None
    raw_completion: NotRequired[Any]


def read_model_outputs(path: Path) -> list[ModelOutput]:
    """Reads `model_outputs.json`, or the same rows in any format of `lingualign.prompts.files`.

    Raises:
        InputError: Something is missing or malformed; the message names file, entry and field.
    """
    return [_checked(row, ("instruction", "output"), ("generator", "dataset")) for row in read_rows(path)]


def write_model_outputs(path: Path, outputs: Sequence[Mapping[str, Any]]) -> None:
    """Writes `model_outputs.json`."""
    write_json(path, [dict(output) for output in outputs])


def read_annotations(path: Path) -> list[Annotation]:
    """Reads `annotations.json`, or the same rows in any format of `lingualign.prompts.files`.

    Returns:
        Annotations with preferences in [1, 2]: a draw that is written as 0 is 1.5, a failure None.

    Raises:
        InputError: Something is missing or malformed; the message names file, entry and field.
    """
    texts, names = ("instruction", "output_1", "output_2"), ("generator_1", "generator_2", "annotator")
    return [
        {**_checked(row, texts, names), "preference": _preference(row)}  # type: ignore[typeddict-item]
        for row in read_rows(path)
    ]


def write_annotations(path: Path, annotations: Sequence[Mapping[str, Any]]) -> None:
    """Writes `annotations.json`; a preference of NaN becomes null."""
    write_json(path, [{**row, "preference": _or_none(row["preference"])} for row in annotations])


def comparison_of(
    annotations: Sequence[Annotation],
    unit: Unit = "chars",
    tokenizer: Callable[..., Any] | None = None,
    difficulty: Sequence[float] | np.ndarray | None = None,
) -> Comparison:
    """What the length-controlled win rate is computed from.

    Args:
        annotations: Of one model against one baseline.
        unit: Of length; see `answer_lengths`.
        tokenizer: For lengths in tokens.
        difficulty: Of the instructions, in the order of the annotations.

    Raises:
        InputError: There are several models or baselines, or there is no annotation.
    """
    if not annotations:
        raise InputError("There are no annotations to compare answers by.")
    pairs = {(row.get("generator_1"), row.get("generator_2")) for row in annotations}
    if len(pairs) > 1:
        found = ", ".join(sorted(f"{model} against {baseline}" for baseline, model in pairs))
        raise InputError(f"The annotations are of several comparisons: {found}.", "Give each on its own.")
    baseline, model = next(iter(pairs))
    return Comparison(
        [row["preference"] for row in annotations],
        answer_lengths([row["output_1"] for row in annotations], unit, tokenizer),
        answer_lengths([row["output_2"] for row in annotations], unit, tokenizer),
        difficulty,
        against_itself=model is not None and model == baseline,
    )


def read_gamed_baseline(path: Path) -> tuple[GamedBaseline, np.ndarray]:
    """Reads `df_gamed.csv`.

    Returns:
        The gamed baselines, and the difficulty of the instructions by position [n], float64.

    Raises:
        InputError: A column is missing or holds no number.
    """
    names = ("preference", "std_delta_len", "instruction_difficulty", "index")
    rows = read_rows(path)
    columns = {name: np.array([_cell(row, name) for row in rows]) for name in names}
    wrong = np.flatnonzero((columns["preference"] < 0) | (columns["preference"] > 1))
    if wrong.size:
        raise InputError(
            f"{rows[wrong[0]].place}: preference is {columns['preference'][wrong[0]]}, not within 0 to 1.",
            "In this file preferences count from 0, the baseline, to 1.",
        )
    positions, first = np.unique(columns["index"], return_index=True)
    if not np.array_equal(positions, np.arange(len(positions))):
        raise InputError(f"{path}: the field index does not count the instructions from 0 without a gap.")
    difficulty = columns["instruction_difficulty"]
    return GamedBaseline(columns["preference"], columns["std_delta_len"], difficulty), difficulty[first]


def _cell(row: Row, field: str) -> float:
    """A number of `df_gamed.csv`, in which a failed judgement is an empty cell."""
    if field == "preference" and row.fields.get(field) in ("", None):
        return math.nan
    value = _number(row, field)
    if not math.isfinite(value) and field != "preference":
        raise InputError(f"{row.place}: field {field} is {value}, not a number.")
    return value


def _checked(row: Row, texts: Sequence[str], names: Sequence[str]) -> Any:
    """The fields of a row, of which some must be text and others may be."""
    for field in (*texts, *names):
        value = row.fields.get(field)
        if not isinstance(value, str) and (field in texts or value is not None):
            was = "is missing" if field not in row.fields else f"is {value!r}, not text"
            raise InputError(
                f"{row.place}: field {field} {was}.",
                'Write an empty answer as "".' if field.startswith("output") else "",
            )
    return dict(row.fields)


def _preference(row: Row) -> float | None:
    if "preference" not in row.fields:
        raise InputError(
            f"{row.place}: field preference is missing.", "Write null where the judgement failed."
        )
    if row.fields["preference"] in (None, ""):  # "": an empty cell of a CSV file
        return None
    value = _number(row, "preference")
    try:
        return _or_none(win_shares([value])[0] + 1)
    except ValueError:
        raise InputError(
            f"{row.place}: field preference is {value}, not within 1 to 2.",
            "1 says that output_1 is better, 2 that output_2 is, null that the judgement failed.",
        ) from None


def _number(row: Row, field: str) -> float:
    value = row.fields.get(field)
    try:
        if isinstance(value, bool) or value is None:
            raise ValueError
        return float(value)
    except (TypeError, ValueError, OverflowError):
        was = "is missing" if field not in row.fields else f"is {value!r:.60}, not a number"
        raise InputError(f"{row.place}: field {field} {was}.") from None


def _or_none(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else float(value)
