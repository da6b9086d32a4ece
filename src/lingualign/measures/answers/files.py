"""Answers that any tool wrote, read from files and matched with a baseline's.

A row has an answer, and the id or the instruction that it answers. Read are what other tools write (JSON,
JSON lines, CSV, Parquet; alpaca_eval's `model_outputs.json` among them) and the responses of a run. Nothing
about the prompts themselves is needed to measure the language of answers; judges need the instruction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lingualign.errors import InputError
from lingualign.languages import resolve
from lingualign.prompts.files import Row, language_files, read_rows

TEXT_FIELDS = ("output", "response", "text", "completion", "answer")
ID_FIELDS = ("id", "prompt_id", "instruction_id")
INSTRUCTION_FIELDS = ("instruction", "prompt", "question", "messages")
LANGUAGE_FIELDS = ("language", "lang")
REQUIRED = object()


@dataclass(frozen=True)
class Answer:
    """One answer.

    Attributes:
        id: Of the prompt; None where the file has none.
        language: BCP-47 code.
        text: The answer; empty if the model said nothing.
        instruction: What it answers, the turns of a conversation one below the other; None where unknown.
        place: File and line, for errors.
    """

    id: str | None
    language: str
    text: str
    instruction: str | None
    place: str


@dataclass(frozen=True)
class Match:
    """An answer and the baseline's answer to the same prompt.

    Attributes:
        key: What they were matched by, the id or the instruction: the cluster of the match.
        answer: Of the model.
        baseline: Of the baseline.
    """

    key: str
    answer: Answer
    baseline: Answer

    @property
    def instruction(self) -> str | None:
        """What both answer, from whichever file says it."""
        return self.answer.instruction or self.baseline.instruction


def read_answers(
    path: Path, languages: Sequence[str], warn: Callable[[str], None] = lambda text: None
) -> dict[str, list[Answer]]:
    """Reads answers by language, in the order of the file.

    Args:
        path: A file with a language column, or of the one language that is asked for; a folder with a file a
            language (`sw.jsonl`); or a folder of `part-*.parquet`, as a run writes them.
        languages: BCP-47 codes. Rows of other languages are left out.
        warn: Told how many those are.

    Raises:
        InputError: Something is missing, malformed or of an unknown language; the message says where.
    """
    for code in languages:
        resolve(code)
    found: dict[str, list[Answer]] = {code: [] for code in languages}
    others = Counter[str]()
    for row, language in _rows(path, languages):
        if language in found:
            found[language].append(_answer(row, language))
        else:
            others[language] += 1
    empty = [code for code, answers in found.items() if not answers]
    if empty:
        raise InputError(
            f"{path} has no answers in {', '.join(empty)}.",
            "Check the language column, or take the language out of --languages.",
        )
    if others:
        told = ", ".join(f"{count} in {code}" for code, count in others.items())
        warn(f"{path}: left out are the answers in languages that are not measured: {told}.")
    return found


def _rows(path: Path, languages: Sequence[str]) -> list[tuple[Row, str]]:
    if not path.exists():
        raise InputError(f"{path}: no such file or folder.")
    files = [path] if path.is_file() else sorted(path.glob("part-*.parquet"))
    if files:
        return [_with_language(row, languages) for file in files for row in read_rows(file)]
    rows: list[tuple[Row, str]] = []
    for code in languages:
        named = language_files(path, code)
        if len(named) != 1:
            has = " and ".join(file.name for file in named) or "no file"
            raise InputError(f"{path} has {has} for {code}.", f"Leave one file, {code}.jsonl for example.")
        rows += [(row, code) for row in read_rows(named[0])]
    return rows


def _with_language(row: Row, languages: Sequence[str]) -> tuple[Row, str]:
    code = _first(row, LANGUAGE_FIELDS, default=None)
    if code is None and len(languages) == 1:
        return row, languages[0]
    if code is None:
        raise InputError(
            f"{row.place}: no language, and {len(languages)} languages are measured.",
            "Add a column `language` with BCP-47 codes, or give a folder with a file a language.",
        )
    if not isinstance(code, str):
        raise InputError(f"{row.place}: field language is {code!r}, not a BCP-47 code.")
    return row, code


def _answer(row: Row, language: str) -> Answer:
    text = _first(row, TEXT_FIELDS)
    if isinstance(text, list) and text and isinstance(text[-1], dict):  # a conversation: its last turn
        text = text[-1].get("content")
    if not isinstance(text, str):
        raise InputError(f"{row.place}: the answer is {text!r}, not text.", 'Write an empty answer as "".')
    identity = _first(row, ID_FIELDS, default=None)
    instruction = _instruction(row)
    if identity is None and instruction is None:
        raise InputError(
            f"{row.place}: nothing says what is answered; it has {', '.join(row.fields)}.",
            f"Add one of {', '.join((*ID_FIELDS, *INSTRUCTION_FIELDS))}.",
        )
    return Answer(None if identity is None else str(identity), language, text, instruction, row.place)


def _instruction(row: Row) -> str | None:
    value = _first(row, INSTRUCTION_FIELDS, default=None)
    if isinstance(value, list) and all(isinstance(turn, dict) for turn in value):
        value = "\n\n".join(str(turn.get("content")) for turn in value)
    if value is not None and not isinstance(value, str):
        raise InputError(f"{row.place}: the instruction is neither text nor a list of messages.")
    return value


def _first(row: Row, fields: Sequence[str], default: Any = REQUIRED) -> Any:
    """The first of some fields that a row has."""
    for field in fields:
        if row.fields.get(field) is not None:
            return row.fields[field]
    if default is REQUIRED:
        raise InputError(
            f"{row.place}: no answer; it has {', '.join(row.fields)}.", f"Call it one of {', '.join(fields)}."
        )
    return default


def match_answers(
    answers: Mapping[str, Sequence[Answer]],
    baseline: Mapping[str, Sequence[Answer]],
    allow_missing: bool = False,
    warn: Callable[[str], None] = lambda text: None,
) -> dict[str, list[Match]]:
    """Matches answers with the baseline's to the same prompts.

    By id where both sides have ids, else by instruction. Of several answers to a prompt the i-th is matched
    with the baseline's i-th, or all of them with its only one.

    Args:
        answers: By language.
        baseline: By language.
        allow_missing: Leave out prompts that only one side has answered.
        warn: Told how many those are.

    Raises:
        InputError: A prompt was answered by one side alone, or not as often by both.
    """
    by_id = all(
        answer.id is not None for side in (answers, baseline) for rows in side.values() for answer in rows
    )
    matches: dict[str, list[Match]] = {}
    for language, rows in answers.items():
        ours, theirs = _by_key(rows, by_id), _by_key(baseline[language], by_id)
        lacking = [key for key in ours if key not in theirs] + [key for key in theirs if key not in ours]
        if lacking and not allow_missing:
            raise InputError(
                f"{language}: {len(lacking)} prompts were answered by one side alone, for example "
                f"{lacking[0][:60]!r} (matched by {'id' if by_id else 'instruction'}).",
                "Give both sides' answers to the same prompts, or keep what both have: --allow-missing.",
            )
        if lacking:
            warn(f"{language}: left out are {len(lacking)} prompts that one side alone has answered.")
        matches[language] = []
        for key in [key for key in ours if key in theirs]:
            found = theirs[key] if len(theirs[key]) > 1 else theirs[key] * len(ours[key])
            if len(found) != len(ours[key]):
                raise InputError(
                    f"{ours[key][0].place}: {len(ours[key])} answers to a prompt that the baseline answers "
                    f"{len(theirs[key])} times ({theirs[key][0].place}).",
                    "Give one baseline answer a prompt, or as many as there are answers.",
                )
            matches[language] += [Match(key, one, other) for one, other in zip(ours[key], found, strict=True)]
        if not matches[language]:
            raise InputError(f"{language}: no prompt was answered by both sides.")
    return matches


def _by_key(rows: Sequence[Answer], by_id: bool) -> dict[str, list[Answer]]:
    found: dict[str, list[Answer]] = {}
    for row in rows:
        key = row.id if by_id else row.instruction
        if key is None:
            raise InputError(
                f"{row.place}: it has an id and no instruction, the other side instructions and no ids.",
                "Add the column that is missing on one of the sides.",
            )
        found.setdefault(key, []).append(row)
    return found
