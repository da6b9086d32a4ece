"""English preferences, labelled by the judge: what the aligned model is made with, and what its health is
checked on."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from random import Random

from lingualign.lab.judge import judge
from lingualign.lab.prompts import tasks
from lingualign.lab.responses import draw_response
from lingualign.lab.tasks import Task
from lingualign.pairs.base import Side, make_pair
from lingualign.prompts import Prompt
from lingualign.records import Message, Pair


def preference(
    prompt_id: str, prompt: str, responses: Sequence[str], finished: Sequence[bool]
) -> Pair | None:
    """The best against the worst of several English responses, None if the judge finds all alike."""
    rewards = [judge(prompt_id, "en", text).reward for text in responses]
    best, worst = rewards.index(max(rewards)), rewards.index(min(rewards))
    if rewards[best] == rewards[worst]:
        return None
    asked = Prompt(prompt_id, "en", (Message(role="user", content=prompt),))
    chosen, rejected = (Side(responses[i], rewards[i], i, finished[i]) for i in (best, worst))
    return make_pair(asked, chosen, rejected)


def english_preferences(n: int, seed: int = 0) -> list[Pair]:
    """`n` labelled English pairs whose responses no model wrote, on training prompts."""
    rng = Random(f"preferences/{seed}")
    pairs: list[Pair] = []
    for task in islice(tasks("train", seed=1), 4 * n):
        responses = [draw_response(task, "en", rng) for _ in range(2)]
        pair = preference(task.id, task.prompt("en"), responses, [True, True])
        if pair is not None:
            pairs.append(pair)
        if len(pairs) == n:
            break
    return pairs


def labelled_prompts(prompt_ids: Sequence[str], draws: int = 4) -> list[Pair]:
    """A labelled English pair for each prompt: the best and the worst of a few answers that no model wrote.

    Args:
        prompt_ids: Of the lab. A pair depends on its prompt alone.
        draws: Answers to choose from.

    Returns:
        Pairs in order, without the prompts whose answers the judge finds all alike.
    """
    pairs = []
    for prompt_id in prompt_ids:
        rng, task = Random(f"labelled/{prompt_id}"), Task.from_id(prompt_id)
        responses = [draw_response(task, "en", rng) for _ in range(draws)]
        pairs.append(preference(prompt_id, task.prompt("en"), responses, [True] * draws))
    return [pair for pair in pairs if pair is not None]
