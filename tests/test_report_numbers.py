"""Every number on the page comes from `measures.json` or the run's tables: `report_numbers` holds them up."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from lingualign.report import write_comparison, write_report
from report_numbers import marks_of, numbers_of, problems
from synthetic_run import Size, make_run


def alignment(value: float) -> dict[str, float]:
    return {"mean": value, "low": value - 0.05, "high": value + 0.05, "n": 40}


REPRESENTATIONS = {
    "model": "models/aligned",
    "pivot": "en",
    "n": 40,
    "languages": {
        name: {
            code: {
                "layers": [alignment(0.3 + 0.1 * layer) for layer in range(5)],
                "mean": alignment(0.5),
                "max": alignment(0.7),
                "best_layer": 4,
            }
            for code in ("en", "de")
        }
        for name in ("weighted", "nasca")
    },
    "mean": {"weighted": alignment(0.52), "nasca": alignment(0.48)},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with something in every section. Do not write into it."""
    folder = make_run(tmp_path_factory.mktemp("runs") / "icr", Size(prompts=70))
    measures = json.loads((folder / "measures.json").read_text())
    first = measures["iterations"][0]
    first["pairs"]["de"]["removed"]["truncated"] = 17
    first["pairs"]["de"]["dropped"] = {"tie": 3}
    first["pairs"]["de"]["length_control"] = {"alpha": 0.0021, "gap_before": 11.38, "gap_after": -0.09}
    measures["representations"] = REPRESENTATIONS
    (folder / "measures.json").write_text(json.dumps(measures))
    # More steps than a curve has points.
    steps = json.loads((folder / "iteration-1" / "training.json").read_text())["steps"]
    many = [{**steps[0], "step": 1 + place, "loss": 2 / (1 + place)} for place in range(173)]
    (folder / "iteration-1" / "training.json").write_text(json.dumps({"steps": many}))
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    return (run / "report.html").read_text(encoding="utf-8")


def test_every_number_is_what_its_source_gives(page: str, run: Path) -> None:
    assert problems(page, {"": run}) == []
    found = numbers_of(page)
    files = {match for number in found for match in re.findall(r"[\w/-]+\.(?:json|yaml)", number.source)}
    assert {"measures.json", "manifest.json", "iteration-1/training.json"} <= files
    assert any("quantile(iteration-1/scores?language=de#reward" in number.source for number in found)
    assert any("mean(iteration-1/training.json#/steps/0:" in number.source for number in found)
    assert len(found) > 1000
    assert len(marks_of(page)) > 300


def test_a_number_that_is_written_into_the_page_by_hand_is_found(page: str, run: Path) -> None:
    mutated = page.replace("</h2>", "</h2><p>It wins in 4 languages.</p>", 1)
    assert problems(mutated, {"": run}) == ["no source: It wins in 4 languages."]


def test_a_number_whose_text_is_not_its_value_is_found(page: str, run: Path) -> None:
    number = next(number for number in numbers_of(page) if number.form == "percent")
    element = f'data-source="{number.source}">{number.text}<'
    assert element in page
    mutated = page.replace(element, element.replace(f">{number.text}<", ">99.9<"))
    assert any("not 99.9" in problem for problem in problems(mutated, {"": run}))


def test_a_number_that_its_file_no_longer_says_is_found(page: str, run: Path, tmp_path: Path) -> None:
    changed = tmp_path / "run"
    shutil.copytree(run, changed)
    measures = json.loads((changed / "measures.json").read_text())
    measures["iterations"][1]["greedy"]["languages"]["de"]["win_rate"]["mean"] += 0.01
    (changed / "measures.json").write_text(json.dumps(measures))
    found = problems(page, {"": changed})
    assert found
    assert all("/iterations/1/greedy/languages/de/win_rate/mean" in problem for problem in found)


def test_a_mark_of_a_chart_that_its_table_does_not_have_is_found(page: str, run: Path) -> None:
    label = next(label for label in marks_of(page) if label.startswith("German: "))
    mutated = page.replace(f'data-label="{label}"', 'data-label="German: 12.3 [4.5, 67.8]"', 1)
    assert problems(mutated, {"": run}) == ["no row under the chart says: German: 12.3 [4.5, 67.8]"]


def test_marks_are_drawn_where_their_numbers_say(page: str) -> None:
    """The points of the first chart lie on one straight line of pixels over percent."""
    chart = re.search(r"<svg .*?</svg>", page, re.DOTALL)
    assert chart is not None
    points = re.findall(
        r'data-label="[^":]*: ([\d.]+) \[[^"]*" transform="translate\(([\d.]+),', chart.group()
    )
    assert len(points) >= 8
    (low, at_low), *_, (high, at_high) = sorted((float(value), float(x)) for value, x in points)
    assert high > low
    slope = (at_high - at_low) / (high - low)
    for value, x in points:
        assert float(x) == pytest.approx(at_low + slope * (float(value) - low), abs=0.2)


def test_every_number_of_a_comparison_is_what_its_source_gives(run: Path, tmp_path: Path) -> None:
    other = make_run(tmp_path / "other", Size(prompts=20, iterations=1), seed=1)
    page = write_comparison(run, other, tmp_path / "comparison.html").read_text(encoding="utf-8")
    assert problems(page, {"A:": run, "B:": other}) == []
    assert {number.source[:2] for number in numbers_of(page)} >= {"A:", "B:"}
    assert any(number.source.startswith("difference(A:") for number in numbers_of(page))
