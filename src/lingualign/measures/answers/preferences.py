"""AlpacaEval's preferences: how a judge's word becomes a number, and the win rates made of many of them.

A preference is a number from 1 (the baseline's answer, `output_1`, is better) to 2 (the model's, `output_2`).
1.5 is a draw, for which older files have 0. NaN or None is a judgement that failed: it is counted, and takes
no part in any mean. Win rates are shares from 0 to 1, as everywhere in lingualign;
`HeadToHead.as_alpaca_eval` has alpaca_eval's percentages under its names.

References:
    - Length-Controlled AlpacaEval: https://arxiv.org/abs/2404.04475
    - Definitions as alpaca_eval 0.6.6 computes them: https://github.com/tatsu-lab/alpaca_eval, functions
      `get_winrate`, `logprob_parser` and `RandomSwitchTwoColumnsProcessor`
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

DRAW = 1.5
ROUNDING = 1e-9  # how far beyond 1 or 2 a preference may lie

Preferences = Sequence[float | None] | np.ndarray


@dataclass(frozen=True)
class HeadToHead:
    """A model against a baseline.

    Attributes:
        win_rate: Mean of preference - 1, a share.
        standard_error: Of the win rate: standard deviation (ddof 1) over the root of n_total. None for one
            judgement.
        discrete_win_rate: Share of judgements won, draws half.
        n_wins: Judgements with a preference above 1.5.
        n_wins_base: Below 1.5.
        n_draws: Exactly 1.5.
        n_total: Judgements that did not fail.
        n_failed: Judgements that failed.
    """

    win_rate: float
    standard_error: float | None
    discrete_win_rate: float
    n_wins: int
    n_wins_base: int
    n_draws: int
    n_total: int
    n_failed: int

    def as_alpaca_eval(self) -> dict[str, float | None]:
        """Percentages and counts under the names of alpaca_eval's leaderboards."""
        return {
            "win_rate": 100 * self.win_rate,
            "standard_error": None if self.standard_error is None else 100 * self.standard_error,
            "n_wins": self.n_wins,
            "n_wins_base": self.n_wins_base,
            "n_draws": self.n_draws,
            "n_total": self.n_total,
            "discrete_win_rate": 100 * self.discrete_win_rate,
        }


def head_to_head(preferences: Preferences) -> HeadToHead:
    """Win rates of a model against a baseline.

    An interval is `lingualign.measures.intervals.bootstrap` of the `win_shares` that are not NaN.

    Args:
        preferences: One a judgement.

    Raises:
        ValueError: A preference is no preference, or all of them failed.

    Example:
        >>> found = head_to_head([2.0, 1.0, 1.5, 1.9, None])
        >>> found.win_rate, found.discrete_win_rate, found.n_failed
        (0.6, 0.625, 1)
    """
    shares = win_shares(preferences)
    told = shares[~np.isnan(shares)]
    if not told.size:
        raise ValueError("no judgement succeeded: there is nothing to take a win rate of")
    wins, losses = int((told > 0.5).sum()), int((told < 0.5).sum())
    draws = told.size - wins - losses
    return HeadToHead(
        win_rate=float(told.mean()),
        standard_error=float(told.std(ddof=1) / math.sqrt(told.size)) if told.size > 1 else None,
        discrete_win_rate=(wins + draws / 2) / told.size,
        n_wins=wins,
        n_wins_base=losses,
        n_draws=draws,
        n_total=told.size,
        n_failed=shares.size - told.size,
    )


def win_shares(preferences: Preferences) -> np.ndarray:
    """How far each answer of the model wins: preference - 1.

    Returns:
        Float64, [n], in [0, 1]; NaN where the judgement failed.

    Raises:
        ValueError: A preference is neither within 1 to 2, nor 0, nor NaN or None.
    """
    found = np.array(preferences, dtype=np.float64)
    found[found == 0] = DRAW
    wrong = np.flatnonzero((found < 1 - ROUNDING) | (found > 2 + ROUNDING))
    if wrong.size:
        raise ValueError(f"preference {wrong[0]} is {found[wrong[0]]}, not within 1 to 2")
    return np.clip(found, 1.0, 2.0) - 1


def preference_of_logprobs(logprobs: Mapping[str, float], first: str = "m", second: str = "M") -> float:
    """A preference from the log-probabilities of a judge's one token.

        preference = 2 - exp(lp(first) - logsumexp(lp(first), lp(second)))

    This is of the answers as they were shown: 1 if the first is better. See `unswitched`.

    Args:
        logprobs: A token -> its log-probability in nats, for the most probable tokens. A token that is not
            among them counts as impossible.
        first: The token that says that the answer shown first is better.
        second: The token that says so of the other.

    Returns:
        In [1, 2]; NaN where neither token is there.

    Example:
        >>> round(preference_of_logprobs({"m": -1.0, "M": -1.0 - math.log(3), "The": -9.0}), 6)
        1.25
    """
    of_first, of_second = (logprobs.get(token, -math.inf) for token in (first, second))
    if of_first == of_second == -math.inf:
        return math.nan
    # The formula with both exponentials divided by the first, so that rounding never leaves [1, 2].
    return 1 + float(np.exp(-np.logaddexp(0.0, of_first - of_second)))


def is_switched(instruction: str, seed: int = 0) -> bool:
    """Whether the judge is shown the model's answer first: alpaca_eval's draw for this instruction.

    Args:
        instruction: As it is given to the judge.
        seed: alpaca_eval's default is 0.
    """
    return random.Random(f"is_switched_outputs{instruction}{seed}").choices([False, True], k=1)[0]


def unswitched(preference: float, switched: bool) -> float:
    """A preference for the model's answer from one for the answer shown second: 3 - x if they were switched.

    Draws written as 0 become 1.5.
    """
    preference = DRAW if preference == 0 else preference
    return 3 - preference if switched else preference
