from __future__ import annotations

import json
from pathlib import Path

import pytest

from lingualign.errors import InputError
from lingualign.measures.answers.files import match_answers, read_answers
from lingualign.records import RESPONSES, write_table

ALPACA = [
    {"instruction": "Say hi.", "output": "Habari.", "generator": "ours", "dataset": "x"},
    {"instruction": "Count.", "output": "", "generator": "ours", "dataset": "x"},
]


def written(path: Path, rows: list[dict]) -> Path:
    if path.suffix == ".json":
        path.write_text(json.dumps(rows, ensure_ascii=False))
    else:
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def test_alpacas_model_outputs_are_read_as_one_language(tmp_path: Path) -> None:
    answers = read_answers(written(tmp_path / "o.json", ALPACA), ["sw"])["sw"]
    assert [(a.id, a.text, a.instruction) for a in answers] == [
        (None, "Habari.", "Say hi."),
        (None, "", "Count."),
    ]


def test_a_language_column_splits_and_other_languages_are_ignored(tmp_path: Path) -> None:
    rows = [{"id": i, "language": code, "response": code} for i, code in enumerate(("sw", "th", "fr", "sw"))]
    answers = read_answers(written(tmp_path / "a.jsonl", rows), ["sw", "th"])
    assert [a.id for a in answers["sw"]] == ["0", "3"]
    assert [a.text for a in answers["th"]] == ["th"]


def test_a_folder_with_a_file_a_language(tmp_path: Path) -> None:
    for code in ("sw", "th"):
        written(tmp_path / f"{code}.jsonl", [{"id": "1", "text": code, "messages": [{"content": "q"}]}])
    answers = read_answers(tmp_path, ["sw", "th"])
    assert (answers["th"][0].text, answers["th"][0].instruction) == ("th", "q")


def test_the_responses_of_a_run(tmp_path: Path) -> None:
    row = dict(prompt_id="p", language="sw", index=0, text="Ndiyo.", finish_reason="stop", num_tokens=3)
    write_table(tmp_path / "part-sw-000000.parquet", [row], RESPONSES)
    assert read_answers(tmp_path, ["sw"])["sw"][0].id == "p"


@pytest.mark.parametrize(
    ("rows", "languages", "message"),
    [
        ([{"id": 1, "language": "sw"}], ["sw"], "line 1: no answer; it has id, language"),
        ([{"id": 1, "output": 3}], ["sw"], "line 1: the answer is 3, not text"),
        ([{"output": "x"}], ["sw"], "line 1: nothing says what is answered"),
        ([{"id": 1, "output": "x"}], ["sw", "th"], "line 1: no language, and 2 languages"),
        ([{"id": 1, "output": "x", "language": "sw"}], ["sw", "th"], "has no answers in th"),
        ([{"id": 1, "output": "x", "language": 5}], ["sw"], "line 1: field language is 5"),
        ([{"id": 1, "output": "x", "prompt": 5}], ["sw"], "line 1: the instruction is neither"),
        ([{"id": 1, "output": "x"}], ["zz"], "zz"),
    ],
)
def test_bad_rows_are_refused_with_their_place(
    tmp_path: Path, rows: list[dict], languages: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read_answers(written(tmp_path / "a.jsonl", rows), languages)


def test_a_missing_file_and_a_folder_without_the_language(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_answers(tmp_path / "none.jsonl", ["sw"])
    with pytest.raises(InputError, match="has no file for sw"):
        read_answers(tmp_path, ["sw"])


def answers_of(tmp_path: Path, name: str, rows: list[dict]) -> dict:
    return read_answers(written(tmp_path / f"{name}.jsonl", rows), ["sw"])


def test_answers_match_by_id_or_else_by_instruction(tmp_path: Path) -> None:
    ours = answers_of(tmp_path, "a", [{"id": i, "output": f"a{i}", "instruction": f"q{i}"} for i in (1, 2)])
    theirs = answers_of(tmp_path, "b", [{"instruction": f"q{i}", "output": f"b{i}"} for i in (2, 1)])
    matches = match_answers(ours, theirs)["sw"]
    assert [(m.key, m.answer.text, m.baseline.text) for m in matches] == [
        ("q1", "a1", "b1"),
        ("q2", "a2", "b2"),
    ]
    by_id = match_answers(ours, answers_of(tmp_path, "c", [{"id": i, "output": "c"} for i in (1, 2)]))["sw"]
    assert [m.key for m in by_id] == ["1", "2"]
    assert by_id[0].instruction == "q1"


def test_several_answers_share_the_baselines_only_one(tmp_path: Path) -> None:
    ours = answers_of(tmp_path, "a", [{"id": 1, "output": "x"}, {"id": 1, "output": "y"}])
    matches = match_answers(ours, answers_of(tmp_path, "b", [{"id": 1, "output": "b"}]))["sw"]
    assert [(m.answer.text, m.baseline.text) for m in matches] == [("x", "b"), ("y", "b")]
    theirs = answers_of(tmp_path, "c", [{"id": 1, "output": "b"}] * 3)
    with pytest.raises(InputError, match="2 answers to a prompt that the baseline answers 3 times"):
        match_answers(ours, theirs)


def test_prompts_of_one_side_alone_are_refused_or_left_out(tmp_path: Path) -> None:
    ours = answers_of(tmp_path, "a", [{"id": i, "output": "x"} for i in (1, 2)])
    theirs = answers_of(tmp_path, "b", [{"id": i, "output": "x"} for i in (2, 3)])
    with pytest.raises(InputError, match="2 prompts were answered by one side alone, for example '1'"):
        match_answers(ours, theirs)
    assert [m.key for m in match_answers(ours, theirs, allow_missing=True)["sw"]] == ["2"]


def test_ids_on_one_side_and_instructions_on_the_other_do_not_match(tmp_path: Path) -> None:
    ours = answers_of(tmp_path, "a", [{"id": 1, "output": "x"}])
    theirs = answers_of(tmp_path, "b", [{"instruction": "q", "output": "x"}])
    with pytest.raises(InputError, match="an id and no instruction"):
        match_answers(ours, theirs)
