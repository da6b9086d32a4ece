"""AlpacaEval's preferences: worked win rates, the judge's log-probabilities, the order of the two answers."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingualign.measures.answers.preferences import (
    head_to_head,
    is_switched,
    preference_of_logprobs,
    unswitched,
    win_shares,
)
from lingualign.measures.intervals import bootstrap

PREFERENCES = st.lists(st.floats(1, 2), min_size=2, max_size=30)


def test_worked_win_rates() -> None:
    found = head_to_head([2.0, 1.0, 1.5, 1.9, 0.0, None, math.nan])
    assert found.win_rate == pytest.approx((1 + 0 + 0.5 + 0.9 + 0.5) / 5)
    assert found.discrete_win_rate == (2 + 2 / 2) / 5
    assert (found.n_wins, found.n_wins_base, found.n_draws) == (2, 1, 2)
    assert (found.n_total, found.n_failed) == (5, 2)
    spread = sum((x - 0.58) ** 2 for x in (1, 0, 0.5, 0.9, 0.5)) / 4
    assert found.standard_error == pytest.approx(math.sqrt(spread / 5))


def test_alpaca_eval_has_percentages() -> None:
    found = head_to_head([2, 2, 1, 1.5]).as_alpaca_eval()
    assert found["win_rate"] == found["discrete_win_rate"] == 62.5
    assert found["standard_error"] == pytest.approx(100 * np.std([1, 1, 0, 0.5], ddof=1) / 2)
    assert list(found) == [
        "win_rate",
        "standard_error",
        "n_wins",
        "n_wins_base",
        "n_draws",
        "n_total",
        "discrete_win_rate",
    ]


def test_one_judgement_has_no_standard_error() -> None:
    found = head_to_head([2.0, None])
    assert found.standard_error is None
    assert found.as_alpaca_eval()["standard_error"] is None


def test_nothing_but_failures_is_an_error() -> None:
    with pytest.raises(ValueError, match="no judgement succeeded"):
        head_to_head([None, math.nan])


@pytest.mark.parametrize("wrong", [0.5, 2.1, -1.0, 3.0, math.inf])
def test_a_number_beyond_the_scale_is_no_preference(wrong: float) -> None:
    with pytest.raises(ValueError, match="preference 1 is"):
        win_shares([1.5, wrong])


def test_a_hair_beyond_the_scale_is_rounding() -> None:
    assert win_shares([0.9999999999999998, 2.0000000000000004]).tolist() == [0.0, 1.0]


@given(PREFERENCES)
def test_swapping_the_sides_swaps_the_win_rates(preferences: list[float]) -> None:
    one, other = head_to_head(preferences), head_to_head([3 - x for x in preferences])
    assert one.win_rate == pytest.approx(1 - other.win_rate)
    assert one.standard_error == pytest.approx(other.standard_error, abs=1e-12)
    assert one.n_wins + one.n_wins_base + one.n_draws == one.n_total


@given(PREFERENCES)
def test_the_discrete_win_rate_is_that_of_rounded_preferences(preferences: list[float]) -> None:
    rounded = [x if x == 1.5 else round(x) for x in preferences]
    assert head_to_head(preferences).discrete_win_rate == pytest.approx(head_to_head(rounded).win_rate)


def test_shares_give_the_interval() -> None:
    shares = win_shares([2, 1, None, 1.5])
    interval = bootstrap({"sw": shares[~np.isnan(shares)].tolist()}, 200)["sw"]
    assert (interval.mean, interval.n) == (0.5, 3)


@given(st.floats(-20, 0), st.floats(-20, 0))
def test_log_probabilities_become_the_preference_of_the_formula(first: float, second: float) -> None:
    plain = 2 - math.exp(first) / (math.exp(first) + math.exp(second))
    assert preference_of_logprobs({"m": first, "M": second, "Both": -0.1}) == pytest.approx(plain, abs=1e-12)


def test_a_token_that_is_missing_is_impossible() -> None:
    assert preference_of_logprobs({"m": -3.0, "The": -0.1}) == 1.0
    assert preference_of_logprobs({"M": -3.0, "The": -0.1}) == 2.0
    assert math.isnan(preference_of_logprobs({"The": -0.1}))
    assert preference_of_logprobs({"b": -1.0, "a": -1.0}, first="a", second="b") == 1.5


def test_the_published_completion_has_the_published_preference() -> None:
    # The first annotation of alpaca-7b on alpaca_eval's leaderboard: the order was not switched.
    logprobs = {"M": -0.0000006704, "The": -15.453126, "m": -15.515626}
    shown = preference_of_logprobs(logprobs)
    instruction = "What are the names of some famous actors that started their careers on Broadway?"
    assert unswitched(shown, is_switched(instruction)) == pytest.approx(1.0000001827, abs=1e-10)


@given(st.text(max_size=20), st.integers(0, 99))
def test_the_order_is_the_seeded_draw_of_the_definition(instruction: str, seed: int) -> None:
    draw = random.Random("is_switched_outputs" + instruction + str(seed))
    assert is_switched(instruction, seed) == draw.choices([False, True], k=1)[0]


def test_about_half_of_the_orders_are_switched_and_another_seed_switches_others() -> None:
    first, second = ([is_switched(f"instruction {i}", seed) for i in range(1000)] for seed in (0, 1))
    assert 450 < sum(first) < 550
    assert 400 < sum(a != b for a, b in zip(first, second, strict=True)) < 600


def test_a_switched_preference_is_undone() -> None:
    assert unswitched(1.2, switched=False) == 1.2
    assert unswitched(1.2, switched=True) == pytest.approx(1.8)
    assert unswitched(0.0, switched=True) == 1.5
    assert math.isnan(unswitched(math.nan, switched=True))
