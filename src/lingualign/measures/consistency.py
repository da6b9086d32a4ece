"""Whether a model says the same in every language, right or wrong.

- RankC: how alike two languages rank the candidates of a query.
- COverlap: which right answers two languages have in common.
- MLC: top-1 agreement of two languages; Rel-MLC: the same in units of their accuracy.
- SeaEval's consistency: agreement of all languages of a subset; AC3: its harmonic mean with accuracy.
- Cohen's kappa: agreement of two languages beyond chance.
- CALM's consistency: the share of agreeing pairs of languages.

Candidates and choices are compared by their index or letter, never by their text, which differs between
languages. None stands for an answer that could not be read: it agrees with nothing, and is not right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Mapping, Sequence
from math import comb
from typing import Literal

import numpy as np

from lingualign.measures.intervals import LEVEL, MEAN, RESAMPLES, Interval, bootstrap, exact_share
from lingualign.rewards.votes import vote_consistency

Weighting = Literal["softmax", "norm1", "norm2"]
Answers = Sequence[Hashable | None]


def ranking(scores: Sequence[float]) -> list[int]:
    """Candidates by descending score, by index; of candidates with equal scores the lower index comes first.

    Args:
        scores: Of the candidates, higher is better: the mean log-probability of the filled prompt's tokens in
            the authors' experiments.
    """
    return sorted(range(len(scores)), key=lambda index: -scores[index])


def rank_weights(n: int, weighting: Weighting = "softmax") -> np.ndarray:
    """What each rank of n candidates counts, the first most; sums to 1.

    Args:
        n: Candidates.
        weighting: Of the orders n, n - 1, ..., 1 their softmax, their shares (norm1), or the shares of their
            squares (norm2).
    """
    order = np.arange(n, 0, -1, dtype=np.float64)
    weights = {"softmax": np.exp(order - n), "norm1": order, "norm2": order**2}[weighting]
    return weights / weights.sum()


def rank_consistency(first: Sequence[int], second: Sequence[int], weighting: Weighting = "softmax") -> float:
    """RankC of one query: the weighted share of common candidates among the first j, over all ranks j.

        sum_j w_j |R[:j] ∩ R'[:j]| / j

    References:
        - Cross-Lingual Consistency of Factual Knowledge in Multilingual Language Models:
          https://arxiv.org/abs/2310.10378; norm1 and norm2 are in their code.

    Args:
        first: Candidates in one language, best first, by index.
        second: The same candidates as the other language ranks them.
        weighting: See `rank_weights`.

    Raises:
        ValueError: The two do not rank the same candidates.

    Example:
        >>> rank_consistency([0, 1, 2], [1, 0, 2], "norm1")
        0.5
    """
    n = len(first)
    if not n or len(set(first)) != n or sorted(first) != sorted(second):
        raise ValueError("both rankings must hold the same candidates, each once")
    place = {candidate: rank for rank, candidate in enumerate(second)}
    # A candidate is common from the later one of its two ranks on.
    later = [max(rank, place[candidate]) for rank, candidate in enumerate(first)]
    common = np.cumsum(np.bincount(later, minlength=n))
    return float(rank_weights(n, weighting) @ (common / np.arange(1, n + 1)))


def rankc(
    first: Sequence[Sequence[float]],
    second: Sequence[Sequence[float]],
    weighting: Weighting = "softmax",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """RankC of two languages: the mean over queries.

    Args:
        first: Scores of each query's candidates in one language, higher is better; see `ranking`.
        second: Those of the same candidates, in the same order, in the other.
        weighting: See `rank_weights`.
        resamples: Of the bootstrap over queries.
        seed: Of the bootstrap.
    """
    values = [
        rank_consistency(ranking(one), ranking(other), weighting)
        for one, other in zip(first, second, strict=True)
    ]
    return bootstrap({"rankc": values}, resamples, seed)["rankc"]


def correct_overlap(
    first: Sequence[Collection[Hashable]],
    second: Sequence[Collection[Hashable]],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval | None:
    """COverlap: of the right answers that either language has, the share that both have.

        sum_i |C_i ∩ C'_i| / sum_i |C_i ∪ C'_i|

    With one right answer a query: queries right in both over queries right in either. Where a query has
    several right answers, their numbers are not normalised above or below (ours; the authors' code does so
    above only).

    References:
        - https://arxiv.org/abs/2310.10378, after X-FACTR: https://arxiv.org/abs/2010.06189

    Args:
        first: The right answers among those that one language gave to each query.
        second: Those of the other language.
        resamples: Of the bootstrap over queries.
        seed: Of the bootstrap.

    Returns:
        None where neither language is ever right.
    """
    values, queries = [], []
    for query, (one, other) in enumerate(zip(first, second, strict=True)):
        for answer in {*one, *other}:
            values.append(float(answer in one and answer in other))
            queries.append(query)
    if not values:
        return None
    return bootstrap({"overlap": values}, resamples, seed, {"overlap": queries})["overlap"]


def accuracy(answers: Answers, gold: Sequence[Hashable]) -> Interval:
    """Share of right answers."""
    return _share(answers, gold)


def agreement(first: Answers, second: Answers) -> Interval:
    """MLC: share of items with the same choice in both languages, right or wrong.

    References:
        - MuBench: https://arxiv.org/abs/2506.19468

    Example:
        >>> agreement("ABCD", "ABDD").mean
        0.75
    """
    return _share(first, second)


def _share(first: Answers, second: Answers) -> Interval:
    same = [one is not None and one == other for one, other in zip(first, second, strict=True)]
    return exact_share(sum(same), len(same))


def relative_agreement(first: Answers, second: Answers, gold: Sequence[Hashable]) -> float | None:
    """Rel-MLC: MLC over the mean accuracy of the two languages.

    The equation as a review of the paper states it; we could not read the paper's own.

    Returns:
        None where neither language is ever right.
    """
    right = (accuracy(first, gold).mean + accuracy(second, gold).mean) / 2
    return agreement(first, second).mean / right if right else None


def subset_agreement(answers: Mapping[str, Answers], size: int) -> list[float]:
    """Of each item, the share of subsets of so many languages whose answers are all the same.

    Counted, not enumerated: c equal answers make c over `size` agreeing subsets.

    Args:
        answers: A language -> its answers, item by item.
        size: Languages of a subset, from 2 to all.

    Raises:
        ValueError: There are no subsets of this size.
    """
    if not 2 <= size <= len(answers):
        raise ValueError(f"subsets of {len(answers)} languages have 2 to {len(answers)}, not {size}")
    shares = []
    for item in zip(*answers.values(), strict=True):
        counts = Counter(answer for answer in item if answer is not None)
        agreeing = sum(comb(count, size) for count in counts.values())
        shares.append(agreeing / comb(len(answers), size))
    return shares


def seaeval_consistency(
    answers: Mapping[str, Answers], resamples: int = RESAMPLES, seed: int = 0
) -> dict[int, Interval]:
    """SeaEval's consistency: the mean over items of `subset_agreement`, for each size of subsets.

    The mean over subsets of the share of items that agree is the same number.

    References:
        - SeaEval, which reports size 3: https://arxiv.org/abs/2309.04766

    Returns:
        A size, from 2 to the number of languages -> consistency.
    """
    sizes = range(2, len(answers) + 1)
    found = bootstrap({str(size): subset_agreement(answers, size) for size in sizes}, resamples, seed)
    return {size: found[str(size)] for size in sizes}


def ac3(accuracy: float, consistency: float) -> float:
    """SeaEval's AC3: the harmonic mean of accuracy (the mean over languages) and consistency.

    Example:
        >>> ac3(0.75, 0.5)
        0.6
    """
    total = accuracy + consistency
    return 2 * accuracy * consistency / total if total else 0.0


def calm_consistency(
    answers: Mapping[str, Sequence[str | None]], resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """CALM's consistency: the mean over questions of the share of agreeing pairs of languages.

    Unlike SeaEval's with subsets of 2, languages without an answer are left out of a question; see
    `lingualign.rewards.votes.vote_consistency`.
    """
    shares = [vote_consistency(item) for item in zip(*answers.values(), strict=True)]
    return bootstrap({MEAN: shares}, resamples, seed)[MEAN]


def cohens_kappa(
    first: Answers, second: Answers, resamples: int = RESAMPLES, seed: int = 0
) -> Interval | None:
    """Cohen's kappa: how much of the agreement that chance leaves open is reached.

        kappa = (p_o - p_e) / (1 - p_e)

    p_o is the share of items with the same choice, p_e what two languages would agree on that choose as often
    as these do, but independently (Cohen 1960, https://doi.org/10.1177/001316446002000104). Items that a
    language did not answer are left out.

    Returns:
        Its interval by bootstrap over items. None where it is not defined: no items, or all choices the same.
    """
    both = [pair for pair in zip(first, second, strict=True) if None not in pair]
    labels = {label: place for place, label in enumerate(dict.fromkeys(x for pair in both for x in pair))}
    if len(labels) < 2:
        return None
    table = np.zeros((len(labels), len(labels)))
    for one, other in both:
        table[labels[one], labels[other]] += 1
    n = len(both)
    # Drawing items with replacement is drawing counts of the table's cells.
    drawn = np.random.default_rng(seed).multinomial(n, table.ravel() / n, size=resamples)
    low, high = np.nanquantile(_kappa(drawn.reshape(-1, *table.shape)), [LEVEL / 2, 1 - LEVEL / 2])
    return Interval(float(_kappa(table[None])[0]), float(low), float(high), n)


def _kappa(tables: np.ndarray) -> np.ndarray:
    """Kappa of each table [tables, labels, labels] of counts; NaN where it is not defined."""
    shares = tables / tables.sum(axis=(1, 2), keepdims=True)
    observed = np.trace(shares, axis1=1, axis2=2)
    expected = (shares.sum(axis=1) * shares.sum(axis=2)).sum(axis=1)
    open_ = 1 - expected
    return np.divide(observed - expected, open_, out=np.full_like(open_, np.nan), where=open_ > 0)
