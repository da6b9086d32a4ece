"""The columns of a run's tables that the pair browser needs, for 100,000 pairs at a time.

Whatever is of all pairs is read by column into arrays; texts are read for a few rows only. Rows of the tables
of responses and scores are found by (prompt id, language, index), as everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from lingualign.errors import InputError
from lingualign.pipeline.folder import part_files

REWARD = "reward"
_PLACE = ["prompt_id", "language", "index"]
_PAIR = ["id", "prompt_id", "language", "chosen_score", "rejected_score", "chosen_index", "rejected_index"]
_TEXTS = ["prompt", "chosen", "rejected", "chosen_finished", "rejected_finished"]
_BATCH = 4096  # rows whose texts are in memory at a time


@dataclass(frozen=True)
class PairColumns:
    """All pairs of an iteration, without their texts.

    Attributes:
        ids: Of the pairs.
        languages: Of their prompts.
        scores: Chosen and rejected: what the choice was made by [pairs, 2].
        keys: Where the two responses stand in other tables, chosen and rejected.
    """

    ids: pa.Array
    languages: np.ndarray
    scores: np.ndarray
    keys: tuple[pa.Array, pa.Array]

    @property
    def margins(self) -> np.ndarray:
        """Chosen less rejected [pairs]."""
        return self.scores[:, 0] - self.scores[:, 1]


@dataclass(frozen=True)
class Known:
    """A response as the table of responses has it."""

    text: str
    tokens: int


def read_pairs(path: Path) -> PairColumns:
    """Reads all pairs of an iteration, without their texts.

    Raises:
        InputError: The file cannot be read as a table of pairs.
    """
    with _reading(path):
        table = pq.read_table(path, columns=_PAIR, page_checksum_verification=True).combine_chunks()
    sides = [
        _keys(table["prompt_id"], table["language"], table[f"{side}_index"])
        for side in ("chosen", "rejected")
    ]
    scores = [table[f"{side}_score"].to_numpy().astype(np.float64) for side in ("chosen", "rejected")]
    languages = table["language"].to_numpy().astype(object)
    return PairColumns(_flat(table["id"]), languages, np.stack(scores, axis=1), (sides[0], sides[1]))


def read_texts(path: Path, rows: Iterable[int]) -> dict[int, dict[str, Any]]:
    """Reads prompt, chosen and rejected response of some rows of a table of pairs.

    Returns:
        Row -> its `prompt`, `chosen` and `rejected` messages, and whether the responses were finished.
    """
    wanted = np.unique(np.fromiter(rows, dtype=np.int64))
    found: dict[int, dict[str, Any]] = {}
    start = 0
    with _reading(path):
        file = pq.ParquetFile(path, page_checksum_verification=True)
        for batch in file.iter_batches(_BATCH, columns=_TEXTS):
            here = wanted[(wanted >= start) & (wanted < start + len(batch))]
            found |= zip(here.tolist(), batch.take(pa.array(here - start)).to_pylist(), strict=True)
            start += len(batch)
    return found


def read_scores(folder: Path, pairs: PairColumns) -> dict[str, np.ndarray]:
    """Reads what a reward said of both responses of each pair.

    Args:
        folder: Of part files; it need not be there.
        pairs: The pairs.

    Returns:
        `reward` and the name of every component -> float64 [pairs, 2], chosen and rejected; NaN where the
        table has no such row, or the row no such component. Empty where nothing was scored.
    """
    if not part_files(folder):
        return {}
    with _reading(folder):
        table = _dataset(folder).to_table(columns=[*_PLACE, REWARD, "components"]).combine_chunks()
    keys = _keys(table["prompt_id"], table["language"], table["index"])
    rows = np.stack(
        [pc.index_in(side, value_set=keys).fill_null(-1).to_numpy() for side in pairs.keys], axis=1
    )
    columns = {REWARD: table[REWARD].to_numpy().astype(np.float64)}
    components = _flat(table["components"])
    values = components.flatten()
    parents = pc.list_parent_indices(components).to_numpy()
    names = values.field("name").dictionary_encode()
    numbers, code = values.field("value").to_numpy(zero_copy_only=False), names.indices.to_numpy()
    for place, name in enumerate(names.dictionary.to_pylist()):
        column = np.full(len(table), np.nan)
        column[parents[code == place]] = numbers[code == place]
        columns[name] = column
    # A row -1 is none: one more value at the end stands for it.
    return {name: np.append(column, np.nan)[rows] for name, column in columns.items()}


def read_responses(folder: Path, pairs: PairColumns, rows: Sequence[int]) -> Mapping[tuple[int, int], Known]:
    """Reads the sampled responses of some pairs.

    Args:
        folder: Of part files; it need not be there.
        pairs: The pairs.
        rows: Which of them.

    Returns:
        (row, 0 for chosen or 1 for rejected) -> the response of that index, which a pairing that translates
        has not taken as it is.
    """
    if not part_files(folder) or not rows:
        return {}
    places: dict[str, list[tuple[int, int]]] = {}
    for side, keys in enumerate(pairs.keys):
        for row, key in zip(rows, keys.take(pa.array(rows)).to_pylist(), strict=True):
            places.setdefault(key, []).append((row, side))
    wanted = pa.array(places)
    found: dict[tuple[int, int], Known] = {}
    with _reading(folder):
        for batch in _dataset(folder).to_batches(columns=[*_PLACE, "num_tokens", "text"]):
            keys = _keys(batch["prompt_id"], batch["language"], batch["index"])
            mask = pc.is_in(keys, value_set=wanted)
            kept = batch.select(["text", "num_tokens"]).filter(mask).to_pylist()
            for key, response in zip(keys.filter(mask).to_pylist(), kept, strict=True):
                for place in places[key]:
                    found[place] = Known(response["text"], response["num_tokens"])
    return found


def _keys(prompt_ids: pa.Array, languages: pa.Array, indices: pa.Array) -> pa.Array:
    """One string a row for where a response stands. Ids come last: they may hold any character."""
    parts = [pc.cast(indices, pa.string()), pc.cast(languages, pa.string()), pc.cast(prompt_ids, pa.string())]
    return _flat(pc.binary_join_element_wise(*parts, "/"))


def _flat(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """A column in one piece."""
    if not isinstance(column, pa.ChunkedArray):
        return column
    combined = column.combine_chunks()
    return combined.chunk(0) if isinstance(combined, pa.ChunkedArray) else combined


def _dataset(folder: Path) -> ds.Dataset:
    scanning = ds.ParquetFragmentScanOptions(page_checksum_verification=True)
    form = ds.ParquetFileFormat(default_fragment_scan_options=scanning)
    return ds.dataset([str(file) for file in part_files(folder)], format=form)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """What goes wrong with a table is told as every other command tells it."""
    try:
        yield
    except (pa.ArrowException, OSError, KeyError) as error:
        raise InputError(
            f"{path}: not readable ({error}).",
            "`lingualign align RUN/config.yaml output=RUN --recompute-corrupt` makes a damaged file again.",
        ) from error
