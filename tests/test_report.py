"""The report of a run: what it says, of which runs, and that nothing in it is fetched or run but its own."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import altair as alt
import pytest
from markupsafe import Markup
from typer.testing import CliRunner, Result

from lingualign.cli import app
from lingualign.errors import InputError
from lingualign.pipeline.progress import Silent
from lingualign.pipeline.run import align
from lingualign.report import write_comparison, write_report
from lingualign.report.page import run_page
from lingualign.report.sections import health, verdict, wins
from lingualign.report.source import TracedRun, above, count, difference, mean, ratio, total
from lingualign.settings import load_config
from lingualign.texts import shorten, visible
from report_numbers import problems
from synthetic_run import Size, make_run

Measures = dict[str, Any]
Change = Callable[[Measures], None]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run without its report. Do not write into it."""
    return make_run(tmp_path_factory.mktemp("runs") / "icr", Size(prompts=16, heldout=8))


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return Path(shutil.copytree(made, tmp_path / "icr"))


def change_measures(run: Path, change: Change) -> None:
    path = run / "measures.json"
    measures = json.loads(path.read_text())
    change(measures)
    path.write_text(json.dumps(measures))


@pytest.fixture
def without_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages without the pair browser, which takes the longest to make and has tests of its own."""
    monkeypatch.setattr("lingualign.report.browser.browser_section", lambda run: None)


def page_of(run: Path) -> str:
    page = write_report(run).read_text(encoding="utf-8")
    assert problems(page, {"": run}) == []  # however odd the run, its numbers have sources
    return page


def text_of(page: str, section: str) -> str:
    """What a section says, without markup."""
    found = re.search(rf'<section id="{section}".*?</section>', page, re.DOTALL)
    assert found is not None, section
    return _plain(found.group())


def verdict_of(run: Path) -> str:
    """What the verdict says, without the rest of the page."""
    return _plain(verdict.section(TracedRun(run)).body)


def _plain(markup: str) -> str:
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", "", markup)))


def sections_of(page: str) -> list[str]:
    return re.findall(r'<section id="([\w-]+)"', page)


def set_wins(measures: Measures, wins: dict[str, tuple[float, float, float]]) -> None:
    """Win rates of the last iteration, (low, mean, high), in both decodings."""
    for decoding in ("greedy", "sampled"):
        for code, (low, middle, high) in wins.items():
            measures["iterations"][-1][decoding]["languages"][code]["win_rate"] = {
                "mean": middle,
                "low": low,
                "high": high,
                "n": 8,
            }


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_sections_come_in_the_order_in_which_a_reader_asks(run: Path) -> None:
    assert sections_of(page_of(run)) == [
        "verdict",
        "wins",
        "retention",
        "confusion",
        "health",
        "length",
        "training",
        "traits",
        "data",
        "pairs",
        "configuration",
    ]


BETTER, UNSURE, WORSE = (0.6, 0.7, 0.8), (0.45, 0.55, 0.65), (0.2, 0.3, 0.4)


@pytest.mark.parametrize(
    ("rates", "said"),
    [
        (
            {"de": BETTER, "zh": BETTER, "ar": BETTER, "en": UNSURE},
            "Better in every target language, greedy and sampled. English shows no loss beyond chance.",
        ),
        (
            {"de": BETTER, "zh": UNSURE, "ar": WORSE, "en": WORSE},
            "Target languages better beyond chance: 1 of 3 greedy and 1 of 3 sampled. Worse in Arabic. "
            "English lost.",
        ),
        (
            {"de": UNSURE, "zh": UNSURE, "ar": UNSURE, "en": BETTER},
            "No target language is better beyond chance. English gained too.",
        ),
    ],
)
def test_the_headline_says_where_it_is_better_beyond_chance(
    run: Path, rates: dict[str, tuple[float, float, float]], said: str
) -> None:
    change_measures(run, lambda measures: set_wins(measures, rates))
    assert said in verdict_of(run)


def test_the_stamp_is_the_verdict_of_the_measures_and_failed_guards_are_named(run: Path) -> None:
    def fail(measures: Measures) -> None:
        verdict = measures["iterations"][-1]["verdict"]
        verdict["verdict"] = "do not ship"
        verdict["guards"][0] |= {"passed": False, "name": "wins in the targets (sampled)", "least": 0.97}

    change_measures(run, fail)
    said = verdict_of(run)
    assert "Do not ship" in said
    assert "A guard failed. wins in the targets (sampled): " in said
    assert "at least 97.0 (in percent)" in said


def test_what_to_worry_about_is_said_with_the_verdict(run: Path) -> None:
    def worry(measures: Measures) -> None:
        set_wins(measures, {"de": UNSURE, "zh": WORSE, "ar": BETTER})
        last = measures["iterations"][-1]
        last["reward_health"]["de"]["warnings"] = ["The reward goes with length (correlation +0.81)."]
        last["greedy"]["languages"]["ar"]["lc_win_rate"] = {"mean": 0.52, "low": 0.4, "high": 0.6, "n": 8}
        last["greedy"]["languages"]["ar"]["failed"] = 3
        last["greedy"]["languages"]["ar"]["cut"] = 0.5

    change_measures(run, worry)
    said = verdict_of(run)
    for expected in (
        "The judge is the signal that was trained on.",
        "Worse than the start beyond chance: Chinese 30.0 % (greedy).",
        "Not told from chance, for the interval holds one half: German 55.0 %",
        "Reward, German, iteration 2: The reward goes with length (correlation +0.81).",
        "Better as judged, and not beyond chance with length controlled: Arabic 52.0 [40.0, 60.0] (greedy).",
        "3 judgements failed and do not count (greedy).",
        "Arabic 50.0 % (greedy)",
    ):
        assert expected in said, expected


@pytest.mark.usefixtures("without_browser")
def test_a_run_with_one_target_language_has_a_report(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", Size(languages=("en", "de"), iterations=1, prompts=8, heldout=6))
    assert "German: " in text_of(page_of(run), "verdict")


@pytest.mark.usefixtures("without_browser")
def test_a_run_of_which_no_judgement_succeeded_has_a_report(run: Path) -> None:
    def fail(measures: Measures) -> None:
        for iteration in measures["iterations"]:
            for decoding in ("greedy", "sampled"):
                iteration[decoding] |= {"target_win_rate": None, "target_lc_win_rate": None}
                for found in iteration[decoding]["languages"].values():
                    found |= {"win_rate": None, "lc_win_rate": None, "failed": 8, "reward": None}
            iteration["verdict"] = {"verdict": "do not ship", "sentence": "", "guards": []}

    change_measures(run, fail)
    page = page_of(run)
    assert "No target language could be judged. English was not judged." in text_of(page, "verdict")
    assert "No judgement succeeded" in text_of(page, "wins")


@pytest.mark.usefixtures("without_browser")
def test_a_run_of_an_older_version_has_a_report_that_says_what_is_missing(run: Path) -> None:
    def age(measures: Measures) -> None:
        for iteration in measures["iterations"]:
            del iteration["pairs"], iteration["reward_health"], iteration["verdict"]
        for measured in (measures["start"], *measures["iterations"]):
            for decoding in ("greedy", "sampled"):
                for found in measured[decoding]["languages"].values():
                    del found["confusion"], found["switching"], found["traits"], found["cut"]
                    found.pop("lc_win_rate")

    change_measures(run, age)
    for path in [*run.glob("iteration-*/training.json"), run / "manifest.json"]:
        path.unlink()
    page = page_of(run)
    assert "No verdict" in text_of(page, "verdict")
    assert "steps of training were not kept" in text_of(page, "training")
    assert "no reward to examine" in text_of(page, "health")
    assert "times of the stages were not kept" in text_of(page, "configuration")
    assert not {"traits", "data"} & set(sections_of(page))


def test_rewards_that_cannot_be_read_leave_a_gap_and_no_error(run: Path) -> None:
    shutil.rmtree(run / "iteration-2" / "scores")
    said = _plain(health.section(TracedRun(run)).body)
    assert "Rewards in iteration 1" in said
    assert "Rewards in iteration 2" not in said


def test_of_many_iterations_three_are_drawn_and_the_page_says_so(tmp_path: Path) -> None:
    run = make_run(
        tmp_path / "run", Size(languages=("en", "de"), iterations=5, prompts=4, candidates=2, heldout=5)
    )
    assert "the first, the middle and the last iteration" in _plain(wins.section(TracedRun(run)).body)
    figures = re.findall(r"Rewards in iteration (\d)", _plain(health.section(TracedRun(run)).body))
    assert figures == ["1", "3", "5"]


def test_texts_from_data_are_text(run: Path) -> None:
    nasty = "<script>window.hacked=1</script> \u202edesrever &amp; \x07"

    def poison(measures: Measures) -> None:
        measures["judge"]["label"] = nasty
        for measured in (measures["start"], *measures["iterations"]):
            for found in measured["greedy"]["languages"].values():
                found["traits"] = {nasty: 0.5}
        measures["iterations"][-1]["reward_health"]["de"]["warnings"] = [nasty]
        measures["iterations"][-1]["verdict"]["guards"][0]["name"] = nasty

    change_measures(run, poison)
    page = page_of(run)
    assert "<script>window" not in page
    assert "\u202e" not in page.replace("\u202e]", "")  # but for the pattern in the browser's script
    shown = "&lt;script&gt;window.hacked=1&lt;/script&gt; ⟨U+202E⟩desrever &amp;amp; ⟨U+0007⟩"
    assert page.count(shown) >= 5


def test_the_page_runs_one_script_of_its_own_and_fetches_nothing(run: Path) -> None:
    page = page_of(run)
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in page
    assert re.findall(r"""(?:src|href)=["'](?!#|data:)[^"']*""", page) == []
    assert re.findall(r"url\(|@import|https?://", page) == []


@pytest.mark.usefixtures("without_browser")
def test_every_chart_has_a_name_and_follows_the_colours_of_the_page(run: Path) -> None:
    charts = re.findall(r"<svg .*?</svg>", page_of(run), re.DOTALL)
    assert len(charts) >= 15
    for chart in charts:
        assert re.match(r'<svg role="img" aria-label="[^"]{10,}"', chart), chart[:200]
        colours = set(re.findall(r'(?:fill|stroke)="([^"]*)"', chart))
        assert all(colour in ("none", "transparent") or colour.startswith("var(--") for colour in colours), (
            colours
        )


@pytest.mark.usefixtures("without_browser")
def test_every_chart_keeps_to_altairs_schema(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    charts = len(re.findall("<svg ", page_of(run)))  # which are drawn unchecked
    checked = 0

    def counting(chart: alt.LayerChart) -> Markup:
        nonlocal checked
        chart.to_dict(validate=True)
        checked += 1
        return Markup("<svg ></svg>")

    monkeypatch.setattr("lingualign.report.charts.render", counting)
    run_page(TracedRun(run))
    assert checked == charts


def test_a_run_that_is_not_finished_is_told_how_to_go_on(run: Path, tmp_path: Path) -> None:
    (run / "measures.json").unlink()
    with pytest.raises(InputError, match="not finished") as unfinished:
        write_report(run)
    assert f"lingualign align {run / 'config.yaml'} output={run}" in unfinished.value.remedy
    result = call("report", run)
    assert result.exit_code == 2
    assert "the last stage that is done is measures/iteration-2/greedy" in result.stderr
    for folder in (tmp_path, tmp_path / "nowhere"):
        assert call("report", folder).exit_code == 2


def test_measures_of_files_are_no_run(tmp_path: Path) -> None:
    (tmp_path / "measures.json").write_text('{"schema": 1, "answers": {}}')
    with pytest.raises(InputError, match="it is not of a run"):
        write_report(tmp_path)


def test_the_command_writes_the_report_of_one_run_and_the_comparison_of_two(
    run: Path, made: Path, tmp_path: Path
) -> None:
    one = call("report", run, "--output", tmp_path / "one.html")
    assert (one.exit_code, one.stdout) == (0, f"Report: {tmp_path / 'one.html'}\n")
    two = call("report", run, made)
    assert two.exit_code == 0, two.output
    assert "Two runs side by side" in (run / "comparison.html").read_text()
    assert call("report", run, run, run).exit_code == 2


def test_a_comparison_says_whether_it_is_fair_and_which_settings_differ(run: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(run, tmp_path / "other"))
    fair = write_comparison(run, other, tmp_path / "fair.html").read_text()
    assert "On equal terms: both were measured" in text_of(fair, "verdict")
    assert "All settings are the same" in text_of(fair, "settings")

    def change(measures: Measures) -> None:
        measures["judge"] = {"kind": "server", "label": "a language model"}
        measures["held_out_prompts"] = 7

    change_measures(other, change)
    config = other / "config.yaml"
    config.write_text(re.sub(r"\bbeta: \S+", "beta: 0.77", config.read_text()))
    unfair = write_comparison(run, other, tmp_path / "unfair.html").read_text()
    said = text_of(unfair, "verdict")
    assert "Not on equal terms" in said
    assert "other held-out prompts and another judge" in said
    assert "training.beta" in text_of(unfair, "settings")
    assert "0.77" in text_of(unfair, "settings")
    assert problems(unfair, {"A:": run, "B:": other}) == []


def test_a_run_ends_with_its_report_and_keeps_what_other_commands_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = [
        f"output={tmp_path / 'run'}", "languages=en,de", "iterations=1", "data.limit=4", "sampling.n=3",
        "sampling.max_new_tokens=24", "measures.n=2", "measures.max_new_tokens=24", "measures.bootstrap=100",
        "training.epochs=1",
    ]  # fmt: skip
    warned: list[str] = []

    class Listener(Silent):
        def warn(self, text: str) -> None:
            warned.append(text)

    def broken(run: Path) -> Path:
        raise OSError("no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("lingualign.report.write_report", broken)
        measures = align(load_config("icr", small), Listener())
    told = [text for text in warned if text.startswith("report.html could not be written")]
    assert len(told) == 1
    assert "OSError: no space left on device" in told[0]
    assert json.loads((tmp_path / "run" / "measures.json").read_text()) == measures
    assert not (tmp_path / "run" / "report.html").exists()

    change_measures(tmp_path / "run", lambda kept: kept.update(tasks={"before": {}}))
    again = align(load_config("icr", small), Silent())
    assert again == {"tasks": {"before": {}}} | measures
    page = (tmp_path / "run" / "report.html").read_text()
    assert problems(page, {"": tmp_path / "run"}) == []
    assert "the lab's exact judge" in text_of(page, "verdict")


def test_a_value_knows_where_it_is_from(run: Path) -> None:
    found = TracedRun(run)
    wins = found.iterations[1]["greedy"]["languages"]["de"]["win_rate"]["mean"]
    assert wins.source == "measures.json#/iterations/1/greedy/languages/de/win_rate/mean"
    assert found.measures["a/b (c), d"].source == "measures.json#/a~1b%20%28c%29%2C%20d"
    gone = found.measures["never"]["measured"]
    assert not gone
    pairs = found.iterations[0]["pairs"].every("pairs")
    assert total(pairs).source == "sum(measures.json#/iterations/0/pairs/*/pairs)"
    assert total(pairs).value == 4 * 16
    assert difference(wins, gone).value is None
    assert ratio(total(pairs), total()).value is None
    assert mean(gone, wins).value == wins.value
    assert count(gone, wins).value == 1
    assert above(0.0, [gone, wins]).source == f"above(0.0,{gone.source},{wins.source})"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\tb\nc", "a\tb\nc"),
        ("bell \x07, escape \x1b, next \x85", "bell ⟨U+0007⟩, escape ⟨U+001B⟩, next ⟨U+0085⟩"),
        ("\u202eabc\u2069 \u200f", "⟨U+202E⟩abc⟨U+2069⟩ ⟨U+200F⟩"),
        ("half \ud83d", "half ⟨U+D83D⟩"),
        ("العربية \U0001f600", "العربية \U0001f600"),
    ],
)
def test_what_cannot_be_seen_is_written_out(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_long_texts_are_cut_and_the_rest_is_counted() -> None:
    assert shorten("abcdef", 4) == ("abcd", 2)
    assert shorten("abc", 4) == ("abc", 0)
