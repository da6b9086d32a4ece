"""Best-of-n: who is chosen, what choosing is worth, and how far it goes from the policy."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingualign.measures.best_of_n import best_of_n, best_of_n_kl_bound, expected_best_of_n
from lingualign.records import Response, Score
from lingualign.rewards import score_of

SAMPLES = st.lists(st.tuples(st.none() | st.integers(0, 3), st.floats(-5, 5)), min_size=1, max_size=7)


def make(prompt_id: str, language: str, *rewards: float | None) -> tuple[list[Response], list[Score]]:
    responses = [
        Response(
            prompt_id=prompt_id, language=language, index=i, text=f"{i}", finish_reason="stop", num_tokens=1
        )
        for i in range(len(rewards))
    ]
    return responses, [score_of(r, reward) for r, reward in zip(responses, rewards, strict=True)]


def winners(*rewards: float | None) -> list[int]:
    responses, scores = make("p", "de", *rewards)
    return [response["index"] for response in best_of_n(reversed(responses), scores)]


def test_the_highest_reward_wins_and_the_first_of_equals() -> None:
    assert winners(0.1, 0.9, 0.3) == [1]
    assert winners(0.1, 0.9, 0.9) == [1]
    assert winners(None, -9.0, None) == [1]
    assert winners(None, None) == [0]


def test_each_prompt_and_language_has_its_own_best() -> None:
    de, de_scores = make("p", "de", 1.0, 2.0)
    sw, sw_scores = make("p", "sw", 2.0, 1.0)
    other, _ = make("q", "de", 1.0)
    chosen = best_of_n([*sw, *de, *other], [*de_scores, *sw_scores])
    assert [(r["language"], r["index"]) for r in chosen] == [("sw", 0), ("de", 1)]


@given(SAMPLES)
def test_the_expectation_is_the_mean_over_all_draws(samples: list[tuple[int | None, float]]) -> None:
    """Every subset of n samples, its best chosen, ties shared."""
    found = expected_best_of_n([reward for reward, _ in samples], [value for _, value in samples])
    assert len(found) == len(samples)
    for n in range(1, len(samples) + 1):
        values = []
        for subset in combinations(samples, n):
            top = max(-1 if reward is None else reward for reward, _ in subset)
            best = [value for reward, value in subset if (-1 if reward is None else reward) == top]
            values.append(sum(best) / len(best))
        assert found[n - 1] == pytest.approx(sum(values) / len(values), abs=1e-9)


def test_by_its_own_measure_more_is_never_worse() -> None:
    rewards = [0.3, 0.1, 0.8, 0.5]
    expected = expected_best_of_n(rewards, rewards)
    assert expected == sorted(expected)
    assert expected[0] == pytest.approx(sum(rewards) / 4) and expected[-1] == 0.8


def test_the_worked_example_of_the_kl_bound() -> None:
    assert best_of_n_kl_bound(64) == pytest.approx(3.1745081, abs=5e-8)
    assert best_of_n_kl_bound(1) == 0
