"""Which pairs the browser gets: a few of each kind in each language, and chance for the rest.

A kind is a reason to look at a pair. The kinds take turns, so that as many are drawn of one as of another
until there is no more room, or none left.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from random import Random

import numpy as np

CERTAIN, UNCERTAIN, CONTEXTS, AGAINST, CHANCE = "certain", "uncertain", "contexts", "against", "chance"
MOST = {CERTAIN: 12, UNCERTAIN: 12, CONTEXTS: 12, AGAINST: 12, CHANCE: 48}
"""Most pairs of each kind in a language and an iteration."""

# What the components of a score are called that can be held against the reward: the same log-ratio, read
# under another context. Other components are parts of the reward itself (the similarity of `consistency`, the
# cross-entropy of `translation`) or the same for all candidates of a prompt (the vote share of `votes`, the
# weight of `agreement`); `random` has none.
COMPARABLE = "log_ratio:"


def contexts_of(scores: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The difference that each further context sees between chosen and rejected.

    Args:
        scores: From `read_scores`.

    Returns:
        Context -> float64 [pairs], chosen less rejected; NaN where it has not read both.
    """
    return {
        name.removeprefix(COMPARABLE): both[:, 0] - both[:, 1]
        for name, both in scores.items()
        if name.startswith(COMPARABLE)
    }


def disagreement(reward: np.ndarray, other: np.ndarray) -> np.ndarray:
    """How far another context sees a pair the other way round than the reward does.

    Args:
        reward: Chosen less rejected under the reward's own context [pairs], without length control, which
            the other context has not either.
        other: The same under another context.

    Returns:
        The other context's difference without its sign [pairs]; 0 where both order the responses alike, one
        of them has a tie, or it is not known.
    """
    return np.where(reward * other < 0, np.abs(other), 0.0)


def kinds(
    margins: np.ndarray, disagreements: Mapping[str, np.ndarray], rows: np.ndarray, draw: Random
) -> dict[str, list[int]]:
    """The pairs of one language by kind, the first of each kind first.

    Args:
        margins: Of all pairs [pairs].
        disagreements: Context -> from `disagreement` [pairs].
        rows: Those of the language.
        draw: Of chance.

    Returns:
        Kind -> rows, at most `MOST` of them. Where all margins are the same, no pair is more certain than
        another and only chance is left.
    """
    found: dict[str, list[int]] = {}
    known = rows[np.isfinite(margins[rows])]
    own = margins[known]
    if len(own) and own.min() < own.max():
        found[CERTAIN] = _first(known, -own, CERTAIN)
        found[UNCERTAIN] = _first(known, np.abs(own), UNCERTAIN)
    if disagreements:
        most = np.max([far[rows] for far in disagreements.values()], axis=0)
        found[CONTEXTS] = _first(rows[most > 0], -most[most > 0], CONTEXTS)
    found[AGAINST] = _first(known[own < 0], own[own < 0], AGAINST)
    taken = {row for drawn in found.values() for row in drawn}
    rest = [row for row in rows.tolist() if row not in taken]
    found[CHANCE] = draw.sample(rest, min(len(rest), MOST[CHANCE]))
    return found


def _first(rows: np.ndarray, order: np.ndarray, kind: str) -> list[int]:
    """The rows with the smallest values, in their order."""
    first: list[int] = rows[np.argsort(order, kind="stable")[: MOST[kind]]].tolist()
    return first


def in_turn(found: Mapping[str, list[int]]) -> Iterator[tuple[str, int]]:
    """The kinds taking turns: (kind, row). A row of several kinds comes several times."""
    for turn in range(max(map(len, found.values()), default=0)):
        for kind, rows in found.items():
            if turn < len(rows):
                yield kind, rows[turn]
