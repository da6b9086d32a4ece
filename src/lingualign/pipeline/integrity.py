"""Whether the files of a run folder are those that the run wrote.

A stage that is done has the SHA-256 of each of its files in its record, and they are compared at every
start. Files that no record has are read instead: those of a stage that is under way, and of folders that were
made before there were such records. Tables have a checksum in every page, JSON has to parse, and weights have
to be as long as their header says; a flipped bit in weights goes unnoticed there.

What is written anew at the end of each run needs neither: `measures.json`, `report.html`, model cards. Nor
does `config.yaml`, which is compared with the settings of every start and then rewritten.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow.parquet as pq

from lingualign.models import parameters_in
from lingualign.pipeline.files import read_json
from lingualign.pipeline.manifest import Manifest, StageRecord

LARGE = 2**30  # bytes; a file above it is hashed again only if its size or modification time is another
STAGE_FOLDERS = ("iteration-*", "measures/iteration-*", "reward")
CARD = "README.md"  # of a model, written anew at the end of each run


def record_files(folder: Path, record: StageRecord, outputs: Iterable[Path]) -> None:
    """Notes the hashes of what a stage has made, once it is on the disk.

    Args:
        folder: The run folder.
        record: Of the stage; its `files` and `stamps` are replaced.
        outputs: Its files and folders.
    """
    record.files, record.stamps = {}, {}
    for path in sorted(path for output in outputs for path in _files(output) if path.name != CARD):
        name = path.relative_to(folder).as_posix()
        with path.open("rb") as handle:
            os.fsync(handle.fileno())  # libraries do not when they save a model
        record.files[name] = sha256(path)
        if path.stat().st_size > LARGE:
            record.stamps[name] = _stamp(path)


def find_corrupt(folder: Path, deep: bool = False) -> list[Path]:
    """The files of a run folder that are not what the run wrote, or cannot be read back whole.

    Of a trained model, the folder is named: it is made as a whole. A file that is not there is none of them.

    Args:
        folder: The run folder.
        deep: Hash large files too that look unchanged.
    """
    corrupt: dict[Path, None] = {}
    recorded = set()
    for record in Manifest.read(folder / "manifest.json").stages.values():
        for name, digest in record.files.items():
            path = folder / name
            recorded.add(path)
            unit = _unit(folder, path)
            if unit.exists() and not _is_as_recorded(path, digest, None if deep else record.stamps.get(name)):
                corrupt[unit] = None
    for pattern in STAGE_FOLDERS:
        for path in sorted(file for made in folder.glob(pattern) for file in _files(made)):
            if path not in recorded and not _is_readable(path):
                corrupt[_unit(folder, path)] = None
    return list(corrupt)


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _files(output: Path) -> Iterator[Path]:
    """A file, or the files of a folder, without temporary ones and checkpoints, which training checks."""
    for path in output.rglob("*") if output.is_dir() else [output]:
        within = path.relative_to(output).parts
        if path.is_file() and not any(part.startswith(".") or part == "checkpoints" for part in within):
            yield path


def _unit(folder: Path, path: Path) -> Path:
    """What is made again for a damaged file: the file, or the folder of the model that it belongs to."""
    if path.suffix == ".parquet":
        return path
    parts = path.relative_to(folder).parts
    return folder.joinpath(*parts[: 2 if parts[0].startswith("iteration-") else 1])


def _stamp(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def _is_as_recorded(path: Path, digest: str, stamp: list[int] | None) -> bool:
    try:
        return (stamp is not None and stamp == _stamp(path)) or sha256(path) == digest
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EIO):  # a model without one of its files; a bad disk
            return False
        raise


def _is_readable(path: Path) -> bool:
    try:
        if path.suffix == ".parquet":
            with pq.ParquetFile(path, page_checksum_verification=True) as table:
                for group in range(table.num_row_groups):  # in memory one after the other
                    table.read_row_group(group)
        elif path.suffix == ".json":
            read_json(path)
        elif path.suffix == ".safetensors":
            parameters_in(path)
    except PermissionError:
        raise
    except Exception:  # whatever a reader raises, the file is not what was written
        return False
    return True
