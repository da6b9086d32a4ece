"""The tables that flow between stages: their Arrow schemas, and how they are written and read.

Text is the truth. No table stores token ids: every stage derives them from the text by one rule
(`lingualign.prompts.chat.ChatFormat`), so a table that somebody else made is as good as one of ours, and a
response has the same tokens when it is scored as when it is trained on.

Rows are joined by (`prompt_id`, `language`, `index`), never by position.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypedDict

import pyarrow as pa
import pyarrow.parquet as pq

from lingualign.errors import InputError

FinishReason = Literal["stop", "length"]


class Message(TypedDict):
    """One turn of a conversation, as chat templates take it."""

    role: str
    content: str


class Response(TypedDict):
    """One sampled candidate."""

    prompt_id: str
    language: str  # BCP-47, of the prompt
    index: int  # 0..K-1 among the candidates of the prompt
    text: str  # as decoded, without the end token
    finish_reason: FinishReason  # "stop": the model ended it; "length": cut at the limit
    num_tokens: int  # sampled tokens, the end token not counted


class Component(TypedDict):
    """A named part of a score."""

    name: str
    value: float


class Score(TypedDict):
    """The reward of one candidate."""

    prompt_id: str
    language: str
    index: int
    # Higher is better; its unit is the reward's (nats for the implicit reward). None: it has nothing to say
    # of this candidate, which is then in no pair.
    reward: float | None
    components: list[Component]


class Pair(TypedDict):
    """A preference in the conversational format of TRL, with where it came from."""

    id: str  # "<prompt_id>/<language>", and more behind it where a prompt has several
    prompt_id: str
    language: str  # of the prompt
    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]
    chosen_score: float  # reward after length control: the one the choice was made by
    rejected_score: float
    chosen_index: int
    rejected_index: int
    chosen_finished: bool  # the end token is scored and trained on exactly when True
    rejected_finished: bool


MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))

PROMPTS = pa.schema([("id", pa.string()), ("language", pa.string()), ("messages", MESSAGES)])

RESPONSES = pa.schema(
    [
        ("prompt_id", pa.string()),
        ("language", pa.string()),
        ("index", pa.int32()),
        ("text", pa.string()),
        ("finish_reason", pa.string()),
        ("num_tokens", pa.int32()),
    ]
)

SCORES = pa.schema(
    [
        ("prompt_id", pa.string()),
        ("language", pa.string()),
        ("index", pa.int32()),
        ("reward", pa.float64()),
        ("components", pa.list_(pa.struct([("name", pa.string()), ("value", pa.float64())]))),
    ]
)

PAIRS = pa.schema(
    [
        ("id", pa.string()),
        ("prompt_id", pa.string()),
        ("language", pa.string()),
        ("prompt", MESSAGES),
        ("chosen", MESSAGES),
        ("rejected", MESSAGES),
        ("chosen_score", pa.float64()),
        ("rejected_score", pa.float64()),
        ("chosen_index", pa.int32()),
        ("rejected_index", pa.int32()),
        ("chosen_finished", pa.bool_()),
        ("rejected_finished", pa.bool_()),
    ]
)

# Summed response log-probs of pairs under the frozen reference of training, joined to PAIRS by id.
REFERENCE_LOGPS = pa.schema(
    [("id", pa.string()), ("ref_chosen_logps", pa.float64()), ("ref_rejected_logps", pa.float64())]
)


def write_table(path: Path, rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> None:
    """Writes rows to a Parquet file atomically: a temporary name beside it, flushed, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        # Checksums, so that a damaged page is noticed when it is read and not taken for data.
        pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), temporary, write_page_checksum=True)
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_table(path: Path, schema: pa.Schema) -> list[dict[str, Any]]:
    """Reads a Parquet file written by `write_table` or by somebody else.

    Columns beyond the schema are left out; columns of a wider numeric type are cast.

    Raises:
        InputError: The file is missing, is not readable as Parquet, or lacks a column of the schema.
    """
    try:
        table = pq.read_table(path, page_checksum_verification=True)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file.") from None
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: not a readable Parquet file ({error}).") from error
    missing = [name for name in schema.names if name not in table.column_names]
    if missing:
        raise InputError(
            f"{path}: column {', '.join(missing)} is missing; it has {', '.join(table.column_names)}."
        )
    try:
        return table.select(schema.names).cast(schema).to_pylist()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise InputError(f"{path}: a column has the wrong type ({error}).") from error
