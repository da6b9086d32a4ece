"""Who says which of two responses is better.

A judge scores each response by itself, as a reward does; of two responses to one prompt the one with the
higher score is better. Which judge it was stands next to every number: the implicit reward is the signal
that the policy was trained on, and a win rate by it says that training worked, not that the answers are
better.
"""

from __future__ import annotations

from lingualign.config import RunConfig
from lingualign.errors import InputError

LABELS = {
    "lab": "the lab's exact judge",
    "implicit": "the starting policy's implicit reward: the signal trained on, not an independent judge",
    "reward-model": "a reward model",
    "server": "a language model",
}


def judge_kind(config: RunConfig) -> str:
    """Which judge measures a run: lab, implicit, reward-model or server.

    Raises:
        InputError: The lab's judge is asked for prompts that are not the lab's.
    """
    from_lab = (config.measures.prompts or config.prompts) == "lab"
    if config.measures.judge == "auto":
        return "lab" if from_lab else "implicit"
    if config.measures.judge == "lab" and not from_lab:
        raise InputError(
            "measures.judge is lab, but the held-out prompts are not the lab's.",
            "The lab's judge can read only the lab's own prompts: choose implicit or reward-model.",
        )
    return config.measures.judge


def judge_label(config: RunConfig) -> str:
    """The judge in words, to stand next to what it says."""
    kind = judge_kind(config)
    name = {"reward-model": config.measures.reward_model, "server": config.measures.server.model}.get(kind)
    return LABELS[kind] + (f" ({name})" if name else "")
