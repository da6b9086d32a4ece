"""The tables that flow between stages: their Arrow schemas, and how they are written and read.

Text is the truth. No table stores token ids: every stage derives them from the text by one rule
(`lingualign.prompts.chat.ChatFormat`), so a table that somebody else made is as good as one of ours, and a
response has the same tokens when it is scored as when it is trained on.

Rows are joined by (`prompt_id`, `language`, `index`), never by position.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypedDict

import pyarrow as pa
import pyarrow.parquet as pq

from lingualign.accidents import writing
from lingualign.errors import InputError

FinishReason = Literal["stop", "length"]
GROUP_ROWS = 4096  # written at a time: one row group, which is what can be read alone
READ_BYTES = 2**20  # of a column read at a time, however long its row group is
OPTIONAL = frozenset({"reward", "value", "translation"})  # what may be null: there is nothing to say


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
    """Writes rows to a Parquet file atomically: a temporary name beside it, flushed, then renamed.

    Rows are taken and written a few thousand at a time, so there may be more of them than fit in memory.

    Raises:
        InputError: It cannot be written, because the disk is full for example.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    left = iter(rows)
    table = pa.Table.from_pylist(list(islice(left, GROUP_ROWS)), schema=schema)
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            # Checksums, so that a damaged page is noticed when it is read and not taken for data.
            writer = pq.ParquetWriter(temporary, schema, write_page_checksum=True)
        try:
            while True:
                with writing(path):
                    writer.write_table(table)
                table = pa.Table.from_pylist(list(islice(left, GROUP_ROWS)), schema=schema)
                if not len(table):
                    break
        finally:
            with writing(path):
                writer.close()
        with writing(path):
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
    with open_table(path, schema) as file, reading(path):
        return [
            row
            for group in range(file.num_row_groups)
            for row in conform(file.read_row_group(group, schema.names), schema, path).to_pylist()
        ]


def open_table(path: Path, schema: pa.Schema) -> pq.ParquetFile:
    """Opens a Parquet file to read some of its rows or columns, inside of `reading` and by way of `conform`.

    Raises:
        InputError: The file is missing, is not readable as Parquet, or lacks a column of the schema.
    """
    with reading(path):
        file = pq.ParquetFile(path, buffer_size=READ_BYTES, page_checksum_verification=True)
        conform(file.schema_arrow.empty_table(), schema, path)
    return file


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Tells of a Parquet file that cannot be read as every command does.

    Raises:
        InputError: The file is missing, damaged, or of another kind.
    """
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path}: no such file.") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: a text is not UTF-8 ({error}).") from error
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        raise InputError(f"{path}: not a readable Parquet file ({error}).") from error


def conform(table: pa.Table, schema: pa.Schema, path: Path) -> pa.Table:
    """The columns of a schema in a table that anybody made, cast to their types.

    Args:
        table: Whole, or some of its rows.
        schema: One of those above.
        path: Where the table is from, for errors.

    Raises:
        InputError: A column is missing, there twice or of the wrong type, or a value is missing in one that
            has to have it everywhere.
    """
    missing = [name for name in schema.names if name not in table.column_names]
    if missing:
        raise InputError(
            f"{path}: column {', '.join(missing)} is missing; it has {', '.join(table.column_names)}.",
            "docs/tables.md says what each column is.",
        )
    try:
        found = table.select(schema.names).cast(schema)
    except (pa.ArrowException, ValueError, KeyError, OverflowError) as error:
        raise InputError(f"{path}: a column has the wrong type ({error}).") from error
    for name in schema.names:
        if name not in OPTIONAL and any(map(_lacks, found.column(name).chunks)):
            raise InputError(
                f"{path}: column {name} has rows without a value.", "Fill them, or leave the rows out."
            )
    return found


def _lacks(values: pa.Array) -> bool:
    """Whether a value is missing, inside of lists and structures too; numbers of components may be."""
    if values.null_count:
        return True
    if pa.types.is_list(values.type):
        return _lacks(values.flatten())
    if pa.types.is_struct(values.type):
        return any(_lacks(values.field(field.name)) for field in values.type if field.name not in OPTIONAL)
    return False
