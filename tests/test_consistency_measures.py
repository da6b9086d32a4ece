"""Cross-lingual consistency: the worked examples, and each measure by its plain definition. And LaSE."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from lingualign.measures.consistency import (
    ac3,
    accuracy,
    agreement,
    calm_consistency,
    cohens_kappa,
    correct_overlap,
    rank_consistency,
    rank_weights,
    rankc,
    ranking,
    relative_agreement,
    seaeval_consistency,
    subset_agreement,
)
from lingualign.measures.tasks.lase import language_confidence, lase, length_penalty

WEIGHTINGS = ("softmax", "norm1", "norm2")
SEAEVAL = {"en": "ABCD", "zh": "ABCC", "sw": "ABDA"}
GOLD = "ABCA"


def plain_rankc(first: list[int], second: list[int], weighting: str) -> float:
    n = len(first)
    order = [n - place for place in range(n)]
    raw = {"softmax": np.exp(order), "norm1": np.array(order), "norm2": np.array(order) ** 2}[weighting]
    total = 0.0
    for j in range(1, n + 1):
        total += raw[j - 1] / raw.sum() * len(set(first[:j]) & set(second[:j])) / j
    return total


def scores(order: list[int]) -> list[float]:
    """Scores that rank candidates so."""
    return [-float(order.index(candidate)) for candidate in range(len(order))]


def test_rankc_of_the_worked_examples() -> None:
    one = [rank_consistency([0, 1, 2], [1, 0, 2], weighting) for weighting in WEIGHTINGS]
    np.testing.assert_allclose(one, [0.3347590, 0.5, 0.3571429], atol=5e-8)
    first = [scores([0, 1, 2]), scores([2, 0, 1])]
    second = [scores([0, 1, 2]), scores([1, 0, 2])]
    two = [rankc(first, second, weighting, resamples=100).mean for weighting in WEIGHTINGS]
    np.testing.assert_allclose(two, [0.6061974, 0.6666667, 0.6071429], atol=5e-8)


@given(st.permutations(range(9)), st.permutations(range(9)), st.sampled_from(WEIGHTINGS))
def test_rankc_is_its_plain_definition(first: list[int], second: list[int], weighting: str) -> None:
    found = rank_consistency(first, second, weighting)  # type: ignore[arg-type]
    assert found == pytest.approx(plain_rankc(first, second, weighting), abs=1e-12)
    assert found == pytest.approx(rank_consistency(second, first, weighting), abs=1e-12)  # type: ignore[arg-type]
    assert rank_consistency(first, first, weighting) == pytest.approx(1)  # type: ignore[arg-type]


def test_ranking_is_by_index_and_ties_go_to_the_lower_one() -> None:
    assert ranking([-2.0, -1.0, -2.0, -0.5]) == [3, 1, 0, 2]
    with pytest.raises(ValueError, match="same candidates"):
        rank_consistency([0, 1], [0, 1, 2])
    with pytest.raises(ValueError, match="same candidates"):
        rank_consistency([0, 0], [0, 0])


def test_rank_weights_of_many_candidates_are_finite() -> None:
    weights = rank_weights(2000)
    assert weights.sum() == pytest.approx(1) and weights[0] == pytest.approx(1 - np.exp(-1))


def test_overlap_is_what_both_have_right_of_what_either_has() -> None:
    found = correct_overlap([{"a"}, {"b"}, set(), {"c"}], [{"a"}, set(), set(), {"c"}], resamples=200)
    assert found is not None and found.mean == pytest.approx(2 / 3) and found.n == 3
    several = correct_overlap([{"a", "b"}], [{"b", "c"}], resamples=10)
    assert several is not None and several.mean == pytest.approx(1 / 3)
    assert correct_overlap([set()], [set()]) is None


def test_top_1_agreement_of_the_worked_example() -> None:
    assert agreement("ABCD", "ABDD").mean == 0.75
    assert accuracy("ABCD", GOLD).mean == 0.75 and accuracy("ABDD", GOLD).mean == 0.5
    assert relative_agreement("ABCD", "ABDD", GOLD) == pytest.approx(1.2)
    assert relative_agreement("B", "B", "A") is None
    assert agreement([None, "A"], [None, "A"]).mean == 0.5  # what could not be read agrees with nothing


def test_seaeval_of_the_worked_example() -> None:
    right = float(np.mean([accuracy(answers, GOLD).mean for answers in SEAEVAL.values()]))
    assert right == 0.75
    found = seaeval_consistency(SEAEVAL, resamples=200)
    assert [found[size].mean for size in (2, 3)] == pytest.approx([0.583333, 0.5], abs=1e-6)
    assert [ac3(right, found[size].mean) for size in (2, 3)] == pytest.approx([0.65625, 0.6])
    assert ac3(0.0, 0.0) == 0.0


@given(
    st.lists(
        st.lists(st.sampled_from(["A", "B", "C", None]), min_size=4, max_size=4), min_size=1, max_size=5
    ),
    st.integers(2, 4),
)
def test_subsets_are_counted_as_if_enumerated(items: list[list[str | None]], size: int) -> None:
    answers = {str(place): [item[place] for item in items] for place in range(4)}
    expected = [
        np.mean([None not in subset and len(set(subset)) == 1 for subset in combinations(item, size)])
        for item in items
    ]
    assert subset_agreement(answers, size) == pytest.approx(expected)


def test_subsets_need_at_least_two_languages_and_no_more_than_there_are() -> None:
    for size in (1, 4):
        with pytest.raises(ValueError, match="2 to 3"):
            subset_agreement(SEAEVAL, size)


def test_calms_consistency_leaves_languages_without_an_answer_out() -> None:
    found = calm_consistency(
        {"en": ["A", "B", None], "zh": ["A", "C", "A"], "sw": ["B", None, None]}, resamples=10
    )
    assert found.mean == pytest.approx((1 / 3 + 0 + 0) / 3)
    whole = calm_consistency({code: list(answers) for code, answers in SEAEVAL.items()}, resamples=10)
    assert whole.mean == pytest.approx(0.583333, abs=1e-6)  # SeaEval's with subsets of 2


@given(st.lists(st.tuples(st.sampled_from("ABC"), st.sampled_from("ABC")), min_size=2, max_size=30))
def test_kappa_is_scikit_learns(pairs: list[tuple[str, str]]) -> None:
    first, second = zip(*pairs, strict=True)
    found = cohens_kappa(first, second, resamples=50)
    if len({*first, *second}) == 1:
        assert found is None
    else:
        assert found is not None and found.n == len(pairs)
        assert found.mean == pytest.approx(cohen_kappa_score(first, second))


def test_kappa_is_1_for_equals_0_by_chance_and_leaves_out_what_was_not_answered() -> None:
    same = cohens_kappa("ABAB", "ABAB", resamples=100)
    chance = cohens_kappa("AABB", "ABAB", resamples=100)
    gaps = cohens_kappa([None, "A", "B", "A"], ["A", "A", "B", None], resamples=100)
    assert same is not None and (same.mean, same.low, same.high) == (1, 1, 1)
    assert chance is not None and chance.mean == 0 and chance.low < 0 < chance.high
    assert gaps is not None and (gaps.mean, gaps.n) == (1, 2)
    assert cohens_kappa([None], ["A"]) is None


def test_lase_of_the_worked_example() -> None:
    assert length_penalty(20, 10) == pytest.approx(np.exp(-0.25))
    assert [length_penalty(n, 10) for n in (3, 16)] == [1, 1] and length_penalty(17, 10) < 1
    heard = {"fr": 0.6, "en": 0.3, "sw": 0.1}
    assert [language_confidence(heard, code) for code in ("fr", "en", "om")] == [1, 0.3, 1]
    assert lase(0.8, 0.3, np.exp(-0.25)) == pytest.approx(0.24 * 0.7788, abs=1e-5)
