"""Any two candidates of a prompt, the one with the higher reward chosen: one pair, drawn at random.

More of the rewards' range is seen than by the best and the worst alone, and outliers weigh less.

References:
    - LaCoMSA (EACL 2026), whose code keeps one random ordered pair a question
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

from lingualign.config import RunConfig, Section
from lingualign.pairs.base import Pairing, Tally
from lingualign.pairs.filters import Candidate
from lingualign.pairs.scored import need_two, scored_pairs
from lingualign.pairs.sources import Sources
from lingualign.records import Pair

READS = frozenset({"responses", "scores"})


class Settings(Section):
    """There is nothing to set."""


def check(settings: Settings, config: RunConfig) -> None:
    """Checks a run with these pairs; see `lingualign.pairs.base`."""
    need_two(config)


def make(settings: Settings) -> Pairing:
    """Makes the pairing; see `lingualign.pairs.base`."""

    def pair(sources: Sources, tally: Tally) -> Iterator[Pair]:
        def choose(
            candidates: Sequence[Candidate], rewards: Sequence[float], bound: float
        ) -> list[tuple[int, int]]:
            pairs = ordered_pairs(rewards, bound)
            one = candidates[0].response
            # Equal rewards make no pair: with nothing else there, the tie is what is reported.
            decided = [(a, b) for a, b in pairs if rewards[a] > rewards[b]] or pairs
            return [sources.draw(one["prompt_id"], one["language"]).choice(decided)] if decided else []

        return scored_pairs(sources, tally, choose)

    return pair


def ordered_pairs(rewards: Sequence[float], bound: float = float("inf")) -> list[tuple[int, int]]:
    """All pairs of positions, the higher reward first, of equals the lower position; by rank.

    Args:
        rewards: Of the candidates.
        bound: A candidate above it is not the first of a pair.
    """
    ranked = sorted(range(len(rewards)), key=lambda position: (-rewards[position], position))
    return [(a, b) for a, b in combinations(ranked, 2) if rewards[a] <= bound]
