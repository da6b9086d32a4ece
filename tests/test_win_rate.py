"""Win rates: worked examples, ties, and what the intervals promise."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from lingualign.cli.reporters import TABLE_WIDTH
from lingualign.languages import LanguageIdentifier
from lingualign.measures.answers.compare import Reader
from lingualign.measures.intervals import bootstrap
from lingualign.measures.measure import JudgedAnswers, measure_answers
from lingualign.measures.table import measure_tables
from lingualign.measures.win_rate import outcome
from lingualign.records import Component, Response, Score


def test_outcomes_of_a_win_a_loss_and_ties() -> None:
    assert outcome(0.9, 0.4, "a", "b") == 1.0
    assert outcome(0.4, 0.9, "a", "b") == 0.0
    assert outcome(0.4, 0.4, "a", "b") == 0.5
    assert outcome(0.1 + 0.2, 0.3, "a", "b") == 0.5  # what rounding makes of equal scores


def test_equal_texts_tie_whatever_their_scores() -> None:
    assert outcome(-120.0, -119.0, "same", "same") == 0.5


@given(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3))
def test_swapping_the_sides_swaps_the_outcome(a: float, b: float) -> None:
    assert outcome(a, b, "a", "b") == 1 - outcome(b, a, "b", "a")


def test_worked_mean_and_mean_over_languages() -> None:
    result = bootstrap({"de": [1, 0.5, 0, 1], "sw": [1, 1, 1, 0.5]}, resamples=200, seed=0)
    assert result["de"].mean == 0.625
    assert result["sw"].mean == 0.875
    assert result["mean"].mean == 0.75
    assert result["mean"].n == 4


def test_same_seed_same_interval_and_other_seed_another() -> None:
    outcomes = {"de": list(np.random.default_rng(1).integers(0, 2, 80).astype(float))}
    assert bootstrap(outcomes, 500, seed=3) == bootstrap(outcomes, 500, seed=3)
    assert bootstrap(outcomes, 500, seed=3) != bootstrap(outcomes, 500, seed=4)


def test_interval_is_as_wide_as_the_normal_approximation() -> None:
    values = [1.0] * 60 + [0.0] * 40
    interval = bootstrap({"de": values}, resamples=4000, seed=0)["de"]
    half = 1.96 * np.sqrt(0.6 * 0.4 / 100)
    assert interval.low == pytest.approx(0.6 - half, abs=0.015)
    assert interval.high == pytest.approx(0.6 + half, abs=0.015)


def test_all_wins_leave_no_doubt() -> None:
    interval = bootstrap({"de": [1.0] * 10}, resamples=100, seed=0)["de"]
    assert (interval.low, interval.high) == (1.0, 1.0)


def test_languages_are_resampled_together() -> None:
    # The same outcomes in two languages: the mean over them is no surer than one of them.
    values = list(np.random.default_rng(0).integers(0, 2, 50).astype(float))
    result = bootstrap({"de": values, "sw": values}, resamples=500, seed=0)
    assert (result["mean"].low, result["mean"].high) == (result["de"].low, result["de"].high)


@pytest.mark.parametrize("outcomes", [{}, {"de": []}, {"de": [1.0], "sw": [1.0, 0.0]}])
def test_refuses_what_has_no_mean(outcomes: dict[str, list[float]]) -> None:
    with pytest.raises(ValueError, match="same number of values"):
        bootstrap(outcomes, 100, 0)


def _answers(
    texts: list[str], rewards: list[float], components: list[list[Component]] | None = None
) -> JudgedAnswers:
    responses = [
        Response(prompt_id=str(i), language="de", index=0, text=text, finish_reason="stop", num_tokens=1)
        for i, text in enumerate(texts)
    ]
    scores = [
        Score(
            prompt_id=str(i),
            language="de",
            index=0,
            reward=reward,
            components=components[i] if components else [],
        )
        for i, reward in enumerate(rewards)
    ]
    return JudgedAnswers({"de": responses}, {"de": scores})


GERMAN = "Die Antwort auf diese Frage ist nicht schwer zu finden."
ENGLISH = "The answer to this question is not hard to find at all."


def test_measures_of_one_language() -> None:
    start = _answers([ENGLISH, GERMAN, GERMAN], [0.2, 0.5, 0.5])
    after = _answers([GERMAN, GERMAN, "42"], [0.4, 0.5, 0.1])
    measure = measure_answers(after, start, "en", Reader(LanguageIdentifier(["en", "de"])), 100, 0)
    german = measure.languages["de"]
    assert german.win_rate is not None
    assert german.win_rate.mean == 0.5  # a win, a tie, a loss
    assert german.right_language == 1.0  # "42" is in no language, and counts for nothing
    assert german.undecided == pytest.approx(1 / 3)
    assert german.mean_length == pytest.approx((2 * len(GERMAN) + 2) / 3)
    assert measure.target_win_rate is not None
    assert measure.target_win_rate.mean == 0.5
    before = measure_answers(start, None, "en", Reader(LanguageIdentifier(["en", "de"])), 100, 0)
    assert before.languages["de"].win_rate is None
    assert before.languages["de"].right_language == pytest.approx(2 / 3)


def test_traits_are_means_over_responses_that_have_them_and_the_judge_knows_the_language() -> None:
    components: list[list[Component]] = [
        [{"name": "right", "value": 1.0}, {"name": "language", "value": 0.0}],
        [{"name": "language", "value": 1.0}],
        [{"name": "right", "value": 0.0}, {"name": "language", "value": 1.0}],
    ]
    answers = _answers([GERMAN] * 3, [1.0, 1.0, 1.0], components)
    german = measure_answers(answers, None, "en", Reader(LanguageIdentifier(["en", "de"])), 100, 0).languages[
        "de"
    ]
    assert german.traits["right"] == 0.5
    assert german.right_language == pytest.approx(2 / 3)


def test_the_table_of_the_lab_shows_every_number_whole() -> None:
    components: list[Component] = [{"name": "right", "value": 1.0}, {"name": "language", "value": 1.0}]
    start, after = (
        _answers([GERMAN] * 3, [0.1] * 3, [components] * 3),
        _answers(["x" * 4321] * 3, [1.0] * 3, [components] * 3),
    )
    identifier = LanguageIdentifier(["en", "de"])
    before = measure_answers(start, None, "en", Reader(identifier), 100, 0).as_dict()
    now = measure_answers(after, start, "en", Reader(identifier), 100, 0).as_dict()
    measures = {
        "judge": {"kind": "lab", "label": "the lab's exact judge"},
        "source_language": "en",
        "languages": ["de"],
        "held_out_prompts": 3,
        "temperature": 0.6,
        "start": {"sampled": before, "greedy": before},
        "iterations": [{"iteration": 1, "sampled": now, "greedy": now}],
    }
    console = Console(width=TABLE_WIDTH, record=True, file=io.StringIO())
    for table in measure_tables(measures):
        console.print(table)
    shown = console.export_text()
    assert "…" not in shown
    for number in ("100.0 [100.0, 100.0]", "0.100 -> 1.000", "100.0 -> 100.0", f"{len(GERMAN)} -> 4321"):
        assert number in shown
