"""Labelled preference pairs in the source language: the user's, or the lab's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lingualign.config import RunConfig
from lingualign.errors import InputError
from lingualign.pairs.base import Side, make_pair
from lingualign.pipeline.inputs import prompts_from_lab
from lingualign.prompts import ParallelPrompts, Prompt
from lingualign.prompts.files import Row, read_rows
from lingualign.records import Message, Pair

LAB_LABELS = 300  # labelled English pairs of the lab, to check a reward on
LAB_TRAINING_LABELS = 2000  # others, to train a reward model on


def load_labelled(config: RunConfig) -> list[Pair]:
    """All labelled pairs of a run; none where there is no such file and no lab."""
    return _user_or_lab(config, LAB_LABELS, seed=0)


def training_labels(config: RunConfig) -> list[Pair]:
    """The labelled pairs to train a reward model on: the user's, or as many of the lab's as that takes."""
    return _user_or_lab(config, LAB_TRAINING_LABELS, seed=1)


def _user_or_lab(config: RunConfig, n: int, seed: int) -> list[Pair]:
    if config.data.labelled_pairs is not None:
        return read_labelled(Path(config.data.labelled_pairs).expanduser(), config.source_language)
    if prompts_from_lab(config) and config.source_language == "en":
        from lingualign.lab.preferences import english_preferences

        return english_preferences(n, seed)
    return []


def labelled_prompts(config: RunConfig, prompts: ParallelPrompts) -> list[Pair]:
    """The labelled pairs on some of a run's prompts, with their `prompt_id`; the first of several on one.

    A pair belongs to a prompt whose messages in the source language are the same.

    Raises:
        InputError: There are none.
    """
    if config.data.labelled_pairs is None and prompts_from_lab(config) and config.source_language == "en":
        from lingualign.lab.preferences import labelled_prompts as lab

        return lab(prompts.ids)
    ids = {_content(prompt.messages): prompt.id for prompt in prompts.by_language[config.source_language]}
    found: dict[str, Pair] = {}
    for pair in load_labelled(config):
        prompt_id = ids.get(_content(pair["prompt"]))
        if prompt_id is not None:
            found.setdefault(
                prompt_id, {**pair, "id": f"{prompt_id}/{pair['language']}", "prompt_id": prompt_id}
            )
    if not found:
        raise InputError(
            f"pairs.kind={config.pairs.kind} learns from labelled pairs; none of them is on these prompts.",
            "Give some on prompts that are among the run's, in the source language: "
            "data.labelled_pairs=FILE.",
        )
    return list(found.values())


def _content(messages: Sequence[Message]) -> tuple[tuple[str, str], ...]:
    return tuple((message["role"], message["content"]) for message in messages)


def read_labelled(path: Path, language: str) -> list[Pair]:
    """Reads preference pairs that somebody labelled: rows with `prompt`, `chosen` and `rejected`.

    Each is text or a list of {role, content} messages. Answers that repeat the prompt's messages, as in many
    data sets, are cut down to their last one.

    Args:
        path: A file of any kind that prompts may have.
        language: Of the pairs.

    Raises:
        InputError: The file is wrong, or a row lacks a field.
    """
    try:
        rows = read_rows(path)
    except InputError as error:
        raise InputError(
            f"data.labelled_pairs: {error.message}",
            error.remedy or "Give a file of rows with prompt, chosen and rejected.",
        ) from None
    pairs = []
    for number, row in enumerate(rows):
        prompt, chosen, rejected = (
            _labelled_messages(row, name) for name in ("prompt", "chosen", "rejected")
        )
        asked = Prompt(str(number), language, tuple(prompt))
        better, worse = Side(chosen[-1]["content"], 1.0, 0), Side(rejected[-1]["content"], 0.0, 1)
        pairs.append(make_pair(asked, better, worse))
    return pairs


def _labelled_messages(row: Row, name: str) -> list[Message]:
    value = row.fields.get(name)
    role = "user" if name == "prompt" else "assistant"
    if isinstance(value, str) and value.strip():
        return [Message(role=role, content=value)]
    if (
        isinstance(value, list)
        and value
        and all(isinstance(m, dict) and m.keys() >= {"role", "content"} for m in value)
    ):
        return [Message(role=message["role"], content=message["content"]) for message in value]
    raise InputError(
        f"{row.place}: field {name!r} is neither text nor a list of {{role, content}} messages.",
        "data.labelled_pairs takes rows with prompt, chosen and rejected.",
    )
