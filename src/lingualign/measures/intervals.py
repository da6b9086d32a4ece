"""How sure a measure is: means with intervals, differences with p-values.

Everything here is resampled by prompt. Several responses to one prompt, and the same prompt in several
languages, are drawn together: they are not independent, and a mean over them would look surer than it is if
they were drawn apart.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.05
RESAMPLES = 10_000  # enough for 5 % after Holm's correction over 250 tests
BLOCK = 1_000_000  # draws at a time
MEAN = "mean"  # key of the mean over languages

Values = Mapping[str, Sequence[float]]
Clusters = Mapping[str, Sequence[Hashable]]


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval.

    Attributes:
        mean: Over prompts.
        low: Lower end.
        high: Upper end.
        n: Prompts.
    """

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Change:
    """One set of values less another of the same items.

    Attributes:
        difference: With its interval.
        p: Of the difference being zero.
        p_adjusted: The same, adjusted for the number of languages that are compared.
    """

    difference: Interval
    p: float
    p_adjusted: float


def bootstrap(
    values: Values, resamples: int = RESAMPLES, seed: int = 0, clusters: Clusters | None = None
) -> dict[str, Interval]:
    """Means of several languages, and the mean over them, with 95 % percentile intervals.

    Clusters are drawn with replacement, the same draw in every language. A drawn cluster brings all its
    values, so the mean of a draw is a ratio of two sums.

    Args:
        values: A language -> its values.
        resamples: Bootstrap resamples.
        seed: Of the draw.
        clusters: A language -> the cluster of each value, usually its prompt's id. None: the i-th values of
            all languages belong to one prompt.

    Returns:
        An interval a language, and under "mean" that of the unweighted mean over the languages; n counts
        clusters. Its ends are NaN where no draw has clusters of all languages: of one prompt each in many.

    Raises:
        ValueError: A language has no values, or without clusters not as many as the others.

    Example:
        >>> bootstrap({"de": [1.0, 0.5, 0.0, 1.0]}, resamples=1000)["de"].mean
        0.625
    """
    sums, counts = _by_cluster(values, clusters)
    means = _draw(sums, counts, resamples, seed)

    def interval(mean: float, draws: np.ndarray, n: int) -> Interval:
        # A draw without any cluster of a language says nothing of it.
        told = draws[~np.isnan(draws)]
        low, high = np.quantile(told, [LEVEL / 2, 1 - LEVEL / 2]) if told.size else (np.nan, np.nan)
        return Interval(float(mean), float(low), float(high), n)

    observed = sums.sum(axis=1) / counts.sum(axis=1)
    in_language = (counts > 0).sum(axis=1)
    result = {
        language: interval(observed[i], means[:, i], int(in_language[i])) for i, language in enumerate(values)
    }
    result[MEAN] = interval(observed.mean(), means.mean(axis=1), int((counts > 0).any(axis=0).sum()))
    return result


def _by_cluster(values: Values, clusters: Clusters | None) -> tuple[np.ndarray, np.ndarray]:
    """Sums and numbers of values, [languages, clusters] each."""
    lengths = {len(found) for found in values.values()}
    if not lengths or 0 in lengths or (clusters is None and len(lengths) > 1):
        raise ValueError("every language needs the same number of values, at least one")
    if clusters is None:
        clusters = {language: range(len(found)) for language, found in values.items()}
    places: dict[Hashable, int] = {}
    for language in values:
        for cluster in clusters[language]:
            places.setdefault(cluster, len(places))
    sums, counts = np.zeros((2, len(values), len(places)))
    for i, (language, found) in enumerate(values.items()):
        at = [places[cluster] for cluster in clusters[language]]
        np.add.at(sums[i], at, np.asarray(found, dtype=np.float64))
        np.add.at(counts[i], at, 1.0)
    return sums, counts


def _draw(sums: np.ndarray, counts: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Means of drawn clusters, [resamples, languages]; NaN where none of a language was drawn."""
    generator, n = np.random.default_rng(seed), sums.shape[1]
    means = np.empty((resamples, len(sums)))
    rows = max(1, BLOCK // n)
    for start in range(0, resamples, rows):
        stop = min(start + rows, resamples)
        drawn = generator.integers(0, n, (stop - start, n)) + n * np.arange(stop - start)[:, None]
        times = np.bincount(drawn.ravel(), minlength=(stop - start) * n).reshape(-1, n)  # [rows, clusters]
        total, number = times @ sums.T, times @ counts.T
        means[start:stop] = np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0)
    return means


def exact_share(successes: int, n: int) -> Interval:
    """A share of n independent items with its exact 95 % interval (Clopper and Pearson 1934).

    For shares near 0 or 1, of which a bootstrap sees no spread.

    Raises:
        ValueError: There are no items, or more successes than items.

    Example:
        >>> exact_share(0, 10).high
        0.3084971078187608
    """
    from scipy.special import betaincinv  # scipy.stats takes half a second to import

    if not 0 <= successes <= n or n == 0:
        raise ValueError("a share needs at least one item, and no more successes than items")
    low = 0.0 if successes == 0 else float(betaincinv(successes, n - successes + 1, LEVEL / 2))
    high = 1.0 if successes == n else float(betaincinv(successes + 1, n - successes, 1 - LEVEL / 2))
    return Interval(successes / n, low, high, n)


def sign_flip_p(
    differences: Values, resamples: int = RESAMPLES, seed: int = 0, clusters: Clusters | None = None
) -> dict[str, float]:
    """Two-sided p-values of mean differences being zero, by flipping the signs of whole clusters.

    Under the null hypothesis the two sides of a pair could be exchanged. The observed signs count as one of
    the draws, so p is never 0 (Davison and Hinkley 1997, Bootstrap Methods, section 4.3).

    Args:
        differences: A language -> differences of paired values.
        resamples: Draws of signs.
        seed: Of the draws.
        clusters: As in `bootstrap`.

    Returns:
        A p-value a language, and under "mean" that of the unweighted mean over the languages.
    """
    sums, counts = _by_cluster(differences, clusters)
    generator, rows = np.random.default_rng(seed), max(1, BLOCK // sums.shape[1])
    flipped = np.concatenate(
        [
            generator.choice([-1.0, 1.0], size=(min(rows, resamples - start), sums.shape[1])) @ sums.T
            for start in range(0, resamples, rows)
        ]
    ) / counts.sum(axis=1)  # [resamples, languages]
    observed = sums.sum(axis=1) / counts.sum(axis=1)
    flipped = np.column_stack([flipped, flipped.mean(axis=1)])
    observed = np.append(observed, observed.mean())
    # Rounding must not turn a tie with what was observed into less.
    beyond = (np.abs(flipped) >= np.abs(observed) - 1e-12).sum(axis=0)
    p_values = (1 + beyond) / (1 + resamples)
    return dict(zip([*differences, MEAN], map(float, p_values), strict=True))


def compare_paired(
    after: Values,
    before: Values,
    resamples: int = RESAMPLES,
    seed: int = 0,
    clusters: Clusters | None = None,
) -> dict[str, Change]:
    """What changed from one set of values to another of the same items, a language at a time.

    Args:
        after: A language -> its values.
        before: The same items in the same order.
        resamples: Of the bootstrap and the test.
        seed: Of both.
        clusters: As in `bootstrap`.

    Returns:
        A change a language, p-values adjusted by Holm's method for the number of languages, and under "mean"
        that of the mean over them, which is one test.

    Raises:
        ValueError: The two sets do not have the same languages and numbers of items.
    """
    if {code: len(found) for code, found in after.items()} != {
        code: len(found) for code, found in before.items()
    }:
        raise ValueError("the two sets need the same languages and items")
    differences = {
        code: (np.asarray(after[code], dtype=np.float64) - np.asarray(before[code])).tolist()
        for code in after
    }
    intervals = bootstrap(differences, resamples, seed, clusters)
    p_values = sign_flip_p(differences, resamples, seed, clusters)
    adjusted = dict(zip(differences, holm([p_values[code] for code in differences]), strict=True))
    return {
        code: Change(intervals[code], p_values[code], adjusted.get(code, p_values[code]))
        for code in intervals
    }


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusts p-values of several tests, so that one true null or more falls with at most the level.

    In ascending order the i-th of m is multiplied by m - i + 1, and none is below the one before it (Holm
    1979, https://www.jstor.org/stable/4615733).

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted
