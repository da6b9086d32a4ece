"""Comparing methods: the statistics, what is shared between runs, and one small comparison in the lab."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner, Result

from lingualign.cli import app
from lingualign.cli.compare import parse_seeds
from lingualign.errors import InputError
from lingualign.measures.comparison.compare import (
    Comparison,
    PairedBootstrap,
    compare_answers,
    compare_wins,
    outcome_table,
)
from lingualign.measures.comparison.findings import alike, beaten, findings
from lingualign.measures.comparison.forest_plot import axis, forest_plot
from lingualign.measures.comparison.tables import comparison_tables
from lingualign.measures.intervals import bootstrap, holm
from lingualign.measures.measure import JudgedAnswers
from lingualign.pipeline.compare import check_output, check_runs, compare, name_methods
from lingualign.pipeline.equal_terms import differing_terms
from lingualign.pipeline.files import read_json
from lingualign.pipeline.folder import Chunk, RunFolder, Stage, open_run_folder, split_chunks
from lingualign.pipeline.manifest import Manifest
from lingualign.pipeline.progress import Silent, Task
from lingualign.pipeline.sharing import link
from lingualign.pipeline.tables import read_responses
from lingualign.records import RESPONSES

pytestmark = pytest.mark.usefixtures("without_report", "fewer_labels")

LANGUAGES = ["en", "de", "sw"]


# Statistics on made-up outcomes


def outcomes(quality: float, generator: np.random.Generator, ease: np.ndarray | float = 0.0) -> np.ndarray:
    """[3 seeds, 3 languages, 200 prompts] of wins and losses, won by a share of `quality`."""
    chance = np.clip(quality + np.broadcast_to(ease, 200), 0, 1)
    return (generator.random((3, 3, 200)) < chance).astype(float)


def compared(wins: dict[str, np.ndarray]) -> Comparison:
    duels = {
        (a, b): np.clip(0.5 + (wins[a] - wins[b])[:, 1:] / 2, 0, 1).round(1) for a, b in combinations(wins, 2)
    }
    return compare_wins(wins, duels, LANGUAGES, "en")


def test_identical_methods_do_not_differ() -> None:
    wins = outcomes(0.6, np.random.default_rng(0))
    (pair,) = compared({"a": wins, "b": wins}).differences
    assert (pair.difference.mean, pair.difference.low, pair.difference.high) == (0, 0, 0)
    assert pair.p == pair.p_adjusted == 1
    assert pair.head_to_head.mean == 0.5


def test_equally_good_methods_do_not_differ_and_a_clear_winner_does() -> None:
    generator = np.random.default_rng(1)
    found = compared(
        {"best": outcomes(0.65, generator), "a": outcomes(0.5, generator), "b": outcomes(0.5, generator)}
    )
    by_pair = {(pair.first, pair.second): pair for pair in found.differences}
    noise = by_pair["a", "b"]
    assert noise.difference.low < 0 < noise.difference.high
    assert noise.p_adjusted > 0.05
    for other in "ab":
        pair = by_pair["best", other]
        assert pair.p_adjusted < 0.05 and pair.difference.low > 0
        assert pair.head_to_head.low > 0.5
    assert found.methods["best"].p < 0.05 and found.methods["best"].target.low > 0.5
    assert found.methods["a"].p > 0.05
    assert beaten(found.as_dict()) == {"best": ["a", "b"], "a": [], "b": []}
    assert [set(group) for group in alike(found.as_dict())] == [{"a", "b"}]


def test_harm_in_the_source_alone_does_not_touch_the_targets() -> None:
    wins = np.full((2, 3, 100), 0.5)
    wins[:, 0, :40] = 0
    found = compared({"a": wins, "b": np.full((2, 3, 100), 0.5)}).methods
    assert found["a"].target.mean == 0.5 and found["a"].p == 1
    assert found["a"].languages["en"].mean == 0.3 and found["a"].p_source < 0.05
    assert found["b"].p_source == 1


def test_pairing_by_prompt_narrows_the_interval_of_a_difference() -> None:
    generator = np.random.default_rng(2)
    ease = generator.choice([-0.5, 0.5], 200)
    a, b = outcomes(0.55, generator, ease), outcomes(0.5, generator, ease)
    shuffled = b[:, :, generator.permutation(200)]
    paired = compared({"a": a, "b": b}).differences[0].difference
    unpaired = compared({"a": a, "b": shuffled}).differences[0].difference
    assert paired.mean == pytest.approx(unpaired.mean)
    assert paired.high - paired.low < 0.7 * (unpaired.high - unpaired.low)


def test_one_seed_gives_the_intervals_of_a_bootstrap_over_prompts() -> None:
    values = outcomes(0.6, np.random.default_rng(3))[0, 0]
    expected = bootstrap({"de": values.tolist()}, 10_000, seed=5)["de"]
    found = PairedBootstrap(1, 200).interval(values[None])
    assert (found.mean, found.n) == (expected.mean, expected.n)
    assert found.low == pytest.approx(expected.low, abs=0.01)
    assert found.high == pytest.approx(expected.high, abs=0.01)


def test_seeds_that_differ_widen_the_interval() -> None:
    by_seed = np.array([0.4, 0.5, 0.75])
    means = PairedBootstrap(3, 50).means(np.repeat(by_seed[:, None], 50, axis=1))
    # Nothing but the seeds varies, so that a draw is the mean of three of them.
    possible = {round(sum(by_seed[list(draw)]) / 3, 12) for draw in np.ndindex(3, 3, 3)}
    assert set(means.tolist()) == possible
    assert means.var() == pytest.approx(by_seed.var() / 3, rel=0.05)


def test_p_value_and_interval_agree() -> None:
    resampled = PairedBootstrap(2, 40, resamples=2000)
    generator = np.random.default_rng(4)
    for shift in (0.0, 0.1, 0.2, 0.3):
        values = generator.choice([-0.5, 0.0, 0.5], (2, 40)) + shift
        interval, p = resampled.interval(values), resampled.p_value(values)
        assert (p < 0.05) == (interval.low > 0 or interval.high < 0)
        assert 0 < p <= 1


def test_equally_good_methods_rarely_differ_though_trainings_do() -> None:
    generator, resampled = np.random.default_rng(6), PairedBootstrap(3, 200, resamples=500)
    found = 0
    for _ in range(200):
        trainings = generator.normal(0, 0.02, (3, 1))
        found += resampled.p_value(trainings + generator.normal(0, 0.35, (3, 200))) < 0.05
    assert found <= 10  # 5 %


def test_holm_worked_example() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_monotone_and_what_its_definition_says(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    m = len(p_values)
    for p, found in zip(p_values, adjusted, strict=True):
        # The largest over all that are no larger, each times how many are not smaller than it in order.
        below = sorted(p_values)[: sum(other <= p for other in p_values)]
        assert found == pytest.approx(max(min(1.0, (m - i) * other) for i, other in enumerate(below)))
        assert p <= found <= 1
    in_order = [value for _, value in sorted(zip(p_values, adjusted, strict=True))]
    assert in_order == sorted(in_order)


def judged(*texts: str) -> JudgedAnswers:
    """Answers in two languages whose score is their length."""
    responses: dict[str, list[Any]] = {}
    scores: dict[str, list[Any]] = {}
    for language in ("en", "de"):
        for number, text in enumerate(texts):
            key = {"prompt_id": str(number), "language": language, "index": 0}
            responses.setdefault(language, []).append(
                {**key, "text": text, "finish_reason": "stop", "num_tokens": 1}
            )
            scores.setdefault(language, []).append({**key, "reward": float(len(text)), "components": []})
    return JudgedAnswers(responses, scores)


def test_answers_become_outcomes_and_wins_head_to_head() -> None:
    start, long, short = judged("aa", "bb"), judged("aaa", "bb"), judged("a", "b")
    assert outcome_table([long], [start], ["en", "de"]).tolist() == [[[1, 0.5], [1, 0.5]]]
    found = compare_answers({"long": [long], "short": [short]}, [start], "en")
    assert found.methods["long"].target.mean == 0.75
    assert found.methods["short"].target.mean == 0
    assert found.differences[0].difference.mean == 0.75
    assert found.differences[0].head_to_head.mean == 1


# Words, tables, chart


def made_up(
    means: dict[str, float], better: Sequence[tuple[str, str]], english: float = 0.5
) -> dict[str, Any]:
    """A comparison with given wins, in which nothing but what is said to be better is significant."""

    def interval(mean: float) -> dict[str, float]:
        return {"mean": mean, "low": mean - 0.02, "high": mean + 0.02, "n": 200}

    wins = {
        "methods": {
            method: {
                "target": interval(mean),
                "languages": {code: interval(english if code == "en" else mean) for code in LANGUAGES},
                "p": 0.01 if abs(mean - 0.5) > 0.03 else 0.5,
                "p_source": 0.01,
            }
            for method, mean in means.items()
        },
        "differences": [
            {
                "first": a,
                "second": b,
                "difference": interval(means[a] - means[b]),
                "p": 0.01,
                "p_adjusted": 0.01 if (a, b) in better else 0.4,
                "head_to_head": interval(0.5),
            }
            for a, b in combinations(means, 2)
        ],
    }
    shares = {"right_language": 0.99, "source_right_language": 1.0, "facts_right": None}
    return {
        "judge": {"kind": "lab", "label": "the lab's exact judge"},
        "languages": LANGUAGES,
        "source_language": "en",
        "held_out_prompts": 200,
        "temperature": 0.6,
        "seeds": [0, 1, 2],
        "methods": list(means),
        "differs": {"sampling.n": {method: None if method == "lidr" else 8 for method in means}},
        "wins": {"sampled": wins, "greedy": wins},
        "shares": {method: {"sampled": shares} for method in means},
        "start": {"sampled": shares},
        "cost": {method: {"tokens": 12345.0, "seconds": 90.0, "pairs": 100.0} for method in means},
    }


MEANS = {"oracle": 0.631, "icr": 0.578, "lidr": 0.512, "random": 0.449}
BETTER = [*(("oracle", name) for name in ("lidr", "random")), ("icr", "random"), ("icr", "lidr")]


def test_findings_say_what_is_significant_and_what_is_not() -> None:
    sampled, greedy, source = findings(made_up(MEANS, BETTER))
    assert sampled == (
        "At T=0.6, oracle (63.1 % wins) and icr (57.8) are better than the start; random (44.9) is worse than"
        " the start; lidr (51.2) cannot be told from the start. oracle and icr are better than lidr and"
        " random. There is no difference that 3 seeds and 200 prompts can show between oracle and icr; nor"
        " between lidr and random."
    )
    assert greedy.startswith("With greedy decoding, oracle (63.1 % wins)")
    assert source == "English: no method made it worse, as far as 3 seeds and 200 prompts can show."


def test_findings_name_harm_to_the_source_and_a_lonely_seed() -> None:
    comparison = {**made_up({"a": 0.6, "b": 0.5}, [("a", "b")], english=0.41), "seeds": [4]}
    assert findings(comparison)[2:] == [
        "English: a (41.0 at T=0.6, 41.0 greedy) and b (41.0 at T=0.6, 41.0 greedy) made it worse, in"
        " percent of wins against the start.",
        "One seed: what another training would come to is in no interval.",
    ]


def test_groups_overlap_where_being_alike_is_not_transitive() -> None:
    wins = made_up({"a": 0.6, "b": 0.55, "c": 0.5}, [("a", "c")])["wins"]["sampled"]
    assert alike(wins) == [["a", "b"], ["b", "c"]]


def test_a_method_that_comes_later_can_be_the_better_one() -> None:
    wins = made_up({"a": 0.5, "b": 0.6}, [("a", "b")])["wins"]["greedy"]
    assert beaten(wins) == {"a": [], "b": ["a"]}
    assert alike(wins) == []


def test_tables_show_terms_methods_and_stars() -> None:
    console = Console(width=140, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    for table in comparison_tables(made_up(MEANS, BETTER)):
        console.print(table)
    text = console.export_text()
    assert "sampling.n" in text
    assert "63.1 [61.1, 65.1]" in text
    assert "12,345" in text
    assert "+18.2*" in text and "+5.3 " in text
    assert text.index("oracle ") < text.index("random ")


def test_the_chart_is_well_formed_and_readable_in_dark_mode() -> None:
    svg = forest_plot(made_up({**MEANS, "<odd & name>": 0.5}, BETTER))
    root = ElementTree.fromstring(svg)
    texts = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert [text for text in texts if text in (*MEANS, "<odd & name>")] == [*MEANS, "<odd & name>"]
    assert "63.1 [61.1, 65.1]" in texts
    assert "prefers-color-scheme: dark" in svg
    assert len([element for element in root.iter() if element.tag.endswith("circle")]) == 5


@given(st.floats(0, 50), st.floats(50, 100))
def test_the_axis_holds_all_and_has_few_ticks(low: float, high: float) -> None:
    start, end, step = axis(low, high)
    assert start <= low and high <= end and start < end
    assert 1 <= round((end - start) / step) <= 10


# Sharing

STAGE = Stage("iteration-1/responses", {"policy": "a"})
CHUNKS = split_chunks(["en", "sw"], n_prompts=3, size=2)


@contextmanager
def opened(folder: Path, *shared_with: Path) -> Iterator[RunFolder]:
    with open_run_folder(folder, "seed: 0\n", 0, {}, Silent(), shared_with) as run:
        yield run


def rows(chunks: Sequence[Chunk], progress: Any) -> Iterator[tuple[Chunk, list[dict[str, Any]]]]:
    for chunk in chunks:
        yield (
            chunk,
            [
                {
                    "prompt_id": str(number),
                    "language": chunk.language,
                    "index": 0,
                    "text": "habari",
                    "finish_reason": "stop",
                    "num_tokens": 2,
                }
                for number in range(chunk.start, chunk.stop)
            ],
        )


def forbidden(*arguments: object) -> Any:
    raise AssertionError("computed instead of shared")


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "copies"])
def test_a_stage_done_elsewhere_is_taken_over(
    tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not links:

        def refuse(*arguments: object) -> None:
            raise OSError("no links here")

        monkeypatch.setattr(os, "link", refuse)
    with opened(tmp_path / "a/seed-0") as run:
        made = run.chunks(STAGE, CHUNKS, RESPONSES, rows)
        run.manifest.stages[STAGE.name].seconds = 12.5
        run.save_manifest()
    with opened(tmp_path / "b/seed-0", tmp_path / "none", tmp_path / "a/seed-0") as run:
        taken = run.chunks(STAGE, CHUNKS, RESPONSES, forbidden)
    assert read_responses(taken) == read_responses(made)
    record = Manifest.read(tmp_path / "b/seed-0/manifest.json").stages[STAGE.name]
    assert (record.status, record.seconds, record.shared_from) == ("done", 12.5, "../../a/seed-0")
    same = [os.path.samefile(path, made / path.name) for path in taken.iterdir()]
    assert same == [links] * len(CHUNKS)
    with opened(tmp_path / "b/seed-0") as run:  # and is done from then on
        run.chunks(STAGE, CHUNKS, RESPONSES, forbidden)


def test_what_is_taken_over_replaces_an_unfinished_start_and_strangers(tmp_path: Path) -> None:
    with opened(tmp_path / "a") as run:
        run.chunks(STAGE, CHUNKS, RESPONSES, rows)
    stray = tmp_path / "b" / STAGE.name / "part-xx-000000.parquet"
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"?")
    with opened(tmp_path / "b", tmp_path / "a") as run:
        run.chunks(STAGE, CHUNKS, RESPONSES, forbidden)
    assert not stray.exists()


@pytest.mark.parametrize("why", ["other inputs", "not done", "a file is gone"])
def test_nothing_else_is_taken_over(tmp_path: Path, why: str) -> None:
    with opened(tmp_path / "a") as run:
        made = run.chunks(STAGE, CHUNKS, RESPONSES, rows)
        if why == "other inputs":
            run.manifest.stages[STAGE.name].fingerprint = {"policy": "b"}
        if why == "not done":
            run.manifest.stages[STAGE.name].status = "started"
        if why == "a file is gone":
            (made / CHUNKS[1].filename).unlink()
        run.save_manifest()
    with opened(tmp_path / "b", tmp_path / "a") as run, pytest.raises(AssertionError, match="computed"):
        run.chunks(STAGE, CHUNKS, RESPONSES, forbidden)


def test_models_and_tables_with_companions_are_taken_over_and_scratch_removed(tmp_path: Path) -> None:
    model, pairs = Stage("iteration-1/model", {"pairs": "x"}), Stage("iteration-1/pairs", {"scores": "y"})

    def train(path: Path, task: Task) -> None:
        path.mkdir(parents=True)
        (path / "model.safetensors").write_bytes(b"weights")

    def choose(path: Path, task: Task) -> None:
        path.with_suffix(".json").write_text("{}")
        path.write_bytes(b"pairs")

    with opened(tmp_path / "a") as run:
        run.file(model, "iteration-1/model", train)
        run.file(pairs, "iteration-1/pairs.parquet", choose, companion="iteration-1/pairs.json")
    scratch = tmp_path / "b/iteration-1/checkpoints"
    scratch.mkdir(parents=True)
    with opened(tmp_path / "b", tmp_path / "a") as run:
        taken = run.file(model, "iteration-1/model", forbidden, scratch="iteration-1/checkpoints")
        run.file(pairs, "iteration-1/pairs.parquet", forbidden, companion="iteration-1/pairs.json")
    assert (taken / "model.safetensors").read_bytes() == b"weights"
    assert (tmp_path / "b/iteration-1/pairs.json").read_text() == "{}"
    assert not scratch.exists()


def test_linking_twice_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    for _ in range(2):
        link(tmp_path / "a", tmp_path / "b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


# A comparison in the lab

SMALL = [
    "languages=en,de",
    "data.limit=8",
    "iterations=1",
    "sampling.n=2",
    "sampling.max_new_tokens=32",
    "measures.n=6",
    "measures.max_new_tokens=16",
    "training.epochs=1",
    "measures.bootstrap=100",
    "pairs.drop_truncated=false",
    "device=cpu",
]


class Interrupting(Silent):
    """Presses Ctrl-C when a stage of a run, or a run, is about to start."""

    def __init__(self, run: int, stage: str | None = None) -> None:
        self.number, self.at, self.now = run, stage, 0

    def result(self, kind: str, value: dict[str, Any]) -> None:
        if kind == "run":
            self.now = value["number"]
            if self.now == self.number and self.at is None:
                raise KeyboardInterrupt

    @contextmanager
    def stage(self, name: str, total: int, unit: str = "chunks", done: int = 0) -> Iterator[Task]:
        if self.now == self.number and name == self.at:
            raise KeyboardInterrupt
        with super().stage(name, total, unit, done) as task:
            yield task


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A comparison of two methods with two seeds, and its folder."""
    output = tmp_path_factory.mktemp("compared") / "out"
    return output, compare(["random", "oracle"], SMALL, output, seeds=[0, 1])


def without_seconds(comparison: dict[str, Any]) -> dict[str, Any]:
    for cost in comparison["cost"].values():
        del cost["seconds"]
    return comparison


def test_a_comparison_shares_what_is_the_same(undisturbed: tuple[Path, dict[str, Any]]) -> None:
    output, comparison = undisturbed
    for seed in (0, 1):
        first = Manifest.read(output / f"random/seed-{seed}/manifest.json").stages
        second = Manifest.read(output / f"oracle/seed-{seed}/manifest.json").stages
        assert {name for name, record in first.items() if record.shared_from} == set()
        shared = {name for name, record in second.items() if record.shared_from}
        start = {
            f"measures/iteration-0/{name}{end}" for name in ("sampled", "greedy") for end in ("", "-judged")
        }
        assert shared == start | {"iteration-1/responses"}
        assert all(second[name].seconds == first[name].seconds for name in shared)
        assert {second[name].shared_from for name in shared} == {f"../../random/seed-{seed}"}
    cost = comparison["cost"]
    assert cost["random"]["tokens"] == cost["oracle"]["tokens"] > 0
    assert all(cost[method]["seconds"] > 0 and cost[method]["pairs"] > 0 for method in cost)


def test_a_comparison_says_what_its_runs_say(undisturbed: tuple[Path, dict[str, Any]]) -> None:
    output, comparison = undisturbed
    assert read_json(output / "comparison.json") == comparison
    ElementTree.parse(output / "comparison.svg")
    assert comparison["seeds"] == [0, 1] and comparison["held_out_prompts"] == 6
    assert sorted(comparison["methods"]) == ["oracle", "random"]
    assert comparison["differs"] == {}
    assert len(comparison["findings"]) == 3
    for method in comparison["methods"]:
        measures = [read_json(output / f"{method}/seed-{seed}/measures.json") for seed in (0, 1)]
        for decoding in ("sampled", "greedy"):
            found = comparison["wins"][decoding]["methods"][method]
            last = [one["iterations"][-1][decoding] for one in measures]
            assert found["target"]["mean"] == pytest.approx(
                sum(one["target_win_rate"]["mean"] for one in last) / 2
            )
            for code in ("en", "de"):
                assert found["languages"][code]["mean"] == pytest.approx(
                    sum(one["languages"][code]["win_rate"]["mean"] for one in last) / 2
                )
            rights = [one["languages"]["de"]["right_language"] for one in last]
            assert comparison["shares"][method][decoding]["right_language"] == pytest.approx(
                sum(rights) / len(rights)
            )


def test_an_interrupted_comparison_goes_on_to_the_same_end(
    undisturbed: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    for reporter in (
        Interrupting(1, "iteration-1/model"),
        Interrupting(2, "measures/iteration-1/sampled"),
        Interrupting(3),
    ):
        with pytest.raises(KeyboardInterrupt):
            compare(["random", "oracle"], SMALL, tmp_path, [0, 1], reporter)
    assert not (tmp_path / "comparison.json").exists()
    found = compare(["random", "oracle"], SMALL, tmp_path, [0, 1])
    expected = read_json(undisturbed[0] / "comparison.json")
    assert without_seconds(found) == without_seconds(expected)


def test_a_finished_comparison_computes_nothing_and_a_damaged_file_is_made_again(
    undisturbed: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    output, _ = undisturbed
    damaged = output / "random/seed-1/iteration-1/responses/part-en-000000.parquet"
    before = damaged.read_bytes()
    os.truncate(damaged, 100)  # of both methods: it is one file with two names
    with pytest.raises(InputError, match="damaged"):
        compare(["random", "oracle"], SMALL, output, [0, 1])
    compare(["random", "oracle"], SMALL, output, [0, 1], recompute_corrupt=True)
    assert damaged.read_bytes() == before
    monkeypatch.setattr("lingualign.sampling.TransformersSampler.sample", forbidden)
    result = call("compare", "random", "oracle", *SMALL, "--seeds", 2, f"output={output}", "--json")
    assert result.exit_code == 0, result.output
    last = json.loads(result.stdout.splitlines()[-1])
    assert last.pop("event") == "comparison"
    assert without_seconds(last) == without_seconds(read_json(output / "comparison.json"))


# What can be wrong


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def error(*arguments: object) -> str:
    """The message of a command that must end with status 2."""
    result = call("compare", *arguments)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    return result.stderr


def test_help() -> None:
    result = call("compare", "--help")
    assert result.exit_code == 0
    assert "lingualign compare icr" in result.stdout and "--seeds" in result.stdout


def test_wrong_arguments_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    output = f"output={tmp_path / 'new'}"
    assert "Did you mean random?" in error("random", "randon", output)
    assert "two methods or more, and there is random" in error("random", output)
    assert "there is none" in error(output)
    assert "two methods called random" in error("random", "random", output)
    assert "--seeds" in error("random", "oracle", "seed=3", output)
    assert "--seeds 1,1" in error("random", "oracle", "--seeds", "1,1", output)
    assert "--seeds 0" in error("random", "oracle", "--seeds", "0", output)
    assert "sampling.temperature" in error("random", "oracle", "sampling.temprature=1", output)
    own = ["prompts=tests/fixtures/prompts", "languages=en,de", "measures.n=2"]
    assert "clo: pairs.kind=swap learns from labelled pairs" in error("random", "clo", *own, output)
    assert list(tmp_path.iterdir()) == []


def test_seeds_are_a_number_or_a_list() -> None:
    assert parse_seeds("3") == [0, 1, 2]
    assert parse_seeds("4,0") == [4, 0]
    assert parse_seeds("7,") == [7]


def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    check_output(tmp_path / "new")
    check_output(tmp_path)
    (tmp_path / "icr/seed-0").mkdir(parents=True)
    (tmp_path / "comparison.json").touch()
    (tmp_path / ".lock").touch()
    check_output(tmp_path)
    (tmp_path / "iteration-1").mkdir()
    (tmp_path / "iteration-1/model").mkdir()
    assert "holds something else than a comparison: iteration-1" in error(
        "random", "oracle", f"output={tmp_path}"
    )
    with pytest.raises(InputError, match="is a file"):
        check_output(tmp_path / "comparison.json")


def test_yaml_files_are_methods_by_their_name() -> None:
    assert name_methods(["icr", "some/where/mine.yaml"]) == {"icr": "icr", "mine": "some/where/mine.yaml"}


def test_what_must_be_equal_is_checked_and_what_differs_is_told(tmp_path: Path) -> None:
    mine, other = tmp_path / "mine.yaml", tmp_path / "other.yaml"
    mine.write_text(
        "recipe: random\ntraining:\n  epochs: 99\ndata:\n  limit: 4\nsampling:\n  batch_tokens: 999\n"
    )
    other.write_text("recipe: random\nmeasures:\n  n: 7\n")
    settings = ["languages=en,de", "measures.n=6", "iterations=1"]
    methods = name_methods(["random", str(mine)])
    runs = check_runs(methods, settings, tmp_path / "out", [0, 1], Silent())
    assert [run.config.seed for run in runs["mine"].values()] == [0, 1]
    assert runs["mine"][1].prompts is runs["mine"][0].prompts
    terms = differing_terms({method: by_seed[0] for method, by_seed in runs.items()})
    usual = runs["random"][0].config
    assert terms == {
        "prompts used": {"random": usual.data.limit, "mine": 4},
        "data.limit": {"random": usual.data.limit, "mine": 4},
        "training.epochs": {"random": usual.training.epochs, "mine": 99},
    }
    with pytest.raises(
        InputError, match=r"random and other cannot be compared: measures\.n is \d+ in the one"
    ):
        check_runs(name_methods(["random", str(other)]), ["data.limit=4"], tmp_path / "out", [0], Silent())
    assert not (tmp_path / "out").exists()
