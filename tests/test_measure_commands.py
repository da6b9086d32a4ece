"""The commands that measure rewards, representations, consistency, confusion and tasks, on files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from conftest import FamilyFolder
from lingualign.cli import app

PAIRS = [
    ("What is 2 + 2?", "It is 4.", "It is five."),
    ("Name a colour.", "Blue.", "I do not know any."),
    ("Say hello.", "Hello!", "No."),
]


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def rows_file(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def section(folder: Path, name: str) -> dict:
    return json.loads((folder / "measures.json").read_text())[name]


def refused(result: Result, message: str) -> None:
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert "Traceback" not in result.stderr


@pytest.fixture
def models(family_folder: FamilyFolder) -> list[str]:
    return [
        f"policy={family_folder('llama', 0)}",
        f"reference={family_folder('llama', 1)}",
        "languages=en,sw",
        "device=cpu",
    ]


def preference_rows() -> list[dict]:
    return [
        {"id": f"p{i}", "prompt": prompt, "chosen": chosen, "rejected": rejected, "subset": "alpacaeval-easy"}
        for i, (prompt, chosen, rejected) in enumerate(PAIRS)
    ]


def test_a_reward_is_measured_in_every_language_that_has_pairs(models: list[str], tmp_path: Path) -> None:
    rows = preference_rows()
    rows_file(tmp_path / "pairs" / "en.jsonl", rows)
    rows_file(tmp_path / "pairs" / "sw.jsonl", rows[::-1])  # ids tell which belong together
    out = tmp_path / "out"
    result = call("measure", "rewards", "icr", *models, "--pairs", tmp_path / "pairs", "-o", out)
    assert result.exit_code == 0, result.output
    found = section(out, "rewards")
    # The same pairs in both, read under the same English prompts but for the directive.
    assert found["languages"]["sw"]["agreement"]["n"] == 3
    assert found["languages"]["en"]["accuracy"]["n"] == 3
    assert set(found["languages"]["en"]["sections"]) == {"Chat"}
    assert "kappa" in result.stdout


def test_the_reward_measured_is_the_one_that_scores(models: list[str], tmp_path: Path) -> None:
    path = rows_file(tmp_path / "en.jsonl", preference_rows())
    shared = ["measure", "rewards", "--pairs", path, *models, "--json"]
    random = call(*shared, "random", "-o", tmp_path / "random")
    implicit = call(*shared, "icr", "-o", tmp_path / "icr")
    events = [json.loads(result.stdout.splitlines()[-1]) for result in (random, implicit)]
    assert [event["reward"] for event in events] == ["random", "implicit"]


def test_wrong_pairs_are_one_error(models: list[str], tmp_path: Path) -> None:
    rows_file(tmp_path / "pairs" / "en.jsonl", preference_rows())
    rows_file(tmp_path / "pairs" / "sw.jsonl", [{**preference_rows()[0], "id": "other"}])
    shared = ["measure", "rewards", "icr", *models, "-o", tmp_path / "out", "--pairs"]
    refused(call(*shared, tmp_path / "pairs"), "sw.jsonl, line 1: no pair in")
    refused(call(*shared, tmp_path / "nowhere"), "no labelled pairs in en, sw")
    refused(call(*shared[:-1], "reward.kind=none", "--pairs", tmp_path / "pairs"), "reward.kind is none")


def test_consistency_of_choices_in_the_worked_example(tmp_path: Path) -> None:
    rows = [
        {"id": item, "language": code, "choice": choice, "answer": "ABCA"[item]}
        for code, choices in {"en": "ABCD", "zh": "ABCC", "sw": "ABDA"}.items()
        for item, choice in enumerate(choices)
    ]
    path = rows_file(tmp_path / "choices.jsonl", rows)
    result = call("measure", "consistency", "--choices", path, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    found = section(tmp_path / "out", "consistency")
    assert found["subsets"]["2"]["consistency"]["mean"] == pytest.approx(0.583333, abs=1e-6)
    assert found["subsets"]["2"]["ac3"] == pytest.approx(0.65625, abs=1e-6)
    assert found["subsets"]["3"]["ac3"] == pytest.approx(0.6)
    assert found["languages"]["sw"]["agreement"]["mean"] == 0.5


def test_scores_of_candidates_give_rankc_and_choices(tmp_path: Path) -> None:
    rankings = {"en": [[3.0, 2.0, 1.0], [2.0, 1.0, 3.0]], "sw": [[3.0, 2.0, 1.0], [2.0, 3.0, 1.0]]}
    rows = [
        {"id": item, "language": code, "scores": scores}
        for code, queries in rankings.items()
        for item, scores in enumerate(queries)
    ]
    path = rows_file(tmp_path / "choices.jsonl", rows)
    result = call("measure", "consistency", "--choices", path, "--json")
    swahili = json.loads(result.stdout.splitlines()[-1])["languages"]["sw"]
    assert swahili["rankc"]["mean"] == pytest.approx(0.6061974, abs=1e-6)
    assert swahili["agreement"]["mean"] == 0.5
    assert swahili["accuracy"] is None


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"id": 1, "language": "en"}], "line 1: neither choice nor scores"),
        ([{"language": "en", "choice": "A"}], "line 1: fields id and language"),
        ([{"id": 1, "language": "en", "choice": "A"}] * 2, "line 2: item 1 stands twice in en"),
        ([{"id": 1, "language": "en", "choice": "A"}], "has choices in en alone"),
        (
            [{"id": i, "language": c, "choice": "A"} for i, c in ((1, "en"), (2, "sw"))],
            "not in both en and sw",
        ),
        ([{"id": 1, "language": "en", "scores": [1, "x"]}], "line 1: scores is no list"),
        (
            [{"id": 1, "language": "en", "scores": [1, 2]}, {"id": 1, "language": "sw", "scores": [1, 2, 3]}],
            "line 2: 3 candidates, in en 2",
        ),
        (
            [{"id": 1, "language": c, "choice": "A", "answer": a} for c, a in (("en", "A"), ("sw", "B"))],
            "line 2: another right answer than in en",
        ),
        (
            [{"id": 1, "language": c, "scores": [1, 2], "answer": "B"} for c in ("en", "sw")],
            "line 1: the choice is 1 and the right answer 'B'",
        ),
        (
            [{"id": 1, "language": c, "choice": "A", "answer": 0} for c in ("en", "sw")],
            "line 1: the choice is 'A' and the right answer 0",
        ),
        (
            [{"id": 1, "language": c, "scores": [1, 2], "answer": 2} for c in ("en", "sw")],
            "line 1: the right answer is 2, and there are 2 candidates",
        ),
        ([{"id": 1, "language": c, "choice": "A"} for c in ("de", "sw")], "no choices in en"),
    ],
)
def test_bad_choices_are_refused_with_their_place(tmp_path: Path, rows: list[dict], message: str) -> None:
    refused(call("measure", "consistency", "--choices", rows_file(tmp_path / "c.jsonl", rows)), message)


def test_representations_of_parallel_text(family_folder: FamilyFolder, tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    for code in ("en", "de"):
        lines = [f"The {word} is here." for word in ("cat", "dog", "house", "river")]
        (tmp_path / "text" / f"{code}.txt").write_text("\n".join(lines) + "\n")
    command = ["measure", "representations", "--model", family_folder("qwen3", 0), "--parallel"]
    result = call(*command, tmp_path / "text", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    found = section(tmp_path / "out", "representations")
    # The same sentences in both: all that a layer tells apart is aligned.
    assert found["languages"]["weighted"]["de"] == found["languages"]["weighted"]["en"]
    assert found["languages"]["weighted"]["de"]["mean"]["mean"] == 1.0
    (tmp_path / "text" / "sw.txt").write_text("one\n\nthree\nfour\n")
    refused(call(*command, tmp_path / "text"), "sw.txt, line 2: empty")


def test_sections_of_one_file_stay_when_others_are_measured(tmp_path: Path) -> None:
    rows = [{"id": 1, "language": code, "choice": "A"} for code in ("en", "sw")]
    path = rows_file(tmp_path / "choices.jsonl", rows)
    answers = rows_file(tmp_path / "a.jsonl", [{"id": 1, "output": "Hello there, my dear old friend."}])
    assert call("measure", "consistency", "--choices", path, "-o", tmp_path / "out").exit_code == 0
    assert call("measure", "--responses", answers, "--languages", "en", "-o", tmp_path / "out").exit_code == 0
    kept = json.loads((tmp_path / "out" / "measures.json").read_text())
    assert set(kept) == {"schema", "consistency", "answers"}


def test_language_confusion_of_completions(tmp_path: Path) -> None:
    french = "La rivière traverse la ville et se jette dans la mer."
    rows = [
        {"completion": text, "source": "okapi", "language": "fr", "task": "monolingual"}
        for text in (french, f"{french}\nThe river runs through the town to the sea.", "Trop court ici")
    ]
    path = rows_file(tmp_path / "outputs.jsonl", rows)
    result = call("measure", "confusion", "--completions", path, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    cell = section(tmp_path / "out", "language_confusion")["cells"]["okapi"]["fr"]
    assert (cell["lpr"]["mean"], cell["line_accuracy"]["mean"], cell["skipped"]) == (0.5, 0.75, 1)
    refused(call("measure", "confusion"), "Either --completions is needed")
    refused(call("measure", "confusion", "--completions", path, "--languages", "de"), "no responses")
    refused(
        call("measure", "confusion", "--completions", path, "--task", "crosslingual"), "no row of the task"
    )


def test_questions_before_and_after_with_a_verdict(family_folder: FamilyFolder, tmp_path: Path) -> None:
    rows = [
        {"context": f"Question {i}: which one?", "choices": ["this one", "that one", "none"], "answer": i % 3}
        for i in range(12)
    ]
    rows_file(tmp_path / "questions" / "sw.jsonl", rows)
    before, after = family_folder("llama", 0), family_folder("llama", 1)
    command = ["measure", "tasks", "--before", before, "--languages", "sw", "--questions"]
    same = call(*command, tmp_path / "questions", "--model", before, "-o", tmp_path / "same")
    assert same.exit_code == 0, same.output
    found = section(tmp_path / "same", "tasks")
    assert found["changes"]["acc"]["sw"]["difference"]["mean"] == 0.0
    assert found["verdict"]["verdict"] == "ship"
    other = call(*command, tmp_path / "questions", "--model", after, "-o", tmp_path / "other")
    assert other.exit_code == 0, other.output
    changed = section(tmp_path / "other", "tasks")
    change = changed["after"]["sw"]["acc"] - changed["before"]["sw"]["acc"]
    assert changed["changes"]["acc"]["sw"]["difference"]["mean"] == pytest.approx(change)
    assert (changed["verdict"]["verdict"] == "ship") == (change >= -0.02)
    refused(call("measure", "tasks", "--model", before, "--before", before), "One of --tasks and --questions")
    refused(call(*command, tmp_path / "none", "--model", before), "files of questions in sw")


def test_a_prompt_each_in_many_languages_is_measured(tmp_path: Path) -> None:
    codes = ["en", "de", "fr", "es", "it", "sw", "ru", "zh", "ja", "ko", "ar", "hi", "th", "tr"]
    rows = [{"id": code, "language": code, "output": f"{code} {i} Hello"} for i, code in enumerate(codes)]
    ours, theirs = (rows_file(tmp_path / name, rows) for name in ("a.jsonl", "b.jsonl"))
    command = ["measure", "--responses", ours, "--baseline", theirs, "--languages", ",".join(codes)]
    result = call(*command, "-o", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.output
    assert section(tmp_path / "out", "answers")["mean"]["changes"]["length"]["difference"]["low"] is None
