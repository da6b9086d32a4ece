"""How many prompts a run has and how long they are: counted where they are there, else as the user says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lingualign.config import RunConfig
from lingualign.errors import InputError
from lingualign.pipeline import labelled
from lingualign.pipeline.inputs import LAB_PROMPTS, all_prompts, heldout_from_lab, prompts_from_lab
from lingualign.planning.work import Counts

if TYPE_CHECKING:
    from lingualign.prompts import ChatFormat, ParallelPrompts

PROMPT_TOKENS = 200.0  # of a prompt with its template, where nobody counted: UltraFeedback's have 214 (ours)
RESPONSE_SHARE = 0.5  # of the length limit, where nobody says how long responses are (ours)
COUNTED = 500  # prompts of a language whose tokens are counted
SOME = 50  # labelled pairs whose tokens are counted


@dataclass(frozen=True)
class Said:
    """What the user says of the data; None where nothing.

    Attributes:
        prompts: A language and iteration.
        prompt_tokens: Of a prompt, mean.
        response_tokens: Of a response, mean.
    """

    prompts: int | None = None
    prompt_tokens: float | None = None
    response_tokens: float | None = None


class PromptTokens:
    """Tokens of prompts, counted once a language, in a sample where there are many."""

    def __init__(self, chat: ChatFormat) -> None:
        self._chat = chat
        self._counts: dict[tuple[int, str], list[int]] = {}

    def mean(self, prompts: ParallelPrompts, language: str) -> float:
        """Of a prompt in a language."""
        return float(np.mean(self._of(prompts, language)))

    def longest(self, prompts: ParallelPrompts) -> int:
        """Of the prompt that has most, in any language."""
        return max(max(self._of(prompts, language)) for language in prompts.by_language)

    def _of(self, prompts: ParallelPrompts, language: str) -> list[int]:
        key = id(prompts), language
        if key not in self._counts:
            asked = prompts.by_language[language]
            some = asked[:: max(1, len(asked) // COUNTED)]
            self._counts[key] = [len(self._chat.prompt_ids(prompt.messages)) for prompt in some]
        return self._counts[key]


def count(config: RunConfig, said: Said) -> tuple[Counts, list[str]]:
    """The counts of a run, and what was assumed for them.

    Raises:
        InputError: Neither are the prompts there, nor does anybody say how many they will be; or a number is
            not above zero.
    """
    for option, value in (
        ("--prompts", said.prompts),
        ("--prompt-tokens", said.prompt_tokens),
        ("--response-tokens", said.response_tokens),
    ):
        if value is not None and not value > 0:
            raise InputError(f"{option} {value:g}: it has to be above zero.")
    prompts, chat = _prompts(config), _chat(config)
    training, heldout, assumed = _numbers(config, said, prompts)
    tokens, longest = PROMPT_TOKENS, 2 * PROMPT_TOKENS
    if said.prompt_tokens is not None:
        tokens, longest = said.prompt_tokens, 2 * said.prompt_tokens
        assumed.append(f"prompts of {tokens:g} tokens, as --prompt-tokens says")
    elif prompts is not None and chat is not None:
        counted = PromptTokens(chat)
        tokens = float(np.mean([counted.mean(prompts, code) for code in prompts.by_language]))
        longest = float(counted.longest(prompts))
        assumed.append(f"prompts of {tokens:.0f} tokens, counted with the policy's tokenizer")
    else:
        assumed.append(f"prompts of {tokens:g} tokens (nobody counted: --prompt-tokens)")
    limit = config.sampling.max_new_tokens
    if said.response_tokens is None:
        response = RESPONSE_SHARE * limit
        assumed.append(
            f"responses of {response:g} tokens, half of sampling.max_new_tokens (--response-tokens)"
        )
    else:
        response = min(said.response_tokens, limit)
        assumed.append(f"responses of {response:g} tokens, as --response-tokens says")
    labels, label_tokens, training_labels = _labels(config, chat, response)
    counts = Counts(
        prompts=(training,) * config.iterations,
        heldout=heldout,
        prompt_tokens=tokens,
        response_tokens=response,
        measured_tokens=min(response, config.measures.max_new_tokens),
        longest_prompt=longest,
        labels=labels,
        label_tokens=label_tokens,
        training_labels=training_labels,
    )
    return counts, assumed


def _numbers(config: RunConfig, said: Said, prompts: ParallelPrompts | None) -> tuple[int, int, list[str]]:
    """Prompts of an iteration, and held out, a language."""
    heldout, limit = config.measures.n, config.data.limit
    if said.prompts is not None:
        return (
            said.prompts,
            heldout,
            [f"{said.prompts} prompts a language in each iteration, as --prompts says"],
        )
    if prompts_from_lab(config):
        return limit or LAB_PROMPTS, heldout, []
    if prompts is not None:
        apart = config.measures.prompts is not None or heldout_from_lab(config)
        left = len(prompts) - (0 if apart else heldout)
        return max(1, min(limit or left, left)), heldout, []
    if limit is not None:
        return limit, heldout, [f"data.limit={limit} prompts a language: {config.prompts} is not there yet"]
    raise InputError(
        f"prompts: {config.prompts} is not there, so nobody knows how many there will be.",
        "Say how many a language: --prompts 10000.",
    )


def _prompts(config: RunConfig) -> ParallelPrompts | None:
    """All prompts of a run, if they are there."""
    if not prompts_from_lab(config) and not Path(config.prompts).expanduser().exists():
        return None
    return all_prompts(config)


def _chat(config: RunConfig) -> ChatFormat | None:
    """The policy's chat format, if the policy is there."""
    from lingualign.models import load_tokenizer, resolve_spec
    from lingualign.prompts import ChatFormat

    try:
        resolve_spec(config.policy)
    except InputError:
        return None
    tokenizer = load_tokenizer(config.policy, trust_remote_code=config.trust_remote_code)
    return ChatFormat(tokenizer, config.base_model_prompts)


def _labels(config: RunConfig, chat: ChatFormat | None, response: float) -> tuple[int, float, int]:
    """Labelled pairs to check a reward on, tokens of their responses, and those to train a reward on."""
    path = config.data.labelled_pairs
    lab = path is None and prompts_from_lab(config) and config.source_language == "en"
    if not lab and (path is None or not Path(path).expanduser().exists()):
        return 0, response, 0
    if lab and chat is None:
        return labelled.LAB_LABELS, response, labelled.LAB_TRAINING_LABELS
    pairs = labelled.load_labelled(config)
    tokens = response
    if chat is not None:
        some = pairs[:: max(1, len(pairs) // SOME)]
        texts = [pair[side][-1]["content"] for pair in some for side in ("chosen", "rejected")]
        tokens = float(np.mean([len(chat.response_ids(text, True)) for text in texts]))
    return len(pairs), tokens, labelled.LAB_TRAINING_LABELS if lab else len(pairs)
