"""Responses and scores by prompt: as rows in memory, or on disk and read a few prompts at a time."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Generic, TypeVar, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lingualign.errors import InputError
from lingualign.pairs.sources import SLICE
from lingualign.pipeline.folder import read_parts, table_files
from lingualign.prompts import ParallelPrompts
from lingualign.records import RESPONSES, SCORES, Response, Score, conform, open_table, reading

Key = tuple[str, str]  # (language, prompt id)
Row = TypeVar("Row", Response, Score)

KEY_COLUMNS = ["prompt_id", "language", "index"]
BATCH_ROWS = 65536  # rows whose keys are read, or which are rearranged, at a time
MAX_READS = 4  # times that rows are read at most to read each slice of prompts once; else they are rearranged


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


@dataclass(frozen=True)
class Keys:
    """Whose the rows of a table are, without what they say. Arrays have a number a row, in the table's order.

    Attributes:
        ids: The prompt ids, in order of appearance.
        languages: The languages, likewise.
        prompt: Number of each row's prompt among `ids`.
        language: Number of its language among `languages`.
        block: Number of its row group among `blocks`.
        blocks: File and number of each row group.
    """

    ids: list[str]
    languages: list[str]
    prompt: np.ndarray
    language: np.ndarray
    block: np.ndarray
    blocks: list[tuple[Path, int]]


def read_keys(path: Path, schema: pa.Schema) -> Keys:
    """Reads whose the rows of a table are: a file or a folder of parts.

    Raises:
        InputError: A file is not readable, or a prompt has the same index twice in a language.
    """
    ids: dict[str, int] = {}
    languages: dict[str, int] = {}
    blocks: list[tuple[Path, int]] = []
    columns: tuple[list[np.ndarray], ...] = ([], [], [], [])
    wanted = pa.schema([schema.field(name) for name in KEY_COLUMNS])
    for file in table_files(path):
        with open_table(file, schema) as parquet, reading(file):
            for group in range(parquet.num_row_groups):
                for batch in parquet.iter_batches(BATCH_ROWS, row_groups=[group], columns=KEY_COLUMNS):
                    table = conform(pa.Table.from_batches([batch]), wanted, file)
                    columns[0].append(_numbered(table["prompt_id"], ids))
                    columns[1].append(_numbered(table["language"], languages))
                    columns[2].append(table["index"].to_numpy())
                    columns[3].append(np.full(len(table), len(blocks), np.int32))
                blocks.append((file, group))
    empty = np.zeros(0, np.int32)
    prompt, language, index, block = (np.concatenate([empty, *parts]) for parts in columns)
    places = _places(language, prompt, len(ids)) << 32 | index.astype(np.uint32)
    places.sort()
    twice = np.flatnonzero(places[1:] == places[:-1])
    if len(twice):
        number, place = divmod(int(places[twice[0]] >> 32), len(ids))
        name = f"prompt {list(ids)[place]} in {list(languages)[number]}"
        raise InputError(f"{path}: {name} has two rows with the same index.")
    return Keys(list(ids), list(languages), prompt, language, block, blocks)


def _numbered(column: pa.ChunkedArray, known: dict[str, int]) -> np.ndarray:
    """The numbers of values; those not known yet get the next ones."""
    coded = column.combine_chunks().dictionary_encode()
    numbers = [known.setdefault(value, len(known)) for value in coded.dictionary.to_pylist()]
    return np.array(numbers, np.int32)[coded.indices.to_numpy()]


def _places(language: np.ndarray, prompt: np.ndarray, prompts: int) -> np.ndarray:
    """One number for language and prompt, by language and then by prompt."""
    return language.astype(np.int64) * prompts + prompt


class Table(Generic[Row]):
    """The rows of a table on disk to some prompts in some languages, read where they are asked for.

    In memory are where the rows of each prompt are, 16 bytes a prompt and language, and while that is found
    out some 40 bytes a row. What can be read alone is a row group. Where the rows of neighbouring prompts are
    so scattered over these that reading all prompts, a slice after the other, would read the table more than
    `MAX_READS` times, it is first copied to a temporary file (in TMPDIR) in which they are together.

    Args:
        path: A file or a folder of parts, with rows in any order.
        schema: Of the table.
        prompts: Whose rows are read; others are not looked at.

    Raises:
        InputError: A file is not readable, or a prompt has the same index twice in a language.
    """

    def __init__(self, path: Path, schema: pa.Schema, prompts: ParallelPrompts) -> None:
        self._schema = schema
        self._position: dict[str, int] = {prompt_id: place for place, prompt_id in enumerate(prompts.ids)}
        self._number: dict[str, int] = {code: place for place, code in enumerate(prompts.by_language)}
        keys = read_keys(path, schema)
        prompt = _lookup(keys.ids, self._position)[keys.prompt]
        language = _lookup(keys.languages, self._number)[keys.language]
        place = np.where((prompt < 0) | (language < 0), -1, _places(language, prompt, len(prompts)))
        self._blocks: list[tuple[Path, int]] = keys.blocks
        opened = partial(open_table, schema=schema)
        self._file: Callable[[Path], pq.ParquetFile] = lru_cache(maxsize=2)(opened)
        self._read: Callable[[int], pa.Table] = self._read_group
        self._set_index(place, keys.block)
        rows = np.bincount(keys.block, minlength=len(keys.blocks))
        _, needed = _distinct(_slices(self._place, len(prompts)), self._block)
        if rows[needed].sum() > MAX_READS * rows.sum():
            self._rearrange(place, len(prompts))

    def __iter__(self) -> Iterator[Row]:
        """All rows, a language after the other, by prompt and index."""
        for language in self._number:
            yield from self.rows(language)

    def rows(self, language: str) -> Iterator[Row]:
        """All rows in a language, by prompt and index."""
        ids = list(self._position)
        for start in range(0, len(ids), SLICE):
            for rows in self.read(language, ids[start : start + SLICE]).values():
                yield from rows

    def read(self, language: str, ids: Sequence[str]) -> dict[str, list[Row]]:
        """The rows of some prompts in a language.

        Returns:
            Prompt id -> rows in order of index; prompts without rows are not in it.
        """
        first = self._number[language] * len(self._position)
        places = np.array([first + self._position[prompt_id] for prompt_id in ids], np.int64)
        starts = np.searchsorted(self._place, places, "left")
        stops = np.searchsorted(self._place, places, "right")
        blocks = {block for a, b in zip(starts, stops, strict=True) for block in self._block[a:b].tolist()}
        found: dict[str, list[Row]] = {prompt_id: [] for prompt_id in ids}
        asked = pa.array(ids, pa.string())
        for block in sorted(blocks):
            table = self._read(block)
            fits = pc.and_(pc.equal(table["language"], language), pc.is_in(table["prompt_id"], asked))
            for row in table.filter(fits).to_pylist():
                found[row["prompt_id"]].append(row)
        return {i: sorted(rows, key=lambda row: row["index"]) for i, rows in found.items() if rows}

    def _set_index(self, place: np.ndarray, block: np.ndarray) -> None:
        """Notes which blocks hold rows of each place; a place below 0 is no prompt's."""
        known = place >= 0
        self._place, self._block = _distinct(place[known], block[known])

    def _read_group(self, block: int) -> pa.Table:
        path, group = self._blocks[block]
        with reading(path):
            return conform(self._file(path).read_row_group(group, self._schema.names), self._schema, path)

    def _rearrange(self, place: np.ndarray, prompts: int) -> None:
        """Copies the table, so that a block holds rows of one slice of prompts in one language alone."""
        copy = tempfile.TemporaryFile()  # noqa: SIM115 (it is read as long as the table)
        start, places, blocks, count = 0, [place[:0]], [place[:0]], 0
        with pa.ipc.new_file(copy, self._schema) as writer:
            for batch in self._batches():
                here = place[start : start + len(batch)]
                start += len(batch)
                known = np.flatnonzero(here >= 0)
                order = known[np.argsort(_slices(here[known], prompts), kind="stable")]
                batch, here = batch.take(pa.array(order)), here[order]
                _, starts, rows = np.unique(_slices(here, prompts), return_index=True, return_counts=True)
                for first, length in zip(starts.tolist(), rows.tolist(), strict=True):
                    writer.write_batch(batch.slice(first, length))
                places.append(here)
                blocks.append(count + np.repeat(np.arange(len(rows)), rows))
                count += len(rows)
        self._set_index(np.concatenate(places), np.concatenate(blocks))
        reader = pa.ipc.open_file(copy)
        self._read = lambda block: pa.Table.from_batches([reader.get_batch(block)])

    def _batches(self) -> Iterator[pa.RecordBatch]:
        """All rows as they are on disk, `BATCH_ROWS` or more at a time."""
        gathered: list[pa.Table] = []
        for path in dict.fromkeys(path for path, _ in self._blocks):
            with open_table(path, self._schema) as parquet, reading(path):
                for batch in parquet.iter_batches(BATCH_ROWS, columns=self._schema.names):
                    gathered.append(conform(pa.Table.from_batches([batch]), self._schema, path))
                    if sum(map(len, gathered)) >= BATCH_ROWS:
                        yield _one(gathered)
                        gathered = []
        if gathered:
            yield _one(gathered)


def _slices(place: np.ndarray, prompts: int) -> np.ndarray:
    """One number for the language and the slice of prompts of places."""
    return place // prompts * prompts + place % prompts // SLICE


def _distinct(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pairs of two arrays of numbers, each pair once, in order."""
    base = int(second.max(initial=0)) + 1
    found = np.unique(first * base + second)
    return found // base, found % base


def _one(tables: list[pa.Table]) -> pa.RecordBatch:
    return pa.concat_tables(tables).combine_chunks().to_batches()[0]


def _lookup(values: Sequence[str], numbers: dict[str, int]) -> np.ndarray:
    """The number of each value, -1 where it has none."""
    return np.array([numbers.get(value, -1) for value in values], np.int64)
