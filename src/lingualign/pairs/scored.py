"""Pairs among the scored candidates of a prompt: filters, length control, then a choice.

What is common to `best_worst`, `random_pair` and `ranked`; they differ in which two they choose.

References:
    - Implicit Cross-Lingual Rewarding: https://arxiv.org/abs/2503.04647, which has none of the filters, and
      an outlier bound in nats where ours is a quantile.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lingualign.config import LengthControlConfig, RunConfig
from lingualign.errors import InputError
from lingualign.pairs.base import Side, Tally
from lingualign.pairs.filters import Candidate, Filter, make_filters
from lingualign.pairs.length_control import solve_penalty
from lingualign.pairs.sources import Sources
from lingualign.records import Pair, Response, Score

# (candidates, their length-controlled rewards, the reward above which none is chosen) -> positions of chosen
# and rejected, in the order of preference; empty where every candidate lies above the bound
Choose = Callable[[Sequence[Candidate], Sequence[float], float], list[tuple[int, int]]]


def need_two(config: RunConfig) -> None:
    """Checks that a run samples candidates to choose from.

    Raises:
        InputError: One candidate a prompt, or the same one every time.
    """
    if config.sampling.n < 2:
        raise InputError("sampling.n is 1, and pairs are of two candidates.", "Set sampling.n to 2 or more.")
    if config.sampling.temperature == 0:
        raise InputError(
            "sampling.temperature is 0: all candidates of a prompt would be the same.", "Set it near 1."
        )


def scored_pairs(sources: Sources, tally: Tally, choose: Choose) -> Iterator[Pair]:
    """Makes pairs, language by language, of the scored candidates of each prompt.

    Everything is joined by prompt id, language and index, so the order of rows does not matter. Length
    control needs all prompts of a language before the first choice. So a language is read twice: once to
    filter its candidates, of which only numbers are kept, and again for the texts of the pairs.

    Args:
        sources: Responses and their scores.
        tally: Counts what is left out.
        choose: Which of a prompt's candidates make pairs.

    Returns:
        Pairs in the order of the prompts, a language after the other.

    Raises:
        InputError: A response or a score is there twice, a response has no score, or a score is not finite.
    """
    for language in sources.languages:
        yield from _pairs_of_language(sources, tally, language, choose)


def join_scores(
    responses: Sequence[Response], scores: Sequence[Score], config: LengthControlConfig
) -> list[Candidate]:
    """The candidates of one prompt in one language, from its responses and scores in order of index.

    Raises:
        InputError: A response or a score is there twice, a response has no score, or a score is not finite.
    """
    rewards: dict[int, float | None] = {}
    for score in scores:
        name = _name(score)
        if score["index"] in rewards:
            raise InputError(f"scores: {name} is scored twice.")
        if score["reward"] is not None and not math.isfinite(score["reward"]):
            raise InputError(f"scores: the reward of {name} is not finite.")
        rewards[score["index"]] = score["reward"]
    found: dict[int, Candidate] = {}
    for response in responses:
        name, index = _name(response), response["index"]
        if index in found:
            raise InputError(f"responses: {name} is there twice.")
        if index not in rewards:
            raise InputError(
                f"scores: {name} has no score.",
                "Score these responses first: scores of other responses do not fit them.",
            )
        found[index] = Candidate(response, rewards[index], _length(response, config))
    return list(found.values())


def _name(row: Response | Score) -> str:
    return f"response {row['index']} to prompt {row['prompt_id']} in {row['language']}"


def _length(response: Response, config: LengthControlConfig) -> int:
    if config.unit == "tokens":
        return response["num_tokens"]
    text = response["text"]
    return len(text) if config.unit == "chars" else len(text.encode())


class _Left:
    """The candidates of one language that the filters left, by prompt: 33 bytes each, without their texts."""

    def __init__(self) -> None:
        self.index, self.length, self.reward = array("q"), array("q"), array("d")
        self.decided = array("b")  # whether its language is, where the prompt has a stray
        self.where: dict[str, slice] = {}
        self.strays: dict[str, _Stray] = {}

    def add(self, prompt_id: str, kept: Sequence[Candidate], decided: Sequence[bool]) -> None:
        """Takes what is left of one prompt."""
        start = len(self.index)
        self.index.extend(candidate.response["index"] for candidate in kept)
        self.length.extend(candidate.length for candidate in kept)
        self.reward.extend(map(_reward, kept))
        self.decided.extend(decided)
        self.where[prompt_id] = slice(start, len(self.index))


@dataclass(frozen=True)
class _Stray:
    """A candidate in another language, to be rejected whatever its reward."""

    index: int
    reward: float
    length: int


def _pairs_of_language(sources: Sources, tally: Tally, language: str, choose: Choose) -> Iterator[Pair]:
    """Filters, length control and choice for one language."""
    config, left = sources.config, _sift(sources, tally, language)
    compared = [place for prompt_id, place in left.where.items() if prompt_id not in left.strays]
    control = solve_penalty(
        [left.reward[place] for place in compared],
        [left.length[place] for place in compared],
        config.length_control.method,
    )
    tally.controlled(language, control)
    controlled = array(
        "d",
        (reward - control.alpha * length for reward, length in zip(left.reward, left.length, strict=True)),
    )
    bound = _bound(controlled, config.outlier_quantile)
    told = config.wrong_language != "keep"  # then those that are left are in one language, or in none
    for prompt, responses in sources.answers(language):
        place = left.where.get(prompt.id)
        if place is None:
            continue
        by_index = {response["index"]: response for response in responses}
        candidates = [
            Candidate(by_index[index], reward, length)
            for index, reward, length in zip(
                left.index[place], left.reward[place], left.length[place], strict=True
            )
        ]
        rewards = controlled[place].tolist()
        stray = left.strays.get(prompt.id)
        if stray is None:
            made = _choices(candidates, rewards, choose, bound, config.min_margin)
            if isinstance(made, str):
                tally.drop(prompt, made)
                continue
            for number, (chosen, rejected) in enumerate(made):
                yield from tally.pairs(
                    prompt,
                    Side.of(candidates[chosen].response, rewards[chosen]),
                    Side.of(candidates[rejected].response, rewards[rejected]),
                    f"/{number}" if len(made) > 1 else "",
                    apart=False if told else None,
                )
            continue
        best = best_within(rewards, bound)
        if best is None:
            tally.drop(prompt, "outliers")
            continue
        yield from tally.pairs(
            prompt,
            Side.of(candidates[best].response, rewards[best]),
            Side.of(by_index[stray.index], stray.reward - control.alpha * stray.length),
            apart=bool(left.decided[place][best]),
        )


def _sift(sources: Sources, tally: Tally, language: str) -> _Left:
    """Filters the candidates of a language."""
    config, identify = sources.config, sources.identifier.identify
    filters, left = make_filters(config, sources.identifier), _Left()
    for prompt, responses, scores in sources.scored(language):
        candidates = join_scores(responses, scores, config.length_control)
        kept, removed, gone = _filtered(filters, candidates)
        tally.saw(prompt, len(candidates), removed)
        decided = [False] * len(kept)
        if config.wrong_language == "reject" and kept and gone:
            worst = min(gone, key=_reward)
            left.strays[prompt.id] = _Stray(worst.response["index"], _reward(worst), worst.length)
            decided = [identify(candidate.response["text"]) is not None for candidate in kept]
        if len(kept) > 1 or prompt.id in left.strays:
            left.add(prompt.id, kept, decided)
        else:
            tally.drop(prompt, "too few")
    return left


def _filtered(
    filters: Mapping[str, Filter], candidates: list[Candidate]
) -> tuple[list[Candidate], dict[str, int], list[Candidate]]:
    """The candidates that are left, how many each filter removed, and those that are in another language."""
    kept, removed, gone = candidates, {}, list[Candidate]()
    for name, keep in filters.items():
        before, kept = kept, keep(kept)
        removed[name] = len(before) - len(kept)
        if name == "language" and removed[name]:
            gone = [candidate for candidate in before if candidate not in kept]
    return kept, removed, gone


def _bound(rewards: Sequence[float], quantile: float) -> float:
    """The reward above which a candidate cannot be chosen."""
    return float(np.quantile(rewards, quantile)) if rewards and quantile < 1 else float("inf")


def best_within(rewards: Sequence[float], bound: float) -> int | None:
    """Position of the best reward not above a bound, the first of equals; None where all lie above it."""
    eligible = [position for position, reward in enumerate(rewards) if reward <= bound]
    return max(eligible, key=lambda position: rewards[position], default=None)


def _reward(candidate: Candidate) -> float:
    """The reward of a candidate that has one: the filters removed the others."""
    assert candidate.reward is not None
    return candidate.reward


def _choices(
    candidates: Sequence[Candidate], rewards: Sequence[float], choose: Choose, bound: float, min_margin: float
) -> list[tuple[int, int]] | str:
    """Positions of chosen and rejected of the pairs of one prompt, or why there is none."""
    choices = choose(candidates, rewards, bound)
    if not choices:
        return "outliers" if best_within(rewards, bound) is None else "no choice"
    reasons, kept = Counter[str](), []
    for chosen, rejected in choices:
        margin = rewards[chosen] - rewards[rejected]
        if margin <= 0:
            reasons["tie"] += 1
        elif candidates[chosen].response["text"] == candidates[rejected].response["text"]:
            reasons["identical"] += 1
        elif margin < min_margin:
            reasons["margin"] += 1
        else:
            kept.append((chosen, rejected))
    return kept or reasons.most_common(1)[0][0]
