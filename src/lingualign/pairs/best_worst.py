"""Best against worst: the candidate of a prompt with the highest reward and the one with the lowest.

References:
    - Implicit Cross-Lingual Rewarding: https://arxiv.org/abs/2503.04647, which has none of the filters, and
      an outlier bound in nats where ours is a quantile.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from lingualign.config import LengthControlConfig, PairsConfig
from lingualign.errors import InputError
from lingualign.pairs.filters import Candidate, Identifier, make_filters
from lingualign.pairs.length_control import LengthControl, solve_penalty
from lingualign.prompts import ParallelPrompts, Prompt
from lingualign.records import Message, Pair, Response, Score


@dataclass(frozen=True)
class PairingReport:
    """What became of one language's candidates.

    Attributes:
        prompts: Prompts with at least one response.
        candidates: Their responses.
        removed: Filter -> candidates that it removed: `truncated`, `duplicate`, `language`.
        dropped: Reason -> prompts without a pair: `too few` (less than two candidates left), `outliers`
            (every candidate lies above the bound), `tie` (nothing is better than anything else), `identical`
            (chosen and rejected say the same), `margin` (too small a difference).
        length_control: The penalty, and the length gap over the prompts whose pair it chooses.
        unit: Of length.
        pairs: Pairs made.
        other_language: Pairs whose rejected response is in another language (`wrong_language: reject`).
    """

    prompts: int
    candidates: int
    removed: dict[str, int]
    dropped: dict[str, int]
    length_control: LengthControl
    unit: str
    pairs: int
    other_language: int = 0


@dataclass(frozen=True)
class PairingResult:
    """Pairs of all languages, and a report a language."""

    pairs: list[Pair] = field(default_factory=list)
    report: dict[str, PairingReport] = field(default_factory=dict)


def build_pairs(
    prompts: ParallelPrompts,
    responses: Iterable[Response],
    scores: Iterable[Score],
    config: PairsConfig,
    identifier: Identifier,
) -> PairingResult:
    """Makes at most one pair a prompt and language.

    Everything is joined by prompt id, language and index, so the order of rows does not matter. Of candidates
    with equal rewards the one with the lowest index is taken.

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
    """
    joined = _join(responses, scores, config.length_control)
    result = PairingResult()
    for language in prompts.by_language:
        by_prompt = {i: joined[i, language] for i in prompts.ids if (i, language) in joined}
        pairs, report = _pair_language(prompts.by_language[language], by_prompt, config, identifier)
        result.pairs.extend(pairs)
        result.report[language] = report
    return result


def best_and_worst(rewards: Sequence[float], bound: float = float("inf")) -> tuple[int, int] | None:
    """Positions of the best reward not above a bound, and of the worst; the first of equals.

    Returns:
        (chosen, rejected), or None where every reward lies above the bound.
    """
    eligible = [position for position, reward in enumerate(rewards) if reward <= bound]
    if not eligible:
        return None
    return max(eligible, key=lambda i: rewards[i]), min(range(len(rewards)), key=lambda i: rewards[i])


def _join(
    responses: Iterable[Response], scores: Iterable[Score], config: LengthControlConfig
) -> dict[tuple[str, str], list[Candidate]]:
    """The candidates of each (prompt id, language) in order of their index."""
    rewards: dict[tuple[str, str, int], float] = {}
    for score in scores:
        key = (score["prompt_id"], score["language"], score["index"])
        if key in rewards:
            raise InputError(f"scores: response {key[2]} to prompt {key[0]} in {key[1]} is scored twice.")
        if not math.isfinite(score["reward"]):
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
    joined: dict[tuple[str, str], list[Candidate]] = {}
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
                astray[prompt_id] = min(gone, key=lambda candidate: candidate.reward)
        if len(kept) > 1 or prompt_id in astray:
            left[prompt_id] = kept
        else:
            dropped["too few"] += 1
    compared = [kept for prompt_id, kept in left.items() if prompt_id not in astray]
    control = solve_penalty(
        [[candidate.reward for candidate in kept] for kept in compared],
        [[candidate.length for candidate in kept] for kept in compared],
        config.length_control.method,
    )

    def controlled(candidate: Candidate) -> float:
        return candidate.reward - control.alpha * candidate.length

    bound = _bound([controlled(c) for kept in left.values() for c in kept], config.outlier_quantile)
    pairs, other_language = [], 0
    for prompt in prompts:
        if prompt.id in left:
            pair = _choose(
                prompt, left[prompt.id], astray.get(prompt.id), controlled, bound, config.min_margin
            )
            if isinstance(pair, str):
                dropped[pair] += 1
            else:
                pairs.append(pair)
                other_language += prompt.id in astray
    report = PairingReport(
        prompts=len(by_prompt),
        candidates=sum(map(len, by_prompt.values())),
        removed=dict(removed),
        dropped=dict(dropped),
        length_control=control,
        unit=config.length_control.unit,
        pairs=len(pairs),
        other_language=other_language,
    )
    return pairs, report


def _bound(rewards: Sequence[float], quantile: float) -> float:
    """The reward above which a candidate cannot be chosen."""
    return float(np.quantile(rewards, quantile)) if rewards and quantile < 1 else float("inf")


def _choose(
    prompt: Prompt,
    candidates: Sequence[Candidate],
    astray: Candidate | None,
    controlled: Callable[[Candidate], float],
    bound: float,
    min_margin: float,
) -> Pair | str:
    """The pair of one prompt, or why there is none."""
    choice = best_and_worst(list(map(controlled, candidates)), bound)
    if choice is None:
        return "outliers"
    best, worst = candidates[choice[0]], astray or candidates[choice[1]]
    margin = controlled(best) - controlled(worst)
    if astray is None:
        if margin <= 0:
            return "tie"
        if best.response["text"] == worst.response["text"]:
            return "identical"
        if margin < min_margin:
            return "margin"
    return Pair(
        id=f"{prompt.id}/{prompt.language}",
        language=prompt.language,
        prompt=list(prompt.messages),
        chosen=[Message(role="assistant", content=best.response["text"])],
        rejected=[Message(role="assistant", content=worst.response["text"])],
        chosen_score=controlled(best),
        rejected_score=controlled(worst),
        chosen_index=best.response["index"],
        rejected_index=worst.response["index"],
        chosen_finished=best.response["finish_reason"] == "stop",
        rejected_finished=worst.response["finish_reason"] == "stop",
    )
