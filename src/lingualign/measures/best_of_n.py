"""Best-of-n: what a reward is worth when it only chooses among samples, before anything is trained on it.

The policy samples n responses to a prompt, and the one with the highest reward is taken. Reuse Your Rewards
(https://arxiv.org/abs/2404.12318) reranks 64 with a reward model of another language.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from lingualign.records import Response, Score


def best_of_n(responses: Iterable[Response], scores: Iterable[Score]) -> list[Response]:
    """The response with the highest reward for each prompt and language.

    Rows are joined by prompt id, language and index; responses without a score are left out. Of equal rewards
    the lowest index wins. A response that the reward has nothing to say of (None) wins only where it has
    nothing to say of any.

    Returns:
        One response a prompt and language, in the order in which these come.
    """
    rewards = {_key(score): _rank_value(score["reward"]) for score in scores}
    best: dict[tuple[str, str], tuple[float, int, Response]] = {}
    for response in responses:
        if _key(response) not in rewards:
            continue
        place = response["prompt_id"], response["language"]
        found = rewards[_key(response)], -response["index"], response
        if place not in best or found[:2] > best[place][:2]:
            best[place] = found
    return [response for _, _, response in best.values()]


def expected_best_of_n(rewards: Sequence[float | None], values: Sequence[float]) -> list[float]:
    """What the best of n by one measure is worth by another, for every n up to the samples there are.

    With K samples of a prompt in ascending order of reward, the i-th is the best of n drawn from them without
    replacement in binom(i-1, n-1) of binom(K, n) draws, so that the expected value is

        V_n = sum_i binom(i-1, n-1) / binom(K, n) * v_i ,  i from n to K.

    It is an unbiased estimate of the expected value of the best of n fresh samples (Nakano et al. 2021,
    https://arxiv.org/abs/2112.09332). Equal rewards are broken at random: a tie has the mean of
    its values.

    Args:
        rewards: By which is chosen, of K samples; None is below any number.
        values: Of the same samples by the measure that counts.

    Returns:
        [K]: for n = 1 (the plain mean of the values) to K (the value of the best of all).
    """
    tied: dict[float, list[float]] = {}
    for reward, value in zip(rewards, values, strict=True):
        tied.setdefault(_rank_value(reward), []).append(value)
    ascending = [sum(tied[rank]) / len(tied[rank]) for rank in sorted(tied) for _ in tied[rank]]
    k = len(ascending)
    return [
        sum(math.comb(i, n - 1) / math.comb(k, n) * value for i, value in enumerate(ascending))
        for n in range(1, k + 1)
    ]


def best_of_n_kl_bound(n: int) -> float:
    """Upper bound in nats of the KL divergence of best-of-n from the policy: ln n - (n - 1) / n.

    Once taken for its value (https://arxiv.org/abs/2009.01325), it is a bound, and near the
    value where equal responses are rare (https://arxiv.org/abs/2401.01879).
    """
    return math.log(n) - (n - 1) / n


def _key(row: Response | Score) -> tuple[str, str, int]:
    return row["prompt_id"], row["language"], row["index"]


def _rank_value(reward: float | None) -> float:
    return -math.inf if reward is None else reward
