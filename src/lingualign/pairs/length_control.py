"""Length control: the penalty a unit of length that makes chosen and rejected equally long on average.

    R_lc(x, y) = R(x, y) - alpha * len(y)
    D(alpha)   = mean over prompts of len(chosen) - len(rejected), both chosen by R_lc

As alpha grows, the best candidate of a prompt can only get shorter and the worst only longer: in alpha, R_lc
is a straight line for each candidate, the best ones form the upper envelope of these lines and the worst ones
the lower. So D falls in steps, at the break-points of the envelopes. Walking along these gives every value
that D can take, and exactly the segment of alpha where it is nearest to 0; the published grid of 1,000
values, 0.001 apart, finds it only where that is fine enough.

alpha is a penalty and never negative: where chosen responses are the shorter ones without it, it is 0. The
method `signed` (ours) lets it be negative there, a bonus: the penalty for lengths counted backwards.

References:
    - Bootstrapping Language Models with DPO Implicit Rewards: https://arxiv.org/abs/2406.09760, section 4.1
    - Implicit Cross-Lingual Rewarding: https://arxiv.org/abs/2503.04647
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

GRID = [step / 1000 for step in range(1000)]


@dataclass(frozen=True)
class LengthControl:
    """A length penalty and what it does.

    Attributes:
        alpha: Penalty a unit of length, in units of the reward. Negative only by the method `signed`.
        gap_before: Mean length of chosen less that of rejected responses without penalty.
        gap_after: The same with it.
    """

    alpha: float
    gap_before: float
    gap_after: float


def solve_penalty(
    rewards: Sequence[Sequence[float]],
    lengths: Sequence[Sequence[int]],
    method: Literal["exact", "signed", "grid", "none"] = "exact",
) -> LengthControl:
    """The penalty with the smallest |D|; of equally good ones the smallest.

    Args:
        rewards: Of each candidate, a list a prompt.
        lengths: Of each candidate, in any unit, in the same order.
        method: `exact` solves over the break-points. D is the same all along a segment between two of them;
            alpha is the middle of it, as far as possible from where a choice would flip by rounding (behind
            the last break-point: twice that). `signed` does so on the side of 0 where D can be closed.
            `grid` is the published sweep 0.000, 0.001, ..., 0.999, the first of equally good values. `none`
            gives 0.

    Returns:
        The penalty, and D without and with it: measured at alpha, not derived.

    Example:
        >>> solve_penalty([[10, 8, 1], [5, 4, 0]], [[300, 100, 50], [200, 80, 120]], "grid")
        LengthControl(alpha=0.011, gap_before=165.0, gap_after=5.0)
    """
    table = _Table.of(rewards, lengths)
    if method == "none":
        alpha = 0.0
    elif method == "grid":
        alpha = min(GRID, key=lambda value: abs(table.total_gap(value)))
    elif method == "signed" and table.total_gap(0.0) < 0:
        backwards = [[-length for length in row] for row in lengths]
        alpha = -_solve(rewards, backwards, -table.total_gap(0.0))
    else:
        alpha = _solve(rewards, lengths, table.total_gap(0.0))
    prompts = max(1, len(rewards))
    return LengthControl(alpha, table.total_gap(0.0) / prompts, table.total_gap(alpha) / prompts)


def _solve(rewards: Sequence[Sequence[float]], lengths: Sequence[Sequence[int]], gap_at_zero: int) -> float:
    """The smallest best penalty, with sums of lengths, which are exact, in place of means."""
    changes: Counter[float] = Counter()
    for prompt in zip(rewards, lengths, strict=True):
        for alpha, change in (*_chosen(*prompt), *_rejected(*prompt)):
            changes[alpha] += change
    best_alpha, best_gap, gap = 0.0, gap_at_zero, 0
    for start, stop in pairwise([*sorted(changes), math.inf]):
        gap += changes[start]
        alpha = (start + stop) / 2 if stop < math.inf else 2 * start
        if start < alpha < stop and abs(gap) < abs(best_gap):
            best_alpha, best_gap = alpha, gap
    return best_alpha


def _chosen(rewards: Sequence[float], lengths: Sequence[int]) -> Iterator[tuple[float, int]]:
    """The length of the best candidate at alpha = 0, then each (alpha, change of it), changes at 0 included.

    Along the upper envelope of the lines reward - alpha * length, lines that fall less steeply take over.
    """
    reward, length = max(zip(rewards, lengths, strict=True))
    yield 0.0, length
    while True:
        crossings = [
            ((reward - other) / (length - shorter), shorter, other)
            for other, shorter in zip(rewards, lengths, strict=True)
            if shorter < length
        ]
        if not crossings:
            return
        alpha, shorter, other = min(crossings)
        yield alpha, shorter - length
        reward, length = other, shorter


def _rejected(rewards: Sequence[float], lengths: Sequence[int]) -> Iterator[tuple[float, int]]:
    """What `_chosen` gives, for the worst candidate and with the sign it has in D: its mirror image."""
    return _chosen([-reward for reward in rewards], [-length for length in lengths])


@dataclass(frozen=True)
class _Table:
    """Prompts as rows of arrays, to choose in all of them at once.

    Rows are filled up with copies of their first candidate, which are never taken: the first of equals is.
    """

    rewards: np.ndarray
    lengths: np.ndarray

    @classmethod
    def of(cls, rewards: Sequence[Sequence[float]], lengths: Sequence[Sequence[int]]) -> _Table:
        shape = len(rewards), max(map(len, rewards), default=1)
        filled = cls(np.empty(shape, np.float64), np.empty(shape, np.int64))
        for table, rows in ((filled.rewards, rewards), (filled.lengths, lengths)):
            for place, row in enumerate(rows):
                table[place, : len(row)] = row
                table[place, len(row) :] = row[0]
        return filled

    def total_gap(self, alpha: float) -> int:
        """D(alpha) times the number of prompts; the first of equal candidates is taken, as for pairs."""
        controlled = self.rewards - alpha * self.lengths
        rows = np.arange(len(controlled))
        chosen = self.lengths[rows, controlled.argmax(axis=1)]
        rejected = self.lengths[rows, controlled.argmin(axis=1)]
        return int((chosen - rejected).sum())
