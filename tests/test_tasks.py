"""Tasks: their names, local files, and what the harness says of a model, which skips without lm-eval."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lingualign.errors import InputError
from lingualign.languages import LANGUAGES
from lingualign.measures.tasks.harness import (
    TaskResult,
    before_and_after,
    compare_tasks,
    harness,
    run_tasks,
    task_groups,
    tasks_of,
)
from lingualign.measures.tasks.multiple_choice import Question, answer_questions, outcomes
from lingualign.measures.tasks.task_files import convert_mgsm, local_questions, local_task, read_xcopa
from lingualign.models import load_model, load_tokenizer

SHARED = Path(__file__).parents[1] / ".." / "shared" / "data"
needs_data = pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is not there")

ROWS = [
    {"premise": "Niliiacha mitupu mifuko yangu.", "question": "effect", "label": 0}
    | {"choice1": "Nilikipata tena kipande cha tiketi.", "choice2": "Niliona silaha."},
    {"premise": "Mvua ilinyesha. ", "question": "cause", "label": 1}
    | {"choice1": "Jua liliwaka.", "choice2": "Mawingu yalikuja."},
]


def result(values: list[float], documents: str = "abcdefgh") -> TaskResult:
    items = [f"0/{place}" for place in range(len(values))]
    named = dict(zip(items, values, strict=True))
    return TaskResult("xcopa", {}, {"acc,none": named}, dict(zip(items, documents, strict=False)))


def write_rows(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def test_groups_have_the_names_of_the_harness() -> None:
    assert tasks_of("belebele", ["sw", "zh", "no"]) == {
        "sw": "belebele_swh_Latn",
        "zh": "belebele_zho_Hans",
        "no": "belebele_nob_Latn",
    }
    assert tasks_of("global-mmlu", ["sw", "tl"]) == {
        "sw": "global_mmlu_full_sw",
        "tl": "global_mmlu_full_fil",
    }
    assert tasks_of("mmmlu", ["es"]) == {"es": "mmmlu_es_la"}
    assert [tasks_of(group, ["th"])["th"] for group in ("xcopa", "mgsm", "mgsm-cot", "xnli")] == [
        "xcopa_th",
        "mgsm_direct_th",
        "mgsm_native_cot_th",
        "xnli_th",
    ]


def test_groups_are_of_known_languages_alone() -> None:
    assert {code for codes in task_groups().values() for code in codes} <= LANGUAGES.keys()


def test_what_a_group_lacks_is_said() -> None:
    with pytest.raises(InputError, match="xcopa has no de, fr"):
        tasks_of("xcopa", ["sw", "de", "fr"])
    with pytest.raises(InputError, match="belebele, global-mmlu"):
        tasks_of("belebeles", ["sw"])


def test_changes_are_of_the_same_items() -> None:
    before, after = {"sw": result([0.0, 1.0, 0.0])}, {"sw": result([1.0, 1.0, 0.0])}
    changes = compare_tasks(after, before, resamples=200)
    assert list(changes) == ["acc,none"]
    assert changes["acc,none"]["sw"].difference.mean == pytest.approx(1 / 3)
    assert changes["acc,none"]["sw"].difference.n == 3


def test_other_items_are_not_compared() -> None:
    before = {"sw": result([0.0, 1.0])}
    for after in ({"sw": result([0.0, 1.0], "xy")}, {"sw": result([0.0])}, {"th": result([0.0, 1.0])}):
        with pytest.raises(InputError, match="same items"):
            compare_tasks(after, before)


def test_only_metrics_of_all_tasks_are_compared() -> None:
    both, one = result([0.0, 1.0]), result([1.0, 1.0])
    both = replace(both, values={**both.values, "acc_norm,none": both.values["acc,none"]})
    found = compare_tasks({"sw": both, "th": one}, {"sw": both, "th": both}, resamples=100)
    assert list(found) == ["acc,none"]
    assert set(found["acc,none"]) == {"sw", "th", "mean"}


def test_xcopa_gets_its_connector_and_small_letters(tmp_path: Path) -> None:
    assert read_xcopa(write_rows(tmp_path / "sw.jsonl", ROWS), "sw") == [
        Question(
            "Niliiacha mitupu mifuko yangu kwa hiyo",
            ("nilikipata tena kipande cha tiketi.", "niliona silaha."),
            0,
        ),
        Question("Mvua ilinyesha kwa sababu", ("jua liliwaka.", "mawingu yalikuja."), 1),
    ]


def test_rows_that_are_not_xcopas_are_named(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "sw.jsonl", [ROWS[0], {**ROWS[1], "question": "why"}])
    with pytest.raises(InputError, match="line 2: not a row of XCOPA"):
        read_xcopa(path, "sw")
    with pytest.raises(InputError, match="no 'de'"):
        read_xcopa(path, "de")


def test_mgsm_becomes_rows_of_the_harness(tmp_path: Path) -> None:
    path = tmp_path / "sw.tsv"
    path.write_text('Huyu ana "mayai" 16?\t18\nNgapi?\t1,000\n', encoding="utf-8")
    lines = convert_mgsm(path, tmp_path / "sw.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [
        {"question": 'Huyu ana "mayai" 16?', "answer": None, "answer_number": 18},
        {"question": "Ngapi?", "answer": None, "answer_number": 1000},
    ]
    path.write_text("Ngapi?\t1\nNgapi\n", encoding="utf-8")
    with pytest.raises(InputError, match="line 2"):
        convert_mgsm(path, tmp_path / "sw.jsonl")


@needs_data
def test_all_of_xcopa_and_mgsm_is_read(tmp_path: Path) -> None:
    assert all(
        len(read_xcopa(SHARED / "xcopa" / f"{code}.jsonl", code)) == 200 for code in task_groups()["xcopa"]
    )
    for code in task_groups()["mgsm"]:
        rows = convert_mgsm(SHARED / "mgsm" / f"{code}.tsv", tmp_path / f"{code}.jsonl")
        assert len(rows.read_text(encoding="utf-8").splitlines()) == 250


def test_a_local_questions_task_is_a_file_of_the_harness(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"question": "Moja?", "choices": ["1", "2"], "answer": 0}]
    path = Path(local_questions(write_rows(tmp_path / "sw.jsonl", rows), tmp_path / "tasks"))
    assert path == (tmp_path / "tasks" / "sw_local.yaml").absolute()
    text = path.read_text(encoding="utf-8")
    assert "doc_to_text: question" in text
    assert str(tmp_path / "sw.jsonl") in text


@pytest.fixture
def lm_eval() -> None:
    pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed")


def test_without_the_harness_the_error_says_what_to_install() -> None:
    try:
        import lm_eval  # noqa: F401
    except ImportError:
        with pytest.raises(InputError, match=r"lingualign\[tasks\]"):
            harness()
    else:
        pytest.skip("lm-evaluation-harness is installed")


def test_the_harness_knows_every_task_of_every_group(lm_eval: None) -> None:
    known = harness()[2].task_index
    assert [task for codes in task_groups().values() for task in codes.values() if task not in known] == []


def test_an_unknown_task_is_refused(lm_eval: None) -> None:
    with pytest.raises(InputError, match="no task 'xcopa_xx'"):
        run_tasks("lab:aligned", {"xx": "xcopa_xx"})


def test_a_models_numbers_are_ours_and_a_model_is_as_good_as_itself(lm_eval: None, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "xcopa.jsonl", ROWS)
    asked = read_xcopa(data, "sw")
    rows: list[dict[str, object]] = [
        {"context": question.context, "choices": list(question.choices), "answer": question.answer}
        for question in asked
    ]
    tasks = {
        "sw": local_task("xcopa_sw", data, tmp_path),
        "own": local_questions(write_rows(tmp_path / "own.jsonl", rows), tmp_path),
    }
    found = before_and_after("lab:aligned", "lab:aligned", tasks, device="cpu", dtype="float32")
    model = load_model("lab:aligned", device="cpu", dtype="float32")
    ours = outcomes(
        asked, answer_questions(model, load_tokenizer("lab:aligned"), asked, mutual_information=True)
    )
    assert {
        metric.removesuffix(",none"): list(values.values())
        for metric, values in found.after["own"].values.items()
    } == ours
    assert found.after["sw"].numbers["acc,none"] == sum(ours["acc"]) / 2
    assert "acc_stderr,none" in found.after["sw"].numbers
    assert [change.difference.mean for change in found.changes["acc,none"].values()] == [0.0] * 3


def test_generated_answers_have_a_value_for_each_filter(
    lm_eval: None, tmp_path: Path, family_folder: Callable[..., Path]
) -> None:
    source = tmp_path / "sw.tsv"
    source.write_text("Juma ana mayai 16. Mangapi?\t16\n", encoding="utf-8")
    task = local_task("mgsm_direct_sw", convert_mgsm(source, tmp_path / "sw.jsonl"), tmp_path)
    found = run_tasks(family_folder("qwen3"), {"sw": task}, device="cpu", dtype="float32")["sw"]
    assert set(found.values) == {"exact_match,remove_whitespace", "exact_match,flexible-extract"}
    assert found.task == "mgsm_direct_sw_local"
