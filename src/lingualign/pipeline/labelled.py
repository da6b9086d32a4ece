"""Labelled preference pairs in the source language: the user's, or the lab's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from lingualign.config import RunConfig
from lingualign.errors import InputError
from lingualign.pairs.base import Side, make_pair
from lingualign.paths import user_path
from lingualign.pipeline.inputs import prompts_from_lab
from lingualign.prompts import ParallelPrompts, Prompt
from lingualign.prompts.files import Row, language_files, read_rows
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
        return read_labelled(user_path(config.data.labelled_pairs), config.source_language)
    if prompts_from_lab(config) and config.source_language == "en":
        from lingualign.lab.preferences import english_preferences

        return english_preferences(n, seed)
    return []


def labelled_prompts(
    config: RunConfig, prompts: ParallelPrompts, warn: Callable[[str], None] = lambda text: None
) -> list[Pair]:
    """The labelled pairs on some of a run's prompts, with their `prompt_id`; the first of several on one.

    A pair belongs to a prompt whose messages in the source language are the same.

    Args:
        config: Of the run.
        prompts: Of an iteration.
        warn: Told how many pairs are left out, and why.

    Raises:
        InputError: There are none.
    """
    if config.data.labelled_pairs is None and prompts_from_lab(config) and config.source_language == "en":
        from lingualign.lab.preferences import labelled_prompts as lab

        return lab(prompts.ids)
    ids = {_content(prompt.messages): prompt.id for prompt in prompts.by_language[config.source_language]}
    found: dict[str, Pair] = {}
    elsewhere = further = 0
    for pair in load_labelled(config):
        prompt_id = ids.get(_content(pair["prompt"]))
        if prompt_id is None:
            elsewhere += 1
        elif prompt_id in found:
            further += 1
        else:
            found[prompt_id] = {**pair, "id": f"{prompt_id}/{pair['language']}", "prompt_id": prompt_id}
    if not found:
        raise InputError(
            f"pairs.kind={config.pairs.kind} learns from labelled pairs; none of them is on these prompts.",
            "Give some on prompts that are among the run's, in the source language: "
            "data.labelled_pairs=FILE.",
        )
    if elsewhere or further:
        warn(
            f"data.labelled_pairs: {len(found)} pairs are used; left out are {elsewhere} on prompts that "
            f"this iteration does not have, and {further} on a prompt that has one already."
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
        and all(
            isinstance(m, dict) and isinstance(m.get("role"), str) and isinstance(m.get("content"), str)
            for m in value
        )
    ):
        return [Message(role=message["role"], content=message["content"]) for message in value]
    raise InputError(
        f"{row.place}: field {name!r} is neither text nor a list of {{role, content}} messages.",
        "data.labelled_pairs takes rows with prompt, chosen and rejected.",
    )


def labelled_files(path: Path, languages: Sequence[str], source_language: str) -> dict[str, Path]:
    """Files of labelled pairs by language.

    Args:
        path: A file in the source language, or a folder with a file for some of the languages (`sw.jsonl`).
        languages: BCP-47 codes.
        source_language: Of a single file.

    Raises:
        InputError: There is no file, or a language has several.
    """
    if path.is_file():
        return {source_language: path}
    files: dict[str, Path] = {}
    for code in languages:
        found = language_files(path, code)
        if len(found) > 1:
            raise InputError(f"{path} has {' and '.join(f.name for f in found)}.", "Leave one of them.")
        if found:
            files[code] = found[0]
    if not files:
        raise InputError(
            f"{path}: no labelled pairs in {', '.join(languages)}.",
            f"Give a file in {source_language}, or a folder with {source_language}.jsonl and so on.",
        )
    return files


def labelled_sources(path: Path, source: Path, source_language: str) -> dict[str, Prompt]:
    """The prompts of labelled pairs in the source language, by the number of the row in another language.

    Rows belong together by their `id` where both files have ids, else by their place.

    Raises:
        InputError: A row has no counterpart.
    """
    rows, sources = read_rows(path), read_rows(source)
    pairs = read_labelled(source, source_language)
    ids = [row.fields.get("id") for row in sources]
    places = {str(name): place for place, name in enumerate(ids) if name is not None}
    by_id = len(places) == len(sources) and all(row.fields.get("id") is not None for row in rows)
    found = {}
    for number, row in enumerate(rows):
        place = places.get(str(row.fields["id"])) if by_id else number
        if place is None or place >= len(pairs):
            raise InputError(
                f"{row.place}: no pair in {source} goes with it.",
                "Give the same pairs in every language, with the same `id` or in the same order.",
            )
        pair = pairs[place]
        found[str(number)] = Prompt(str(number), source_language, tuple(pair["prompt"]))
    return found
