"""Responses and scores as rows in memory, joined by prompt."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TypeVar, cast

from lingualign.errors import InputError
from lingualign.pipeline.folder import read_parts
from lingualign.records import RESPONSES, SCORES, Response, Score

Key = tuple[str, str]  # (language, prompt id)
Row = TypeVar("Row", Response, Score)


def read_responses(path: Path) -> list[Response]:
    """Reads RESPONSES from a file or a folder of parts."""
    return [cast(Response, row) for row in read_parts(path, RESPONSES)]


def read_scores(path: Path) -> list[Score]:
    """Reads SCORES from a file or a folder of parts."""
    return [cast(Score, row) for row in read_parts(path, SCORES)]


def by_prompt(rows: Sequence[Row]) -> dict[Key, list[Row]]:
    """Groups rows by language and prompt id, in order of index.

    Raises:
        InputError: An index occurs twice.
    """
    groups: dict[Key, list[Row]] = {}
    for row in rows:
        groups.setdefault((row["language"], row["prompt_id"]), []).append(row)
    for (language, prompt_id), group in groups.items():
        group.sort(key=lambda row: row["index"])
        if any(a["index"] == b["index"] for a, b in pairwise(group)):
            raise InputError(f"Prompt {prompt_id} in {language} has two rows with the same index.")
    return groups
