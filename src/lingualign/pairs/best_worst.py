"""Best against worst: the candidate of a prompt with the highest reward and the one with the lowest.

References:
    - Implicit Cross-Lingual Rewarding: https://arxiv.org/abs/2503.04647
    - CM-Align: https://arxiv.org/abs/2509.08541
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lingualign.config import PairsConfig, RunConfig, Section
from lingualign.pairs.base import Pairing, PairingResult, all_pairs
from lingualign.pairs.filters import Candidate, Identifier
from lingualign.pairs.scored import best_within, need_two, scored_pairs
from lingualign.pairs.sources import Sources
from lingualign.prompts import ParallelPrompts
from lingualign.records import Response, Score

READS = frozenset({"responses", "scores"})


class Settings(Section):
    """There is nothing to set."""


def check(settings: Settings, config: RunConfig) -> None:
    """Checks a run with these pairs; see `lingualign.pairs.base`."""
    need_two(config)


def make(settings: Settings) -> Pairing:
    """Makes the pairing; see `lingualign.pairs.base`."""
    return lambda sources, tally: scored_pairs(sources, tally, _choose)


def best_and_worst(rewards: Sequence[float], bound: float = float("inf")) -> tuple[int, int] | None:
    """Positions of the best reward not above a bound, and of the worst; the first of equals.

    Returns:
        (chosen, rejected), or None where every reward lies above the bound.
    """
    best = best_within(rewards, bound)
    return None if best is None else (best, min(range(len(rewards)), key=lambda i: rewards[i]))


def _choose(candidates: Sequence[Candidate], rewards: Sequence[float], bound: float) -> list[tuple[int, int]]:
    choice = best_and_worst(rewards, bound)
    return [] if choice is None else [choice]


def build_pairs(
    prompts: ParallelPrompts,
    responses: Iterable[Response],
    scores: Iterable[Score],
    config: PairsConfig,
    identifier: Identifier,
) -> PairingResult:
    """Makes at most one pair a prompt and language, the best candidate against the worst.

    Args:
        prompts: The prompts that were answered, in every language that is to be paired.
        responses: Candidates of all of them.
        scores: A score for each response; others are not looked at.
        config: Length control and filters.
        identifier: Tells responses in the wrong language.

    Returns:
        Pairs in the order of `prompts`, a language after the other.

    Raises:
        InputError: A response or a score is there twice, a response has no score, or a score is not finite.

    Example:
        >>> config = load_config("icr", ["languages=en,sw"])
        >>> identifier = LanguageIdentifier(config.languages)
        >>> result = build_pairs(prompts, responses, scores, config.pairs, identifier)
        >>> result.pairs[0]["chosen"], result.report["sw"].removed
    """
    # Every language given is to be paired, so which of them is the source makes no difference.
    sources = Sources(prompts, "", config, identifier, responses=list(responses), scores=list(scores))
    return all_pairs(make(Settings()), sources)
