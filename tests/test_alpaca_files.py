"""alpaca_eval's files: what it writes is read, what is written it reads, and what is wrong is named."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lingualign.errors import InputError
from lingualign.measures.answers.alpaca_files import (
    comparison_of,
    read_annotations,
    read_gamed_baseline,
    read_model_outputs,
    write_annotations,
    write_model_outputs,
)
from lingualign.measures.answers.length_controlled import length_controlled_win_rate

OUTPUT = {"instruction": "Salamu?", "output": "Habari gani", "generator": "model", "dataset": "x-alpaca"}
ANNOTATION: dict[str, Any] = {
    "instruction": "Salamu?",
    "output_1": "Habari",
    "generator_1": "baseline",
    "dataset": "x-alpaca",
    "output_2": "สวัสดี",
    "generator_2": "model",
    "annotator": "weighted_alpaca_eval_gpt4_turbo_multilingual",
    "preference": 1.25,
    "raw_completion": {"logprobs": {"content": []}, "text": "m"},
    "price_per_example": 0.008,
}


def write(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def test_outputs_come_back_as_they_were_written(tmp_path: Path) -> None:
    rows = [OUTPUT, {"instruction": "Nini?", "output": "", "extra": 3}]
    write_model_outputs(tmp_path / "model_outputs.json", rows)
    assert read_model_outputs(tmp_path / "model_outputs.json") == rows
    assert "Habari" in (tmp_path / "model_outputs.json").read_text()


def test_annotations_come_back_as_they_were_written_and_failures_are_null(tmp_path: Path) -> None:
    path = tmp_path / "annotations.json"
    rows = [ANNOTATION, {**ANNOTATION, "preference": math.nan}, {**ANNOTATION, "preference": np.float64(2)}]
    write_annotations(path, rows)
    assert read_annotations(path) == [ANNOTATION, {**ANNOTATION, "preference": None}, {**rows[2]}]
    assert json.loads(path.read_text())[1]["preference"] is None


def test_draws_written_as_zero_and_pandas_escapes_are_read(tmp_path: Path) -> None:
    path = tmp_path / "annotations.json"
    path.write_text(
        '[\n  {\n    "instruction":"a\\/b \\u00e9",\n    "output_1":"",\n    "output_2":"x",\n'
        '    "generator_1":null,\n    "preference":0.0,\n    "raw_completion":null\n  }\n]'
    )
    (row,) = read_annotations(path)
    assert (row["instruction"], row["preference"], row["raw_completion"]) == ("a/b é", 1.5, None)


def test_other_formats_of_the_same_rows_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps(OUTPUT) + "\n", encoding="utf-8")
    assert read_model_outputs(tmp_path / "a.jsonl") == [OUTPUT]
    (tmp_path / "a.csv").write_text("instruction,output_1,output_2,preference\nq,a,b,1.5\nr,a,b,\n")
    assert [row["preference"] for row in read_annotations(tmp_path / "a.csv")] == [1.5, None]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"preference": 2.5}, "entry 2: field preference is 2.5, not within 1 to 2"),
        ({"preference": 0.5}, "entry 2: field preference is 0.5, not within 1 to 2"),
        ({"preference": "model"}, "entry 2: field preference is 'model', not a number"),
        ({"preference": True}, "entry 2: field preference is True, not a number"),
        ({"output_2": None}, "entry 2: field output_2 is None, not text"),
        ({"instruction": 3}, "entry 2: field instruction is 3, not text"),
        ({"generator_1": 4}, "entry 2: field generator_1 is 4, not text"),
    ],
)
def test_a_wrong_annotation_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = write(tmp_path / "annotations.json", [ANNOTATION, {**ANNOTATION, **change}])
    with pytest.raises(InputError, match=message) as error:
        read_annotations(path)
    assert str(path) in error.value.message


@pytest.mark.parametrize("field", ["instruction", "output_1", "output_2", "preference"])
def test_a_missing_field_is_named(tmp_path: Path, field: str) -> None:
    row = {name: value for name, value in ANNOTATION.items() if name != field}
    with pytest.raises(InputError, match=f"entry 1: field {field} is missing"):
        read_annotations(write(tmp_path / "annotations.json", [row]))


def test_a_wrong_output_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="entry 1: field output is missing"):
        read_model_outputs(write(tmp_path / "model_outputs.json", [{"instruction": "q"}]))
    with pytest.raises(InputError, match="a list of objects is expected"):
        read_model_outputs(write(tmp_path / "model_outputs.json", OUTPUT))


def test_a_comparison_is_made_of_annotations() -> None:
    rows: Any = [ANNOTATION, {**ANNOTATION, "preference": None}]
    found = comparison_of(rows, unit="bytes", difficulty=[0.1, 0.2])
    assert list(found.preferences) == [1.25, None]
    assert list(found.baseline_lengths) == [6, 6]
    assert list(found.lengths) == [18, 18]
    assert not found.against_itself
    assert comparison_of(rows).lengths[0] == 6  # type: ignore[index]


def test_annotations_of_the_baseline_itself_give_half() -> None:
    rows: Any = [{**ANNOTATION, "generator_2": "baseline", "preference": 1 + i / 10} for i in range(9)]
    assert length_controlled_win_rate(comparison_of(rows)).win_rate == 0.5


def test_annotations_of_several_models_are_refused() -> None:
    rows: Any = [ANNOTATION, {**ANNOTATION, "generator_2": "other"}]
    with pytest.raises(InputError, match="model against baseline, other against baseline"):
        comparison_of(rows)
    with pytest.raises(InputError, match="no annotations"):
        comparison_of([])


GAMED = (
    "model,preference,index,std_delta_len,instruction_difficulty,not_gamed_baseline\n"
    "verbose,0.6,0,-1.5,0.3,False\nverbose,,1,-0.5,-0.2,False\n"
    "concise,0.4,0,0.7,0.3,False\nconcise,0.1,1,1.1,-0.2,False\n"
)


def test_gamed_baselines_and_difficulties_are_read(tmp_path: Path) -> None:
    path = tmp_path / "df_gamed.csv"
    path.write_text(GAMED)
    gamed, difficulty = read_gamed_baseline(path)
    assert gamed.shares == pytest.approx([0.6, math.nan, 0.4, 0.1], nan_ok=True)
    assert gamed.gaps.tolist() == [-1.5, -0.5, 0.7, 1.1]
    assert gamed.difficulty.tolist() == [0.3, -0.2, 0.3, -0.2]
    assert difficulty.tolist() == [0.3, -0.2]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0.6", "1.6", "line 2: preference is 1.6, not within 0 to 1"),
        ("-0.5", "", "line 3: field std_delta_len is '', not a number"),
        (",index,", ",place,", "field index is missing"),
        (",1,", ",2,", "does not count the instructions from 0"),
    ],
)
def test_wrong_gamed_baselines_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "df_gamed.csv"
    path.write_text(GAMED.replace(old, new))
    with pytest.raises(InputError, match=message):
        read_gamed_baseline(path)
