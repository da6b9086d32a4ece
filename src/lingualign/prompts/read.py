"""Parallel prompts: the same instructions in several languages, joined by id.

They come as one file with a language column, or as a folder with a file a language, in any format of
`lingualign.prompts.files`. Everything about them is checked here, before any model is loaded; prompts are
taken as they are written, neither stripped nor cut.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lingualign.config import DataConfig
from lingualign.errors import InputError
from lingualign.languages import resolve
from lingualign.paths import user_path
from lingualign.prompts.files import (
    SUFFIXES,
    Row,
    check_text,
    is_saved_dataset,
    language_files,
    read_rows,
    read_saved_dataset,
)
from lingualign.records import Message

ID_FIELDS = ("id", "prompt_id", "instruction_id")
PROMPT_FIELDS = ("prompt", "messages", "instruction", "question")
ROLES = ("system", "user", "assistant")


@dataclass(frozen=True)
class Prompt:
    """A conversation that waits for an answer.

    Attributes:
        id: The same for the same prompt in every language.
        language: BCP-47 code.
        messages: One or more turns, the last of them the user's.
    """

    id: str
    language: str
    messages: tuple[Message, ...]


@dataclass(frozen=True)
class ParallelPrompts:
    """Prompts by language, every list in the order of `ids`.

    Attributes:
        ids: Of the prompts, in the order of the source language.
        by_language: The prompts of each language.
        left_out: Ids that some language lacked, where this was allowed.
        left_out_rows: Rows of the files that are in no list, by the reason.
    """

    ids: list[str]
    by_language: dict[str, list[Prompt]]
    left_out: tuple[str, ...] = ()
    left_out_rows: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for language, prompts in self.by_language.items():
            if [prompt.id for prompt in prompts] != self.ids:
                raise ValueError(f"the prompts in {language} are not aligned with the ids")

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def _position(self) -> dict[str, int]:
        return {prompt_id: index for index, prompt_id in enumerate(self.ids)}

    def get(self, prompt_id: str, language: str) -> Prompt:
        """The prompt of an id in a language; KeyError where there is none."""
        return self.by_language[language][self._position[prompt_id]]

    def select(self, ids: Sequence[str]) -> ParallelPrompts:
        """The prompts of some ids, in their order; KeyError where there is none."""
        positions = [self._position[prompt_id] for prompt_id in ids]
        chosen = {name: [prompts[i] for i in positions] for name, prompts in self.by_language.items()}
        return ParallelPrompts(list(ids), chosen, self.left_out, self.left_out_rows)

    def slice(self, start: int, stop: int | None = None) -> ParallelPrompts:
        """The prompts from `start` to before `stop`, as Python slices."""
        return self.select(self.ids[start:stop])

    def untranslated(self, language: str, source_language: str) -> list[str]:
        """Ids of prompts that read the same in a language as in the source language.

        Translators left them, or they are code or names. They are used like all others; a great many of them
        point to a wrong file.
        """
        pairs = zip(self.by_language[language], self.by_language[source_language], strict=True)
        return [prompt.id for prompt, source in pairs if prompt.messages == source.messages]


def read_prompts(
    source: str, languages: list[str], source_language: str, data: DataConfig
) -> ParallelPrompts:
    """Reads parallel prompts from a file or a folder.

    Accepted are a file (`.jsonl`, `.json`, `.csv`, `.parquet`) or saved `datasets` folder with a language
    column, a saved `DatasetDict` with a split a language, and a folder that holds for each language `<code>`
    a file `<code>.jsonl` (or another of the kinds above) or a saved dataset `<code>/`. A row has an id and a
    prompt, which is text or a list of {role, content} messages. `input`, the second column of the Alpaca
    format, is put behind `instruction` on a line of its own.

    Args:
        source: Path of the file or folder.
        languages: BCP-47 codes to read. Files of other languages are not looked at; rows of other languages
            are left out and counted.
        source_language: The one whose ids and order the others must share.
        data: Names of the columns, and whether ids that a language lacks are left out. Its limits (`limit`,
            `max_prompt_tokens`) are for the caller to apply.

    Returns:
        The prompts of every language, in the order of the source language.

    Raises:
        InputError: Something is missing, malformed, empty, double or not parallel. The message says where.

    Example:
        >>> config = load_config("icr", ["prompts=./prompts", "languages=en,sw"])
        >>> prompts = read_prompts("./prompts", config.languages, config.source_language, config.data)
        >>> prompts.get(prompts.ids[0], "sw").messages
    """
    for language in languages:
        resolve(language)
    path = user_path(source)
    rows = _rows_by_language(path, languages, data)
    prompts = {language: _prompts(rows[language], language, data) for language in languages}
    ids = _common_ids(prompts, source_language, path, data.allow_missing)
    kept = set(ids)
    missing = [prompt_id for by_id in prompts.values() for prompt_id in by_id if prompt_id not in kept]
    left_out = {f"in {code}": len(found) for code, found in rows.items() if code not in languages}
    if missing:
        left_out["with an id that some language lacks"] = len(missing)
    return ParallelPrompts(
        ids=ids,
        by_language={
            language: [by_id[prompt_id] for prompt_id in ids] for language, by_id in prompts.items()
        },
        left_out=tuple(sorted(set(missing))),
        left_out_rows=left_out,
    )


def _rows_by_language(path: Path, languages: Sequence[str], data: DataConfig) -> Mapping[str, list[Row]]:
    if path.is_file():
        return _split_by_column(read_rows(path), path, languages, data.language_field)
    if not path.is_dir():
        raise InputError(f"prompts: {path}: no such file or folder.", "Give a path, or `lab`.")
    if not is_saved_dataset(path):
        return {language: _language_rows(path, language) for language in languages}
    splits = read_saved_dataset(path)
    if any(language in splits for language in languages):
        _check_all_there(splits, path, languages)
        return splits
    if len(splits) > 1:
        raise InputError(
            f"{path} has the splits {', '.join(splits)}, and none of them is a language of the run.",
            "Save one split with a language column, or a split a language.",
        )
    return _split_by_column(next(iter(splits.values())), path, languages, data.language_field)


def _split_by_column(
    rows: Sequence[Row], path: Path, languages: Sequence[str], field: str
) -> Mapping[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        language = _value(row, field, "data.language_field", "or give a folder with a file a language")
        if not isinstance(language, str):
            raise InputError(f"{row.place}: field {field!r} is not a language code.")
        found.setdefault(language, []).append(row)
    _check_all_there(found, path, languages)
    return found


def _check_all_there(found: Mapping[str, list[Row]], path: Path, languages: Sequence[str]) -> None:
    missing = [language for language in languages if language not in found]
    if missing:
        raise InputError(
            f"{path} has no prompts in {', '.join(missing)}; it has {', '.join(sorted(found))}.",
            "Add them, or take the language out of `languages`.",
        )


def _language_rows(folder: Path, language: str) -> list[Row]:
    """The rows of the one file, or saved dataset, that is named after the language."""
    candidates = language_files(folder, language)
    if is_saved_dataset(folder / language):
        candidates.append(folder / language)
    if len(candidates) > 1:
        names = " and ".join(path.name for path in candidates)
        raise InputError(
            f"{folder} has {names}: which one holds the prompts in {language}?", "Leave one of them."
        )
    if not candidates:
        there = sorted({path.stem for path in folder.iterdir() if path.suffix.lower() in SUFFIXES})
        has = f"it has {', '.join(there)}" if there else "it has no prompt file at all"
        raise InputError(
            f"{folder} has no file for {language} ({has}).",
            f"Add {language}.jsonl, or take {language} out of `languages`.",
        )
    if not is_saved_dataset(candidates[0]):
        return read_rows(candidates[0])
    splits = read_saved_dataset(candidates[0])
    if len(splits) > 1:
        raise InputError(f"{candidates[0]} has the splits {', '.join(splits)}.", "Save the one to use.")
    return next(iter(splits.values()))


def _prompts(rows: Sequence[Row], language: str, data: DataConfig) -> dict[str, Prompt]:
    id_field = data.id_field or _first_of(ID_FIELDS, rows[0], "an id", "data.id_field")
    prompt_field = data.prompt_field or _first_of(PROMPT_FIELDS, rows[0], "a prompt", "data.prompt_field")
    prompts: dict[str, Prompt] = {}
    places: dict[str, str] = {}
    for row in rows:
        prompt_id = _id(row, id_field)
        if prompt_id in prompts:
            raise InputError(
                f"{row.place}: the id {prompt_id!r} was used before: {places[prompt_id]}.",
                "Give every prompt of a language an id of its own.",
            )
        prompts[prompt_id] = Prompt(prompt_id, language, _messages(row, prompt_field))
        places[prompt_id] = row.place
    return prompts


def _first_of(fields: Sequence[str], row: Row, what: str, setting: str) -> str:
    for field in fields:
        if field in row.fields:
            return field
    raise InputError(
        f"{row.place}: no field with {what}, such as {', '.join(fields)}; it has {', '.join(row.fields)}.",
        f"Name the field: {setting}=NAME.",
    )


def _value(row: Row, field: str, setting: str, otherwise: str = "") -> Any:
    value = row.fields.get(field)
    if value is None:
        problem = "is empty" if field in row.fields else f"is missing; it has {', '.join(row.fields)}"
        alternatives = f"Add it, or name another field: {setting}=NAME" + (
            f", {otherwise}." if otherwise else "."
        )
        raise InputError(f"{row.place}: field {field!r} {problem}.", alternatives)
    return value


def _id(row: Row, field: str) -> str:
    value = _value(row, field, "data.id_field")
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InputError(f"{row.place}: field {field!r} is {value!r}; an id is text or a whole number.")
    if not str(value).strip():
        raise InputError(f"{row.place}: field {field!r} is empty.", "Give every prompt an id.")
    return str(value)


def _messages(row: Row, field: str) -> tuple[Message, ...]:
    value = _value(row, field, "data.prompt_field")
    if isinstance(value, str) and field == "messages":  # how a CSV file holds a conversation
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{row.place}: field 'messages' is not a JSON list ({error}).") from error
        check_text(value, f"{row.place}: field 'messages'")
    if isinstance(value, str):
        further = row.fields.get("input") if field == "instruction" else None
        value = [{"role": "user", "content": f"{value}\n{further}" if further else value}]
    if not isinstance(value, list) or not value:
        raise InputError(f"{row.place}: field {field!r} is neither text nor a list of messages.")
    messages = tuple(_message(message, f"{row.place}: field {field!r}") for message in value)
    if messages[-1]["role"] != "user":
        raise InputError(
            f"{row.place}: field {field!r} ends with a message of the {messages[-1]['role']}.",
            "A prompt ends with the user's message; leave the answer out.",
        )
    return messages


def _message(value: Any, where: str) -> Message:
    if not isinstance(value, dict) or not isinstance(value.get("content"), str):
        raise InputError(f"{where} has a message that is not {{role, content}} with text as content.")
    role, content = value.get("role"), value["content"]
    if role not in ROLES:
        raise InputError(f"{where} has a message of role {role!r}.", f"Known roles are {', '.join(ROLES)}.")
    if not content.strip():
        raise InputError(f"{where} is empty, or has an empty message.", "Remove the row in every language.")
    return Message(role=role, content=content)


def _common_ids(
    prompts: Mapping[str, Mapping[str, Prompt]], source_language: str, path: Path, allow_missing: bool
) -> list[str]:
    """The ids of the source language; where allowed, those of them that every language has."""
    source = prompts[source_language]
    common = [prompt_id for prompt_id in source if all(prompt_id in by_id for by_id in prompts.values())]
    if allow_missing:
        if not common:
            raise InputError(
                f"{path}: no id occurs in every language.", "Check that the ids are the same ones."
            )
        return common
    problems = []
    for language, by_id in prompts.items():
        lacks = [prompt_id for prompt_id in source if prompt_id not in by_id]
        adds = [prompt_id for prompt_id in by_id if prompt_id not in source]
        if lacks:
            problems.append(f"{language} lacks {_some(lacks)} of {source_language}")
        if adds:
            problems.append(f"{language} has {_some(adds)} that {source_language} lacks")
    if problems:
        keep = f", or keep the {len(common)} ids that all have: --allow-missing (data.allow_missing=true)"
        raise InputError(
            f"{path}: the prompts are not parallel: {'; '.join(problems)}.",
            f"Mend the files{keep if common else ''}.",
        )
    return common


def _some(ids: Sequence[str], most: int = 3) -> str:
    shown = ", ".join(ids[:most]) + (", ..." if len(ids) > most else "")
    return f"{len(ids)} id{'s' if len(ids) != 1 else ''} ({shown})"
