"""The length-controlled win rate: worked numbers, an independent fit, and that length buys nothing."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
import sklearn
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.model_selection import GroupKFold

from lingualign.measures.answers.length_controlled import (
    BASELINE,
    Comparison,
    GamedBaseline,
    Weights,
    answer_lengths,
    joint_difficulty,
    length_controlled_by_language,
    length_controlled_win_rate,
    predict_win_rate,
)
from lingualign.measures.answers.preferences import head_to_head
from lingualign.measures.intervals import bootstrap, compare_paired
from lingualign.models import load_tokenizer


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-np.asarray(x)))


def simulate(
    seed: int,
    n: int = 300,
    model: float = -0.4,
    length: float = 0.0,
    longer: float = 1.0,
    difficulty: bool = True,
) -> Comparison:
    draw = np.random.default_rng(seed)
    d = draw.normal(size=n)
    of_baseline = draw.lognormal(6, 0.5, n).round()
    of_model = (longer * of_baseline * draw.lognormal(0, 0.4, n)).round()
    gaps = (of_baseline - of_model) / (of_baseline - of_model).std()
    logits = model + d - length * np.tanh(gaps) + 0.5 * draw.normal(size=n)
    return Comparison(1 + sigmoid(logits), of_baseline, of_model, d if difficulty else None)


def gamed_baseline(seed: int) -> GamedBaseline:
    verbose = simulate(seed, model=0.0, length=1.0, longer=2.0)
    return GamedBaseline.of(verbose, simulate(seed + 1, model=0.0, length=1.0, longer=0.5))


def test_worked_prediction() -> None:
    assert predict_win_rate(Weights(9.0, 1.0, -0.5), BASELINE, [-1, 0, 1]) == pytest.approx(0.39414, abs=1e-5)
    assert predict_win_rate(Weights(9.0, 0.0, 0.0), BASELINE) == 0.5


def test_two_models_are_compared_by_the_differences_of_their_weights() -> None:
    a, b, d = Weights(0.1, 1.0, -0.5), Weights(0.7, 0.4, 0.3), np.array([-1.0, 0.0, 2.0])
    expected = np.mean([1 / (1 + math.exp(-(-0.8 + 0.6 * x))) for x in d])
    assert predict_win_rate(a, b, d) == pytest.approx(expected)
    assert predict_win_rate(b, a, d) == pytest.approx(1 - expected)


def plain_fit(x: np.ndarray, y: np.ndarray, s: np.ndarray) -> np.ndarray:
    """The definition by general means: cross-validated L1 regression on soft labels, solved by L-BFGS."""
    n, width = x.shape

    def solve(rows: np.ndarray, c: float) -> np.ndarray:
        def objective(halves: np.ndarray) -> tuple[float, np.ndarray]:
            t = x[rows] @ (halves[:width] - halves[width:])
            loss = np.logaddexp(0, t) - y[rows] * t
            slope = c * x[rows].T @ (s[rows] * (sigmoid(t) - y[rows]))
            return halves.sum() + c * (s[rows] @ loss), np.concatenate([1 + slope, 1 - slope])

        tight = {"ftol": 1e-14, "gtol": 1e-8}  # the loss is flat over a range of C
        bounds = [(0, None)] * 2 * width
        found = minimize(objective, np.zeros(2 * width), (), "L-BFGS-B", True, bounds=bounds, options=tight)
        return found.x[:width] - found.x[width:]

    fold = np.empty(n, dtype=int)
    for k, (_, out) in enumerate(GroupKFold(5).split(np.tile(np.arange(n), 2), groups=[*range(n)] * 2)):
        fold[out[out < n]] = k
    scores = []
    for c in np.logspace(-4, 4, 10):
        losses = []
        for k in range(5):
            t, out = x[fold == k] @ solve(np.flatnonzero(fold != k), c), fold == k
            losses.append(np.mean(s[out] * (np.logaddexp(0, t) - y[out] * t)))
        scores.append(-np.sum(losses))
    return solve(np.arange(n), float(np.logspace(-4, 4, 10)[np.argmax(scores)]))


@pytest.mark.parametrize("formula", ["minimal", "noreg", "v1"])
def test_win_rates_match_a_plain_solution_of_the_definition(formula: str) -> None:
    comparison = simulate(8, length=1.2, longer=1.5, difficulty=formula != "minimal")
    gamed = gamed_baseline(108) if formula == "v1" else None
    found = length_controlled_win_rate(comparison, gamed)
    assert found.formula == formula
    n, y, s = 300, np.asarray(comparison.preferences) - 1, np.ones(300)
    gap = np.asarray(comparison.baseline_lengths) - np.asarray(comparison.lengths)
    d = [] if comparison.difficulty is None else [np.asarray(comparison.difficulty)]
    x = np.column_stack([np.tanh(gap / gap.std(ddof=1)), *d, np.ones(n)])
    if gamed is not None:
        x = np.vstack([np.column_stack([np.tanh(gamed.gaps), gamed.difficulty, np.zeros(2 * n)]), x])
        y, s = np.append(gamed.shares, y), np.append(np.full(2 * n, 0.1), s)
    w = plain_fit(x, y, s)
    predicted = sigmoid(np.column_stack([np.zeros(n), *d, np.ones(n)]) @ w)
    assert found.win_rate == pytest.approx(predicted.mean(), abs=5e-4)
    assert found.standard_error == pytest.approx(predicted.std(ddof=1) / math.sqrt(n), abs=5e-4)
    assert [found.weights.length, found.weights.model] == pytest.approx([w[0], w[-1]], abs=0.02)


def test_the_minimal_formula_has_no_standard_error_but_an_interval() -> None:
    found = length_controlled_win_rate(simulate(0, difficulty=False))
    assert found.standard_error == pytest.approx(0.0, abs=1e-15)
    interval = bootstrap({"sw": found.values.tolist()}, 500)["sw"]
    assert interval.mean == pytest.approx(found.win_rate)
    assert interval.low < found.win_rate - 0.01 < found.win_rate + 0.01 < interval.high


def test_a_model_that_only_pads_the_baselines_answers_gains_nothing() -> None:
    draw = np.random.default_rng(1)
    answers = ["w" * int(size) for size in draw.lognormal(6, 0.5, 805)]
    padded = [text + "." * int(draw.uniform(0, 1.5) * len(text)) for text in answers]
    # The judge likes length by its ratio, which is not the form that is fitted.
    ratio = np.array([math.log(len(b) / len(a)) for a, b in zip(answers, padded, strict=True)])
    preferences = 1 + sigmoid(2.5 * ratio + 0.5 * draw.normal(size=805))
    raw = head_to_head(preferences)
    found = length_controlled_win_rate(
        Comparison(preferences, answer_lengths(answers), answer_lengths(padded))
    )
    assert raw.win_rate > 0.7
    assert found.win_rate == pytest.approx(0.5, abs=0.06)
    assert found.weights.length < -0.5

    # An honest model, better and not longer, keeps what it wins under the same judge.
    other = [text[: max(1, int(len(text) * draw.lognormal(-0.1, 0.3)))] for text in padded[::-1]]
    ratio = np.array([math.log(len(b) / len(a)) for a, b in zip(answers, other, strict=True)])
    preferences = 1 + sigmoid(1.0 + 0.5 * ratio)
    comparison = Comparison(preferences, answer_lengths(answers), answer_lengths(other))
    assert length_controlled_win_rate(comparison).win_rate == pytest.approx(sigmoid(1.0), abs=0.03)


def test_the_advantage_of_length_is_a_difference_that_can_be_tested() -> None:
    fair = length_controlled_win_rate(simulate(1, model=0.0))
    better = length_controlled_win_rate(simulate(1, model=0.5))
    change = compare_paired({"sw": better.values.tolist()}, {"sw": fair.values.tolist()}, 500)["sw"]
    assert change.difference.mean == pytest.approx(better.win_rate - fair.win_rate)
    assert change.difference.low > 0.05
    assert change.p < 0.01


@pytest.mark.parametrize("gamed", [None, gamed_baseline(5)])
def test_a_baseline_against_itself_wins_half_whatever_the_judge_said(gamed: GamedBaseline | None) -> None:
    noisy = simulate(2)
    itself = Comparison(noisy.preferences, noisy.lengths, noisy.lengths, noisy.difficulty, True)
    found = length_controlled_win_rate(itself, gamed)
    assert (found.win_rate, found.standard_error, found.weights) == (0.5, 0.0, BASELINE)
    assert set(found.values) == {0.5}


def test_ties_between_equally_long_answers_give_half() -> None:
    found = length_controlled_win_rate(Comparison([1.5] * 20, [7] * 20, [7] * 20, np.arange(20.0)))
    assert (found.win_rate, found.weights) == (0.5, BASELINE)


def test_without_any_spread_of_lengths_the_win_rate_stands() -> None:
    preferences = simulate(0).preferences
    found = length_controlled_win_rate(Comparison(preferences, [100] * 300, [900] * 300))
    assert found.win_rate == pytest.approx(head_to_head(preferences).win_rate, abs=2e-3)


@given(st.floats(0.1, 50), st.floats(0, 1000))
@settings(max_examples=5)
def test_the_scale_of_lengths_does_not_matter(scale: float, offset: float) -> None:
    one = simulate(4, n=60, length=1.0, longer=1.4)
    other = Comparison(
        one.preferences,
        scale * np.asarray(one.baseline_lengths) + offset,
        scale * np.asarray(one.lengths) + offset,
        one.difficulty,
    )
    first, second = length_controlled_win_rate(one), length_controlled_win_rate(other)
    assert first.win_rate == pytest.approx(second.win_rate, abs=1e-3)


def test_failed_judgements_are_not_fitted_but_their_instructions_are_predicted() -> None:
    whole = simulate(6)
    preferences = np.array(whole.preferences)
    preferences[::10] = math.nan
    found = length_controlled_win_rate(
        Comparison(preferences, whole.baseline_lengths, whole.lengths, whole.difficulty)
    )
    assert found.values.shape == (300,)
    assert found.win_rate == pytest.approx(predict_win_rate(found.weights, BASELINE, whole.difficulty))
    changed = preferences.copy()
    changed[::10] = 2.0
    assert length_controlled_win_rate(
        Comparison(changed, whole.baseline_lengths, whole.lengths, whole.difficulty)
    ).win_rate != pytest.approx(found.win_rate, abs=1e-3)


def test_values_spread_as_fits_to_drawn_judgements_do() -> None:
    comparison = simulate(8, n=400, length=1.2, longer=1.4)
    found = length_controlled_win_rate(comparison)
    d = np.asarray(comparison.difficulty)
    x = np.column_stack([np.tanh(comparison.gaps), d, np.ones(400)])
    y = np.asarray(comparison.preferences) - 1
    draw, rates = np.random.default_rng(0), []
    for _ in range(400):  # plain Newton steps without a penalty, next to nothing at the chosen C
        rows = draw.integers(0, 400, 400)
        w = np.zeros(3)
        for _ in range(8):
            p = sigmoid(x[rows] @ w)
            w += np.linalg.solve((x[rows].T * (p * (1 - p))) @ x[rows], x[rows].T @ (y[rows] - p))
        rates.append(sigmoid(w[1] * d[rows] + w[2]).mean())
    assert found.values.mean() == pytest.approx(found.win_rate)
    assert found.values.std() / 20 == pytest.approx(np.std(rates), rel=0.15)


def test_every_language_has_its_own_scale_of_lengths() -> None:
    swahili, thai = (simulate(seed, n=100, length=1.0, longer=1.3) for seed in (1, 2))
    twice = Comparison(
        thai.preferences,
        2 * np.asarray(thai.baseline_lengths),
        2 * np.asarray(thai.lengths),
        thai.difficulty,
    )
    found = length_controlled_by_language({"sw": swahili, "th": thai})
    assert list(found) == ["sw", "th"]
    assert found["sw"].win_rate == length_controlled_win_rate(swahili).win_rate
    again = length_controlled_by_language({"sw": swahili, "th": twice})
    assert again["sw"].win_rate == found["sw"].win_rate
    assert again["th"].win_rate == pytest.approx(found["th"].win_rate, abs=1e-9)
    mean = bootstrap({code: result.values.tolist() for code, result in found.items()}, 200)["mean"].mean
    assert mean == pytest.approx((found["sw"].win_rate + found["th"].win_rate) / 2)


def test_winning_everything_is_measured_in_silence(capfd: pytest.CaptureFixture[str]) -> None:
    comparison = simulate(0, n=50)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for preferences in ([2.0] * 50, [1.0] + [2.0] * 49):
            won = Comparison(preferences, comparison.baseline_lengths, comparison.lengths)
            assert length_controlled_win_rate(won).win_rate > 0.97
        lost = Comparison([1.0] * 50, comparison.baseline_lengths, comparison.lengths)
        assert length_controlled_win_rate(lost).win_rate < 1e-3
    assert capfd.readouterr() == ("", "")


def test_metadata_routing_of_the_whole_process_changes_nothing() -> None:
    comparison = simulate(0, n=50)
    plain = length_controlled_win_rate(comparison).win_rate
    with sklearn.config_context(enable_metadata_routing=True):
        assert length_controlled_win_rate(comparison).win_rate == plain


def test_joint_difficulty_is_found_from_several_models() -> None:
    draw, n = np.random.default_rng(0), 60
    truth = draw.normal(0, 1.5, n)
    comparisons = {}
    for k, name in enumerate(("verbose", "a", "b", "c")):
        lengths = draw.lognormal(6, 0.5, (2, n))
        gaps = np.tanh((lengths[0] - lengths[1]) / (lengths[0] - lengths[1]).std())
        shares = sigmoid(truth + k - 1.5 - gaps + 0.3 * draw.normal(size=n))
        comparisons[name] = Comparison(1 + shares, lengths[0], lengths[1])
    comparisons["c"].preferences[0] = math.nan  # type: ignore[index,call-overload]
    fit = joint_difficulty(comparisons, gamed=["verbose"])
    assert fit.difficulty.shape == (n,)
    assert fit.difficulty[0] == 0.0
    assert np.corrcoef(fit.difficulty, truth)[0, 1] > 0.95
    rates = [predict_win_rate(weights, BASELINE, fit.difficulty) for weights in fit.weights.values()]
    assert rates == sorted(rates)
    for name, rate in zip(comparisons, rates, strict=True):
        assert rate == pytest.approx(head_to_head(comparisons[name].preferences).win_rate, abs=0.06)
        assert fit.weights[name].length < -0.5


def test_lengths_in_characters_bytes_and_tokens() -> None:
    texts = ["", "Jibu ni 7.", "ภาษา"]
    tokenizer = load_tokenizer("lab:aligned")
    assert answer_lengths(texts).tolist() == [0, 10, 4]
    assert answer_lengths(texts, "bytes").tolist() == [0, 10, 12]
    tokens = [len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
    assert answer_lengths(texts, "tokens", tokenizer).tolist() == tokens
    with pytest.raises(ValueError, match="need a tokenizer"):
        answer_lengths(texts, "tokens")


def test_what_cannot_be_fitted_is_an_error() -> None:
    with pytest.raises(ValueError, match="4 judgements succeeded"):
        length_controlled_win_rate(Comparison([1.2, 1.4, 2.0, 1.0, None], [1, 2, 3, 4, 5], [5, 1, 1, 2, 3]))
    with pytest.raises(ValueError, match="v1 needs the difficulty"):
        length_controlled_win_rate(simulate(0, difficulty=False), gamed_baseline(1))
    with pytest.raises(ValueError, match="not of the same number"):
        Comparison([1.0, 2.0], [3.0], [4.0])
    with pytest.raises(ValueError, match="same number of instructions"):
        joint_difficulty({"a": simulate(0, n=10), "b": simulate(0, n=12)})
