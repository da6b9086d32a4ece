from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, permutation_test

from lingualign.measures.intervals import bootstrap, compare_paired, exact_share, holm, sign_flip_p

VALUES = st.lists(st.floats(-5, 5), min_size=2, max_size=20)


@given(VALUES)
@settings(max_examples=30, deadline=None)
def test_single_values_as_clusters_are_the_plain_bootstrap(values: list[float]) -> None:
    ids = [f"p{i}" for i in range(len(values))]
    plain = bootstrap({"de": values}, resamples=200)
    assert bootstrap({"de": values}, resamples=200, clusters={"de": ids}) == plain


def test_the_bootstrap_matches_the_plain_loop() -> None:
    values = np.random.default_rng(3).normal(size=(2, 40))
    generator = np.random.default_rng(7)
    draws = np.array([values[:, generator.integers(0, 40, 40)].mean(axis=1) for _ in range(500)])
    found = bootstrap({"de": values[0].tolist(), "sw": values[1].tolist()}, resamples=500, seed=7)
    assert found["sw"].low == pytest.approx(np.quantile(draws[:, 1], 0.025))
    assert found["mean"].high == pytest.approx(np.quantile(draws.mean(axis=1), 0.975))


def test_repeating_every_response_of_a_prompt_makes_nothing_surer() -> None:
    values = np.random.default_rng(0).normal(size=30).tolist()
    ids = [f"p{i}" for i in range(30)]
    once = bootstrap({"de": values}, clusters={"de": ids})["de"]
    thrice = bootstrap({"de": values * 3}, clusters={"de": ids * 3})["de"]
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high))
    assert thrice.n == once.n == 30


def test_languages_may_have_different_numbers_of_responses() -> None:
    found = bootstrap(
        {"de": [1, 0, 1], "sw": [1.0]}, resamples=500, clusters={"de": ["a", "a", "b"], "sw": ["b"]}
    )
    assert found["de"].mean == pytest.approx(2 / 3)
    assert found["mean"].mean == pytest.approx((2 / 3 + 1) / 2)
    assert (found["de"].n, found["sw"].n, found["mean"].n) == (2, 1, 2)
    assert found["sw"].low == found["sw"].high == 1.0


def test_of_a_prompt_each_in_many_languages_no_draw_says_anything_of_the_mean() -> None:
    values = {f"l{i}": [float(i % 2)] for i in range(30)}
    found = bootstrap(values, resamples=300, clusters={code: [code] for code in values})
    assert found["l1"].low == found["l1"].high == 1.0
    assert found["mean"].mean == 0.5
    assert np.isnan(found["mean"].low) and np.isnan(found["mean"].high)


@pytest.mark.parametrize("values", [{"de": []}, {}, {"de": [1.0], "sw": [1.0, 0.0]}])
def test_values_that_do_not_fit_together_are_refused(values: dict[str, list[float]]) -> None:
    with pytest.raises(ValueError, match="same number of values"):
        bootstrap(values)


@given(st.integers(0, 40), st.integers(1, 40))
@settings(max_examples=30, deadline=None)
def test_exact_shares_are_scipys(successes: int, more: int) -> None:
    n = successes + more - 1 if successes else more
    found = exact_share(successes, n)
    expected = binomtest(successes, n).proportion_ci(method="exact")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_more_successes_than_items_are_refused() -> None:
    with pytest.raises(ValueError, match="no more successes"):
        exact_share(3, 2)


def test_sign_flips_find_the_exact_p_value() -> None:
    differences = [0.6, 0.2, 0.9, -0.1, 0.4, 0.7, 0.3, -0.2]
    exact = permutation_test(
        (differences, [0.0] * 8), lambda a, b: np.mean(a) - np.mean(b), permutation_type="samples"
    ).pvalue
    assert sign_flip_p({"de": differences}, resamples=40_000)["de"] == pytest.approx(exact, abs=0.005)


def test_no_difference_has_p_one_and_a_clear_one_the_smallest_p() -> None:
    assert sign_flip_p({"de": [0.0] * 5}, resamples=99)["de"] == 1.0
    assert sign_flip_p({"de": [1.0] * 60}, resamples=99)["de"] == 0.01


def test_a_cluster_flips_as_one() -> None:
    p = sign_flip_p({"de": [1.0] * 60}, resamples=2000, clusters={"de": ["one prompt"] * 60})["de"]
    assert p == 1.0  # both signs are as far from zero as what was observed


def test_changes_are_adjusted_for_the_languages_and_the_mean_is_not() -> None:
    generator = np.random.default_rng(1)
    before = {code: generator.normal(size=25) for code in ("de", "sw")}
    after = {code: values + generator.normal(0.3, 1, 25) for code, values in before.items()}
    changes = compare_paired(after, before, resamples=2000)
    assert [changes[code].p_adjusted for code in before] == holm([changes[code].p for code in before])
    assert changes["mean"].p_adjusted == changes["mean"].p
    assert changes["de"].difference.mean == pytest.approx(np.mean(after["de"] - before["de"]))


def test_unpaired_sets_are_refused() -> None:
    with pytest.raises(ValueError, match="same languages and items"):
        compare_paired({"de": [1.0]}, {"de": [1.0, 2.0]})
