"""Win rate of one set of responses against another, on the same prompts, with bootstrap intervals.

Each prompt gives 1 for a win, 1/2 for a tie and 0 for a loss; the win rate is their mean. Ties count half,
as in AlpacaEval (Dubois et al. 2024, "Length-Controlled AlpacaEval"), so that a model against itself has
0.5 exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

WIN, TIE, LOSS = 1.0, 0.5, 0.0


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval.

    Attributes:
        mean: Over prompts.
        low: 2.5 % quantile of the bootstrap distribution of the mean.
        high: 97.5 % quantile.
        n: Prompts.
    """

    mean: float
    low: float
    high: float
    n: int


def outcome(
    score: float, baseline_score: float, text: str, baseline_text: str, tolerance: float = 1e-6
) -> float:
    """Whether a response wins against a baseline's.

    Args:
        score: Of the response; higher is better.
        baseline_score: Of the baseline's response, by the same judge.
        text: The response. Equal texts tie, whatever rounding did to their scores.
        baseline_text: The baseline's response.
        tolerance: Scores closer than this, relative to the larger and at least absolutely, tie.

    Returns:
        1 (win), 0.5 (tie) or 0 (loss).
    """
    near = abs(score - baseline_score) <= tolerance * max(1.0, abs(score), abs(baseline_score))
    if near or text == baseline_text:
        return TIE
    return WIN if score > baseline_score else LOSS


def bootstrap(outcomes: Mapping[str, Sequence[float]], resamples: int, seed: int) -> dict[str, Interval]:
    """Means of several languages, and the mean over them, with 95 % percentile intervals.

    Prompts are drawn with replacement, the same draw in every language: the outcomes of one prompt in two
    languages are not independent, and the mean over languages would look surer than it is if they were drawn
    apart.

    Args:
        outcomes: A language -> one number a prompt, the prompts in the same order in every language.
        resamples: Bootstrap resamples.
        seed: Of the draw.

    Returns:
        An interval a language, and under "mean" that of the unweighted mean over the languages.

    Raises:
        ValueError: There are no outcomes, or the languages do not have the same number of them.

    Example:
        >>> bootstrap({"de": [1.0, 0.5, 0.0, 1.0]}, resamples=1000, seed=0)["de"].mean
        0.625
    """
    counts = {len(values) for values in outcomes.values()}
    if len(counts) != 1 or 0 in counts:
        raise ValueError("every language needs the same number of outcomes, at least one")
    n = counts.pop()
    table = np.array([outcomes[language] for language in outcomes], dtype=np.float64)  # [languages, prompts]
    generator = np.random.default_rng(seed)
    means = np.empty((resamples, len(table)))
    for resample in range(resamples):
        means[resample] = table[:, generator.integers(0, n, n)].mean(axis=1)

    def interval(values: np.ndarray, draws: np.ndarray) -> Interval:
        low, high = np.quantile(draws, [0.025, 0.975])
        return Interval(float(values.mean()), float(low), float(high), n)

    result = {language: interval(table[i], means[:, i]) for i, language in enumerate(outcomes)}
    result["mean"] = interval(table.mean(axis=1), means.mean(axis=1))
    return result
