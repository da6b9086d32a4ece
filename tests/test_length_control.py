"""Length control: the worked example of the method, and every other penalty tried against the solved one."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lingualign.pairs import solve_penalty
from lingualign.pairs.best_worst import best_and_worst

REWARDS = [[10.0, 8.0, 1.0], [5.0, 4.0, 0.0]]
LENGTHS = [[300, 100, 50], [200, 80, 120]]


def gap(rewards: list[list[float]], lengths: list[list[int]], alpha: float) -> float:
    """D(alpha), written down as it is defined."""
    total = 0
    for row, sizes in zip(rewards, lengths, strict=True):
        controlled = [reward - alpha * size for reward, size in zip(row, sizes, strict=True)]
        total += sizes[controlled.index(max(controlled))] - sizes[controlled.index(min(controlled))]
    return total / len(rewards)


GAPS = [(0, 165), (0.008, 165), (0.009, 105), (0.010, 105), (0.011, 5), (0.035, 5)]
GAPS += [(0.037, -120), (0.062, -120), (0.063, -160), (0.139, -160), (0.140, -185), (0.999, -185)]


@pytest.mark.parametrize(("alpha", "expected"), GAPS)
def test_the_gap_of_the_example_falls_in_steps(alpha: float, expected: float) -> None:
    assert gap(REWARDS, LENGTHS, alpha) == expected


def test_grid_gives_the_published_penalty() -> None:
    control = solve_penalty(REWARDS, LENGTHS, "grid")
    assert (control.alpha, control.gap_before, control.gap_after) == (0.011, 165, 5)


def test_exact_gives_the_middle_of_the_best_segment() -> None:
    """In the first prompt candidate 1 overtakes 0 at (10 - 8) / (300 - 100) = 0.010, and 0 falls behind 2 at
    (10 - 1) / (300 - 50) = 0.036. Between them the gap is 5."""
    control = solve_penalty(REWARDS, LENGTHS)
    assert control.alpha == pytest.approx(0.023)
    assert (control.gap_before, control.gap_after) == (165, 5)


def test_controlled_rewards_choose_the_pairs_of_the_example() -> None:
    alpha = solve_penalty(REWARDS, LENGTHS, "grid").alpha
    controlled = [
        [reward - alpha * size for reward, size in zip(*prompt, strict=True)]
        for prompt in zip(REWARDS, LENGTHS, strict=True)
    ]
    np.testing.assert_allclose(controlled, [[6.7, 6.9, 0.45], [2.8, 3.12, -1.32]])
    assert [best_and_worst(rewards) for rewards in controlled] == [(1, 2), (1, 2)]
    assert [best_and_worst(rewards) for rewards in REWARDS] == [(0, 2), (0, 2)]
    assert [best_and_worst(rewards, 6.8) for rewards in controlled] == [(0, 2), (1, 2)]
    assert [best_and_worst(rewards, -10) for rewards in controlled] == [None, None]


def test_of_equal_candidates_the_first_is_taken() -> None:
    assert best_and_worst([7.0, 7.0, 3.0, 3.0]) == (0, 2)
    assert gap([[7.0, 7.0]], [[300, 100]], 0) == 0


def test_none_is_no_penalty() -> None:
    control = solve_penalty(REWARDS, LENGTHS, "none")
    assert (control.alpha, control.gap_before, control.gap_after) == (0, 165, 165)


def test_the_grid_is_too_coarse_where_lengths_are_large() -> None:
    """In bytes of long documents the right penalty lies between two values of the grid."""
    rewards, lengths = [[3.0, 2.0, 0.0]], [[9000, 5000, 5200]]
    assert solve_penalty(rewards, lengths, "grid").gap_after == 3800  # at 0; at 0.001 it is -4000
    control = solve_penalty(rewards, lengths)
    assert control.gap_after == -200
    assert 0.00025 < control.alpha < 3 / 3800


def test_a_unit_twice_as_long_halves_the_gap_and_doubles_the_penalty() -> None:
    control = solve_penalty(REWARDS, LENGTHS)
    halved = solve_penalty(REWARDS, [[size // 2 for size in sizes] for sizes in LENGTHS])
    assert halved.alpha == pytest.approx(2 * control.alpha)
    assert halved.gap_after == control.gap_after / 2


def test_chosen_that_are_shorter_already_need_no_penalty() -> None:
    control = solve_penalty([[2.0, 1.0]], [[10, 50]])
    assert (control.alpha, control.gap_before, control.gap_after) == (0, -40, -40)


def test_signed_gives_a_bonus_where_chosen_are_shorter() -> None:
    rewards, lengths = [[2.0, 1.0, 0.0], [3.0, 2.5, 0.0]], [[10, 50, 40], [20, 60, 60]]
    control = solve_penalty(rewards, lengths, "signed")
    assert (control.gap_before, control.gap_after) == (-35, 5)
    # A bonus of 0.5/40 flips the second prompt's chosen and one of 1/40 the first's; from 2/30 the first's
    # rejected flips too. D is -70, -30, 10 and so on, over two prompts.
    assert control.alpha == pytest.approx(-(1 / 40 + 2 / 30) / 2)
    assert solve_penalty(REWARDS, LENGTHS, "signed") == solve_penalty(REWARDS, LENGTHS, "exact")


@pytest.mark.parametrize("method", ["exact", "signed", "grid", "none"])
@pytest.mark.parametrize(
    ("rewards", "lengths"),
    [([], []), ([[1.0]], [[5]]), ([[2.0, 2.0, 2.0]], [[7, 7, 7]]), ([[2.0, 2.0]], [[9, 4]])],
    ids=["no prompt", "one candidate", "all alike", "equal rewards"],
)
def test_nothing_to_choose_needs_no_penalty(
    rewards: list[list[float]], lengths: list[list[int]], method: Literal["exact", "signed", "grid", "none"]
) -> None:
    control = solve_penalty(rewards, lengths, method)
    assert (control.alpha, control.gap_before, control.gap_after) == (0, 0, 0)


@st.composite
def scored_prompts(
    draw: st.DrawFn, rewards: st.SearchStrategy[Any]
) -> tuple[list[list[float]], list[list[int]]]:
    counts = draw(st.lists(st.integers(1, 6), min_size=1, max_size=6))
    return (
        [draw(st.lists(rewards, min_size=count, max_size=count)) for count in counts],
        [draw(st.lists(st.integers(0, 60), min_size=count, max_size=count)) for count in counts],
    )


# Small integers make ties and break-points that coincide; floats make them rare.
@pytest.mark.parametrize(
    "rewards", [st.integers(-8, 8), st.floats(-5, 5, width=16)], ids=["integers", "floats"]
)
@given(data=st.data())
def test_no_other_penalty_is_better(rewards: st.SearchStrategy[Any], data: st.DataObject) -> None:
    prompts = data.draw(scored_prompts(rewards))
    control = solve_penalty(*prompts)
    assert control.alpha >= 0
    assert control.gap_before == gap(*prompts, 0)
    assert control.gap_after == gap(*prompts, control.alpha)
    # Off the break-points, which are fractions with small denominators, and up to behind the last of them.
    step = math.pi / 300
    for alpha in [0, *(step * k for k in range(1, 400)), 1000 * math.pi]:
        other = gap(*prompts, alpha)
        assert abs(other) >= abs(control.gap_after)
        if abs(other) == abs(control.gap_after) and alpha < control.alpha:
            assert other == control.gap_after  # the same segment: no smaller penalty is as good


@given(prompts=scored_prompts(st.integers(-8, 8)))
def test_the_penalty_lies_off_every_break_point(prompts: tuple[list[list[float]], list[list[int]]]) -> None:
    control = solve_penalty(*prompts)
    assume(control.alpha > 0)
    nearby = [gap(*prompts, control.alpha * factor) for factor in (1 - 1e-9, 1 + 1e-9)]
    assert nearby == [control.gap_after] * 2


@given(prompts=scored_prompts(st.integers(-8, 8)))
def test_signed_is_exact_on_lengths_counted_backwards(
    prompts: tuple[list[list[float]], list[list[int]]],
) -> None:
    rewards, lengths = prompts
    signed = solve_penalty(rewards, lengths, "signed")
    if signed.gap_before >= 0:
        assert signed == solve_penalty(rewards, lengths)
    else:
        mirrored = solve_penalty(rewards, [[60 - size for size in sizes] for sizes in lengths])
        assert signed.gap_after == -mirrored.gap_after
        assert signed.alpha == -mirrored.alpha
