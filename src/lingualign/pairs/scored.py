"""Pairs among the scored candidates of a prompt: filters, length control, then a choice.

What is common to `best_worst`, `random_pair` and `ranked`; they differ in which two they choose.

References:
    - Implicit Cross-Lingual Rewarding: https://arxiv.org/abs/2503.04647, which has none of the filters, and
      an outlier bound in nats where ours is a quantile.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from lingualign.config import LengthControlConfig, PairsConfig, RunConfig
from lingualign.errors import InputError
from lingualign.pairs.base import (
    Key,
    PairingReport,
    PairingResult,
    Side,
    Sources,
    make_pair,
    told_by_language,
)
from lingualign.pairs.filters import Candidate, Identifier, make_filters
from lingualign.pairs.length_control import solve_penalty
from lingualign.prompts import Prompt
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


def scored_pairs(sources: Sources, choose: Choose) -> PairingResult:
    """Makes pairs, language by language, of the scored candidates of each prompt.

    Everything is joined by prompt id, language and index, so the order of rows does not matter.

    Args:
        sources: Responses and their scores.
        choose: Which of a prompt's candidates make pairs.

    Returns:
        Pairs in the order of the prompts, a language after the other.

    Raises:
        InputError: A response or a score is there twice, a response has no score, or a score is not finite.
    """
    joined = join_scores(sources.responses, sources.scores, sources.config.length_control)
    result = PairingResult()
    for language in sources.languages:
        prompts = sources.prompts.by_language[language]
        by_prompt = {p.id: joined[p.id, language] for p in prompts if (p.id, language) in joined}
        pairs, report = _pair_language(prompts, by_prompt, sources.config, sources.identifier, choose)
        result.pairs.extend(pairs)
        result.report[language] = report
    return result


def join_scores(
    responses: Iterable[Response], scores: Iterable[Score], config: LengthControlConfig
) -> dict[Key, list[Candidate]]:
    """The candidates of each (prompt id, language) in order of their index."""
    rewards: dict[tuple[str, str, int], float | None] = {}
    for score in scores:
        key = (score["prompt_id"], score["language"], score["index"])
        if key in rewards:
            raise InputError(f"scores: response {key[2]} to prompt {key[0]} in {key[1]} is scored twice.")
        if score["reward"] is not None and not math.isfinite(score["reward"]):
            raise InputError(
                f"scores: the reward of response {key[2]} to prompt {key[0]} in {key[1]} is not finite."
            )
        rewards[key] = score["reward"]
    found: dict[tuple[str, str, int], Candidate] = {}
    for response in responses:
        key = (response["prompt_id"], response["language"], response["index"])
        if key in found:
            raise InputError(f"responses: response {key[2]} to prompt {key[0]} in {key[1]} is there twice.")
        if key not in rewards:
            raise InputError(
                f"scores: response {key[2]} to prompt {key[0]} in {key[1]} has no score.",
                "Score these responses first: scores of other responses do not fit them.",
            )
        found[key] = Candidate(response, rewards[key], _length(response, config))
    joined: dict[Key, list[Candidate]] = {}
    for prompt_id, language, index in sorted(found):
        joined.setdefault((prompt_id, language), []).append(found[prompt_id, language, index])
    return joined


def _length(response: Response, config: LengthControlConfig) -> int:
    if config.unit == "tokens":
        return response["num_tokens"]
    text = response["text"]
    return len(text) if config.unit == "chars" else len(text.encode())


def _pair_language(
    prompts: Sequence[Prompt],
    by_prompt: dict[str, list[Candidate]],
    config: PairsConfig,
    identifier: Identifier,
    choose: Choose,
) -> tuple[list[Pair], PairingReport]:
    """Filters, length control and choice for one language."""
    filters = make_filters(config, identifier)
    removed, dropped = Counter(dict.fromkeys(filters, 0)), Counter[str]()
    left: dict[str, list[Candidate]] = {}
    astray: dict[str, Candidate] = {}  # to be rejected, whatever the reward says
    for prompt_id, candidates in by_prompt.items():
        kept = candidates
        for name, keep in filters.items():
            before, kept = kept, keep(kept)
            removed[name] += len(before) - len(kept)
            if name == "language" and config.wrong_language == "reject" and 0 < len(kept) < len(before):
                gone = [candidate for candidate in before if candidate not in kept]
                astray[prompt_id] = min(gone, key=_reward)
        if len(kept) > 1 or prompt_id in astray:
            left[prompt_id] = kept
        else:
            dropped["too few"] += 1
    compared = [kept for prompt_id, kept in left.items() if prompt_id not in astray]
    control = solve_penalty(
        [[_reward(candidate) for candidate in kept] for kept in compared],
        [[candidate.length for candidate in kept] for kept in compared],
        config.length_control.method,
    )

    def controlled(candidate: Candidate) -> float:
        return _reward(candidate) - control.alpha * candidate.length

    bound = _bound([controlled(c) for kept in left.values() for c in kept], config.outlier_quantile)
    pairs: list[Pair] = []
    for prompt in prompts:
        if prompt.id in left:
            kept = left[prompt.id]
            rewards = [controlled(candidate) for candidate in kept]
            lost = astray.get(prompt.id)
            stray = None if lost is None else Side.of(lost.response, controlled(lost))
            made = _make(prompt, kept, rewards, stray, choose, bound, config.min_margin)
            if isinstance(made, str):
                dropped[made] += 1
            else:
                pairs += made
    report = PairingReport(
        prompts=len(by_prompt),
        candidates=sum(map(len, by_prompt.values())),
        removed=dict(removed),
        dropped=dict(dropped),
        length_control=control,
        unit=config.length_control.unit,
        pairs=len(pairs),
        other_language=told_by_language(pairs, identifier),
    )
    return pairs, report


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


def _make(
    prompt: Prompt,
    candidates: Sequence[Candidate],
    rewards: Sequence[float],
    stray: Side | None,
    choose: Choose,
    bound: float,
    min_margin: float,
) -> list[Pair] | str:
    """The pairs of one prompt, or why there is none; a stray side is rejected whatever the rewards say."""
    if stray is not None:
        best = best_within(rewards, bound)
        if best is None:
            return "outliers"
        return [make_pair(prompt, Side.of(candidates[best].response, rewards[best]), stray)]
    choices = choose(candidates, rewards, bound)
    if not choices:
        return "outliers"
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
    if not kept:
        return reasons.most_common(1)[0][0]
    return [
        make_pair(
            prompt,
            Side.of(candidates[chosen].response, rewards[chosen]),
            Side.of(candidates[rejected].response, rewards[rejected]),
            f"/{number}" if len(kept) > 1 else "",
        )
        for number, (chosen, rejected) in enumerate(kept)
    ]
