"""Whether a reward can be trusted, from what can be seen before training on it.

Nobody has labels in the target languages, so nothing here proves a reward right. But each of these shows a
reward wrong:

- **agreement** with itself: does it order two candidates alike when it scores them under another context? A
  coin does in half of all pairs.
- **spread against noise**: what two contexts disagree about is noise; a reward that spreads the candidates of
  a prompt no further than its own noise has nothing to say.
- **length correlation**: does it rank by anything but length?
- **alike**: how many prompts have candidates that all say the same, so that there is nothing to choose?
- **accuracy** on labelled pairs of the source language, where there are any: if the reward does not know
  the preferences it was made from, it cannot carry them over.

All but the last are about differences between the candidates of one prompt: what is common to them never
decides a pair.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np

from lingualign.records import Pair, Response, Score
from lingualign.rewards.base import Reward, pair_rewards
from lingualign.rewards.implicit import Context

CHECK_CONTEXT: Mapping[Context, Context] = {
    "source-directive": "target",
    "source": "target",
    "translated": "target",
    "target": "source-directive",
}
"""The second context to score under, to check the first. In the source language the two are the same."""

# A coin agrees with itself in .5 of the pairs. Two noisy readings of one signal that agree in .6 correlate by
# sin(.1 pi) = .31: a third of what they show is signal.
MIN_AGREEMENT = 0.6
MIN_SPREAD_TO_NOISE = 1 / math.sqrt(
    1 - math.sin(0.1 * math.pi)
)  # 1.2: the same limit, in standard deviations
MAX_LENGTH_CORRELATION = 0.7  # half of the variance
MAX_ALIKE = 0.5
MIN_ACCURACY = 0.65

Key = tuple[str, str]  # (language, prompt id)
Values = dict[Key, dict[int, float]]


class _Said(NamedTuple):
    """What is kept of a response: of its text, a hash to tell it from others."""

    length: int
    text: int


@dataclass(frozen=True)
class RewardHealth:
    """What is known about a reward in one language. None: could not be measured.

    Attributes:
        prompts: Prompts with at least two responses.
        alike: Share of them whose responses all have the same text.
        spread: Standard deviation of the reward among the candidates of a prompt, pooled over prompts.
        length_correlation: Correlation of reward and length among the candidates of a prompt, likewise.
        checked: Prompts that were scored under a second context.
        agreement: Share of pairs of candidates, ties apart, that both contexts order alike.
        noise: Standard deviation of a single scoring around what the contexts have in common: that of their
            difference over the square root of 2. Rewards of both contexts are in the same unit.
        accuracy: Share of labelled pairs where the chosen response has the higher reward.
        labelled: Labelled pairs.
        warnings: What is wrong, in sentences.
    """

    prompts: int
    alike: float | None
    spread: float | None
    length_correlation: float | None
    checked: int
    agreement: float | None
    noise: float | None
    accuracy: float | None
    labelled: int
    warnings: list[str]


def reward_health(
    responses: Iterable[Response],
    scores: Iterable[Score],
    check: Iterable[Score] = (),
    accuracy: Mapping[str, tuple[float, int]] | None = None,
    unit: Literal["chars", "tokens", "bytes"] = "chars",
) -> dict[str, RewardHealth]:
    """Examines a reward, a language at a time.

    Rows are joined by prompt id, language and index; what is in one table only is left out.

    Args:
        responses: Candidates.
        scores: Their scores by the reward.
        check: Scores of some of them under `CHECK_CONTEXT`; a sample of prompts will do.
        accuracy: Language -> (accuracy on labelled pairs, their number), from `labelled_accuracy`.
        unit: Of length.

    Returns:
        Language -> health, in the order in which the languages come.
    """
    said: dict[Key, dict[int, _Said]] = {}
    for response in responses:
        one = _Said(_length(response, unit), hash(response["text"]))
        said.setdefault((response["language"], response["prompt_id"]), {})[response["index"]] = one
    first, second = _by_prompt(scores), _by_prompt(check)
    languages = list(dict.fromkeys(language for language, _ in said))
    return {
        language: _examine(
            {key: rows for key, rows in said.items() if key[0] == language},
            first,
            second,
            (accuracy or {}).get(language),
        )
        for language in languages
    }


def labelled_accuracy(reward: Reward, pairs: Sequence[Pair]) -> float:
    """Share of labelled pairs, in the source language, whose chosen response has the higher reward.

    Args:
        reward: It scores the responses to each pair's own prompt.
        pairs: One or more. A tie counts as wrong.
    """
    scored = pair_rewards(reward, pairs)
    return sum(_number(chosen) > _number(rejected) for chosen, rejected in scored) / len(pairs)


def _number(reward: float | None) -> float:
    """A reward to compare by; nothing said is NaN, which is above nothing."""
    return math.nan if reward is None else reward


def _by_prompt(scores: Iterable[Score]) -> Values:
    values: Values = {}
    for score in scores:
        if score["reward"] is not None:
            values.setdefault((score["language"], score["prompt_id"]), {})[score["index"]] = score["reward"]
    return values


def _examine(
    said: Mapping[Key, Mapping[int, _Said]],
    first: Values,
    second: Values,
    accuracy: tuple[float, int] | None,
) -> RewardHealth:
    """The health of a reward in one language."""
    rewards, lengths, signals, differences = [], [], [], []
    prompts = alike = checked = agreeing = compared = 0
    for key, rows in said.items():
        scored = [index for index in sorted(rows) if index in first.get(key, {})]
        if len(scored) < 2:
            continue
        prompts += 1
        alike += len({rows[index].text for index in scored}) == 1
        rewards.append(_centred([first[key][index] for index in scored]))
        lengths.append(_centred([rows[index].length for index in scored]))
        both = [index for index in scored if index in second.get(key, {})]
        if len(both) < 2:
            continue
        checked += 1
        here, there = [first[key][i] for i in both], [second[key][i] for i in both]
        differences.append(_centred(np.subtract(here, there)))
        signals.append(_centred(here))
        for a, b in combinations(range(len(both)), 2):
            product = (here[a] - here[b]) * (there[a] - there[b])
            compared += product != 0
            agreeing += product > 0
    noise = _deviation(differences)
    health = RewardHealth(
        prompts=prompts,
        alike=alike / prompts if prompts else None,
        spread=_deviation(rewards),
        length_correlation=_correlation(rewards, lengths),
        checked=checked,
        agreement=agreeing / compared if compared else None,
        noise=None if noise is None else noise / math.sqrt(2),
        accuracy=accuracy[0] if accuracy else None,
        labelled=accuracy[1] if accuracy else 0,
        warnings=[],
    )
    health.warnings.extend(_warnings(health, _deviation(signals)))
    return health


def _warnings(health: RewardHealth, checked_spread: float | None) -> list[str]:
    """What is wrong, in sentences."""
    found = []
    if health.accuracy is not None and health.accuracy < MIN_ACCURACY:
        found.append(
            f"The reward is right on {health.accuracy:.0%} of {health.labelled} labelled pairs (a coin: "
            "50%): it cannot be trusted. Is the reference what the policy was before its preference tuning?"
        )
    if health.agreement is not None and health.agreement < MIN_AGREEMENT:
        found.append(
            f"The reward agrees with itself on {health.agreement:.0%} of the pairs when it scores under "
            "another context (a coin: 50%): its ranking in this language is mostly noise."
        )
    if health.noise and checked_spread is not None and checked_spread < MIN_SPREAD_TO_NOISE * health.noise:
        found.append(
            f"The reward spreads the candidates of a prompt by {checked_spread:.2f}, its noise is "
            f"{health.noise:.2f}: the difference between candidates is hardly more than noise."
        )
    if health.length_correlation is not None and abs(health.length_correlation) > MAX_LENGTH_CORRELATION:
        longer = "longer" if health.length_correlation > 0 else "shorter"
        found.append(
            f"The reward goes with length (correlation {health.length_correlation:+.2f}): without length "
            f"control, training would teach {longer} answers."
        )
    if health.alike is not None and health.alike > MAX_ALIKE:
        found.append(
            f"For {health.alike:.0%} of the prompts all candidates are the same: raise sampling.temperature."
        )
    return found


def _length(response: Response, unit: str) -> int:
    if unit == "tokens":
        return response["num_tokens"]
    return len(response["text"]) if unit == "chars" else len(response["text"].encode())


def _centred(values: Sequence[float] | np.ndarray) -> np.ndarray:
    return np.asarray(values, dtype=np.float64) - np.mean(values)


def _deviation(groups: Sequence[np.ndarray]) -> float | None:
    """Standard deviation within groups of centred values, pooled; each group costs a degree of freedom."""
    freedom = sum(len(group) - 1 for group in groups)
    return math.sqrt(sum(float(group @ group) for group in groups) / freedom) if freedom else None


def _correlation(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> float | None:
    """Pearson correlation within groups of centred values, pooled; None where one of them does not vary."""
    if not a:
        return None
    x, y = np.concatenate(a), np.concatenate(b)
    scale = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / scale if scale > 0 else None
