"""The run folder: how a stage is skipped, resumed and written, so that killing it anywhere costs one chunk.

A stage's fingerprint goes into the manifest before its first file and its end after its last, and every file
appears under its name complete or not at all. So a file that is there, of a stage whose fingerprint agrees, is
right; the stage goes on with the first one that is not there.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from lingualign.errors import InputError
from lingualign.pipeline.files import remove_leftovers, write_text
from lingualign.pipeline.fingerprints import Fingerprint, differing_parts
from lingualign.pipeline.lock import RunLock
from lingualign.pipeline.manifest import Manifest, StageRecord, installed_versions, now
from lingualign.pipeline.progress import Reporter, Task
from lingualign.records import read_table, write_table

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Chunk:
    """A slice of one language's prompts: what one part file holds."""

    language: str
    start: int
    stop: int

    @property
    def filename(self) -> str:
        """`part-<language>-<first prompt>.parquet`."""
        return f"part-{self.language}-{self.start:06d}.parquet"


def split_chunks(languages: Sequence[str], n_prompts: int, size: int) -> list[Chunk]:
    """Cuts the prompts of every language into chunks, a slice of prompts at a time over all languages."""
    return [
        Chunk(language, start, min(start + size, n_prompts))
        for start in range(0, n_prompts, size)
        for language in languages
    ]


def part_files(folder: Path) -> list[Path]:
    """The part files of a stage, in order of language and prompt."""
    return sorted(folder.glob("part-*.parquet"))


def read_parts(path: Path, schema: pa.Schema) -> list[dict[str, Any]]:
    """Reads a table that is one Parquet file, or a folder of part files.

    Raises:
        InputError: There is no such file or folder, the folder has no part files, or a file is not readable.
    """
    if not path.is_dir():
        return read_table(path, schema)
    files = part_files(path)
    if not files:
        raise InputError(f"{path}: a folder without part-*.parquet files.")
    return [row for file in files for row in read_table(file, schema)]


def other_configuration(folder: Path, what: str) -> InputError:
    """The error for a folder that belongs to another run."""
    return InputError(
        f"{folder} was made by another configuration: {what}.",
        "Choose another folder with output=, or delete this one to start afresh.",
    )


class RunFolder:
    """An open run folder. Make one with `open_run_folder`."""

    def __init__(self, folder: Path, manifest: Manifest, reporter: Reporter) -> None:
        self.folder = folder
        self.manifest = manifest
        self.reporter = reporter

    def save_manifest(self) -> None:
        """Writes `manifest.json`."""
        self.manifest.write(self.folder / "manifest.json")

    def is_done(self, name: str, fingerprint: Fingerprint, outputs: Iterable[Path]) -> bool:
        """Whether a stage is complete, from the same inputs, and nobody deleted any of its outputs since.

        Raises:
            InputError: The stage was started from other inputs.
        """
        record = self.manifest.stages.get(name)
        if record is None:
            return False
        different = differing_parts(record.fingerprint, fingerprint)
        if different:
            raise other_configuration(self.folder, f"{name} has another {', '.join(different)}")
        return record.status == "done" and all(output.exists() for output in outputs)

    @contextmanager
    def working(self, name: str, fingerprint: Fingerprint, output: Path) -> Iterator[None]:
        """Keeps the books of a stage that is not done: started before its work, done after it.

        Files under `output` of a stage that the manifest does not know are nobody's, and removed.
        """
        record = self.manifest.stages.get(name)
        if record is None:
            shutil.rmtree(output) if output.is_dir() else output.unlink(missing_ok=True)
            record = StageRecord(fingerprint=fingerprint, status="started", started=now())
            self.manifest.stages[name] = record
        record.status = "started"
        self.save_manifest()
        start = time.monotonic()
        try:
            yield
            record.status = "done"
            record.finished = now()
        finally:
            record.seconds = round(record.seconds + time.monotonic() - start, 2)
            self.save_manifest()

    def chunks(
        self,
        name: str,
        fingerprint: Fingerprint,
        chunks: Sequence[Chunk],
        schema: pa.Schema,
        compute: Callable[[Chunk], Iterable[Row]],
        unit: str = "chunks",
    ) -> Path:
        """A stage that writes one part file a chunk into the folder `name`; chunks that are there are kept.

        Returns:
            The folder of part files.
        """
        output = self.folder / name
        if self.is_done(name, fingerprint, (output / chunk.filename for chunk in chunks)):
            self.reporter.skip(name)
            return output
        with self.working(name, fingerprint, output):
            missing = [chunk for chunk in chunks if not (output / chunk.filename).exists()]
            with self.reporter.stage(name, len(chunks), unit, done=len(chunks) - len(missing)) as task:
                for chunk in missing:
                    write_table(output / chunk.filename, compute(chunk), schema)
                    task.advance()
        return output

    def file(
        self,
        name: str,
        fingerprint: Fingerprint,
        filename: str,
        make: Callable[[Path, Task], None],
        total: int = 1,
        unit: str = "steps",
    ) -> Path:
        """A stage that makes one file or folder, `filename` in the run folder.

        Args:
            name: Of the stage.
            fingerprint: Of the stage.
            filename: Relative to the run folder; a trailing slash is not needed for a folder.
            make: Makes it, atomically, at the path it is given, and tells the task of its progress.
            total: Steps that `make` will tell of.
            unit: What the steps are.

        Returns:
            The path of the file or folder.
        """
        output = self.folder / filename
        if self.is_done(name, fingerprint, [output]):
            self.reporter.skip(name)
            return output
        with self.working(name, fingerprint, output):
            # What is there is whole: the last start was stopped between making it and noting that it is done.
            if not output.exists():
                with self.reporter.stage(name, total, unit) as task:
                    make(output, task)
        return output


@contextmanager
def open_run_folder(
    folder: Path, config_text: str, seed: int, inputs: Mapping[str, list[Any]], reporter: Reporter
) -> Iterator[RunFolder]:
    """Locks a run folder, and writes the configuration and the versions of this start into it.

    Args:
        folder: The run folder, already checked (`lingualign.pipeline.validate`).
        config_text: The resolved configuration as YAML.
        seed: Of the run.
        inputs: Hashes of model files, kept for the next start.
        reporter: Who is told of the stages.

    Raises:
        InputError: Another run is writing into the folder.
    """
    with RunLock(folder):
        remove_leftovers(folder)
        manifest = Manifest.read(folder / "manifest.json")
        manifest.seed = seed
        manifest.versions = installed_versions()
        manifest.inputs = dict(inputs)
        write_text(folder / "config.yaml", config_text)
        run = RunFolder(folder, manifest, reporter)
        run.save_manifest()
        yield run
