"""Word alignment: links between the words of two sentences from their vectors, and how right they are.

References:
    - SimAlign: https://arxiv.org/abs/2004.08728
    - Alignment error rate: Och and Ney 2003, https://doi.org/10.1162/089120103321337421
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np

from lingualign.embedders import cosines
from lingualign.errors import InputError
from lingualign.measures.intervals import RESAMPLES, Interval, bootstrap

Link = tuple[int, int]  # (word of the source, word of the target), from 0
Links = AbstractSet[Link]


def parse_links(line: str, place: str, one_based: bool = False) -> tuple[set[Link], set[Link]]:
    """Reads the links of one sentence: `0-0 1-2` sure, `1p2` possible.

    Args:
        line: Links with white space between them.
        place: Where the line is, for error messages: the file and the number.
        one_based: Words are counted from 1.

    Returns:
        Sure links, and possible ones with the sure ones among them, counted from 0.

    Raises:
        InputError: Something is not a link.
    """
    sure, possible = set(), set()
    for word in line.split():
        mark = "p" if "p" in word else "-"
        try:
            source, target = (int(number) - one_based for number in word.split(mark))
        except ValueError:
            source = target = -1
        if min(source, target) < 0:
            first = 1 if one_based else 0
            raise InputError(
                f"{place}: {word!r} is not a link between words that are counted from {first}.",
                "Write SOURCE-TARGET for a sure link, SOURCEpTARGET for a possible one.",
            )
        possible.add((source, target))
        if mark == "-":
            sure.add((source, target))
    return sure, possible


@dataclass(frozen=True)
class AlignmentScores:
    """How right links are; see `score_links`.

    Attributes:
        aer: Alignment error rate, lower is better; None without any link, proposed or sure.
        precision: None where no links are proposed.
        recall: None where no links are sure.
    """

    aer: Interval | None
    precision: Interval | None
    recall: Interval | None


def score_links(
    proposed: Sequence[Links],
    sure: Sequence[Links],
    possible: Sequence[Links],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> AlignmentScores:
    """Alignment error rate, precision and recall of proposed links A over a corpus.

        AER = 1 - (|A ∩ S| + |A ∩ P|) / (|A| + |S|)    precision = |A ∩ P| / |A|    recall = |A ∩ S| / |S|

    Counts are summed over sentences.

    Args:
        proposed: A of each sentence.
        sure: S of each sentence.
        possible: P of each sentence; sure links count as possible whether they are in it or not.
        resamples: Of the bootstrap over sentences.
        seed: Of the bootstrap.
    """
    right: list[tuple[int, float]] = []  # (sentence, 1 or 0): each link of A, in P?
    found: list[tuple[int, float]] = []  # each link of S, in A?
    for sentence, (links, certain, maybe) in enumerate(zip(proposed, sure, possible, strict=True)):
        right += [(sentence, float(link in certain or link in maybe)) for link in links]
        found += [(sentence, float(link in links)) for link in certain]

    def mean(items: Sequence[tuple[int, float]]) -> Interval | None:
        if not items:
            return None
        sentences, values = zip(*items, strict=True)
        return bootstrap({"links": values}, resamples, seed, {"links": sentences})["links"]

    # The error rate is the share of misses among both kinds.
    return AlignmentScores(mean([(s, 1 - hit) for s, hit in right + found]), mean(right), mean(found))


def similarities(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Similarities (cos + 1) / 2 of words in [0, 1], [source words, target words], from their vectors."""
    return (cosines(source, target) + 1) / 2


def distorted(similarity: np.ndarray, ratio: float = 0.5) -> np.ndarray:
    """Makes words at different relative positions x and y in [0, 1] less alike, by 1 - ratio (x - y)^2.

    A table with one row or column stays as it is.
    """
    if min(similarity.shape) < 2:
        return similarity
    x, y = (np.linspace(0, 1, length) for length in similarity.shape)
    return similarity * (1 - ratio * (x[:, None] - y) ** 2)


def argmax_links(similarity: np.ndarray) -> set[Link]:
    """`inter`: words that are each other's nearest; of equals the first."""
    return _links(_mutual(similarity))


def itermax_links(similarity: np.ndarray, alpha: float = 0.9, rounds: int = 2) -> set[Link]:
    """`itermax`: `inter`, and again among what is left.

    In each further round similarities count in full between two words without a link, times alpha where one
    has a link, and not at all where both do. It ends where no word is left on a side.

    Args:
        similarity: [source words, target words]. Where a side has two words or less, one round is made.
        alpha: Discount for a word that has a link.
        rounds: Of which `inter` is the first.
    """
    linked = _mutual(similarity)
    for _ in range(rounds - 1 if min(similarity.shape) > 2 else 0):
        free_source, free_target = ~linked.any(axis=1, keepdims=True), ~linked.any(axis=0)
        if not (free_source.any() and free_target.any()):
            break
        either = free_source | free_target
        discount = np.where(free_source & free_target, 1.0, alpha * either)
        linked = linked | (_mutual(similarity * discount) & either)
    return _links(linked)


def matching_links(similarity: np.ndarray) -> set[Link]:
    """`mwmf`: the matching with most links, and of those one with the largest sum of similarities.

    Pairs with similarity 0 are no links.
    """
    from scipy.optimize import linear_sum_assignment

    # A link counts more than all similarities together.
    possible = similarity > 0
    weight = similarity + possible * (1 + min(similarity.shape) * similarity.max(initial=0.0))
    rows, columns = linear_sum_assignment(weight, maximize=True)
    return {
        (int(row), int(column)) for row, column in zip(rows, columns, strict=True) if possible[row, column]
    }


MATCHERS = {"inter": argmax_links, "itermax": itermax_links, "mwmf": matching_links}


def _mutual(similarity: np.ndarray) -> np.ndarray:
    """bool [source words, target words]: each other's argmax."""
    rows, columns = (np.arange(length) for length in similarity.shape)
    forward, backward = np.zeros((2, *similarity.shape), dtype=bool)
    forward[rows, similarity.argmax(axis=1)] = True
    backward[similarity.argmax(axis=0), columns] = True
    return forward & backward


def _links(linked: np.ndarray) -> set[Link]:
    return {(int(source), int(target)) for source, target in np.argwhere(linked)}
