"""The run folder: how a stage is skipped, resumed and written, so that killing it anywhere costs one chunk.

A stage's fingerprint goes into the manifest before its first file and its end after its last, and every file
appears under its name complete or not at all. So a file that is there, of a stage whose fingerprint agrees,
is right; the stage goes on with the first one that is not there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from lingualign.accidents import explain
from lingualign.errors import InputError
from lingualign.pipeline.files import remove, remove_leftovers, write_text
from lingualign.pipeline.fingerprints import Fingerprint, differing_parts
from lingualign.pipeline.integrity import record_files
from lingualign.pipeline.lock import RunLock
from lingualign.pipeline.manifest import Manifest, StageRecord, installed_versions, now
from lingualign.pipeline.progress import Reporter, Task
from lingualign.pipeline.sharing import find_done, link
from lingualign.records import read_table, write_table

Row = Mapping[str, Any]
Progress = Callable[[int, int], None]  # (steps done, of how many)


@dataclass(frozen=True)
class Stage:
    """A step of a run.

    Attributes:
        name: Its place in the run folder, e.g. `iteration-1/responses`.
        fingerprint: What its output depends on.
    """

    name: str
    fingerprint: Fingerprint


@dataclass(frozen=True)
class Chunk:
    """A slice of one language's prompts: what one part file holds."""

    language: str
    start: int
    stop: int

    @property
    def size(self) -> int:
        """Prompts in it."""
        return self.stop - self.start

    @property
    def filename(self) -> str:
        """`part-<language>-<first prompt>.parquet`."""
        return f"part-{self.language}-{self.start:06d}.parquet"


ChunkProgress = Callable[[Chunk, int, int], None]  # (of which chunk, steps done, of how many)
# Gives the rows of chunks as they are ready, in any order, and may tell of the progress within them.
Compute = Callable[[Sequence[Chunk], ChunkProgress], Iterator[tuple[Chunk, Iterable[Row]]]]


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


def iterations_with(run: Path, name: str) -> list[int]:
    """The iterations of a run that have a file or folder of some name, in order."""
    found = [path.parent.name.removeprefix("iteration-") for path in run.glob(f"iteration-*/{name}")]
    return sorted(int(number) for number in found if number.isdecimal())


def choose_iteration(run: Path, name: str, what: str, iteration: int | None) -> int:
    """The iteration that is asked for, or the last, among those that have a file or folder of some name.

    Args:
        run: The run folder.
        name: Of the file or folder in an iteration.
        what: A trained model, or what else it is, for the error that there is none.
        iteration: Which; None is the last.

    Raises:
        InputError: None has it, or this one has not.
    """
    found = iterations_with(run, name)
    if not found:
        raise InputError(
            f"{run} has no {what} yet.",
            f"Go on with the run: `lingualign align {run / 'config.yaml'} output={run}`.",
        )
    if iteration is not None and iteration not in found:
        raise InputError(
            f"{run} has no {Path(name).stem} of iteration {iteration}.",
            f"There are those of {', '.join(map(str, found))}.",
        )
    return found[-1] if iteration is None else iteration


def table_files(path: Path) -> list[Path]:
    """The files of a table that is one Parquet file, or a folder of part files.

    Raises:
        InputError: The folder has no part files.
    """
    files = part_files(path) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path}: a folder without part-*.parquet files.")
    return files


def read_parts(path: Path, schema: pa.Schema) -> list[dict[str, Any]]:
    """Reads a table that is one Parquet file, or a folder of part files.

    Raises:
        InputError: There is no such file or folder, the folder has no part files, or a file is not readable.
    """
    return [row for file in table_files(path) for row in read_table(file, schema)]


def other_configuration(folder: Path, what: str) -> InputError:
    """The error for a folder that belongs to another run."""
    return InputError(
        f"{folder} was made by another configuration: {what}.",
        "Choose another folder with output=, or delete this one to start afresh.",
    )


def check_fingerprint(folder: Path, record: StageRecord | None, stage: Stage) -> None:
    """Refuses to go on with a stage that was started from other inputs.

    Raises:
        InputError: It was. The message names the inputs that differ.
    """
    different = differing_parts(record.fingerprint, stage.fingerprint) if record else []
    if different:
        raise other_configuration(folder, f"{stage.name} had another {' and another '.join(different)}")


class RunFolder:
    """An open run folder. Make one with `open_run_folder`."""

    def __init__(
        self, folder: Path, manifest: Manifest, reporter: Reporter, shared_with: Sequence[Path] = ()
    ) -> None:
        self.folder = folder
        self.manifest = manifest
        self.reporter = reporter
        self.shared_with = shared_with

    def save_manifest(self) -> None:
        """Writes `manifest.json`."""
        self.manifest.write(self.folder / "manifest.json")

    def is_done(self, stage: Stage, outputs: Iterable[Path]) -> bool:
        """Whether a stage is complete, from the same inputs, and nobody deleted any of its outputs since.

        Raises:
            InputError: The stage was started from other inputs.
        """
        record = self.manifest.stages.get(stage.name)
        if record is None:
            return False
        check_fingerprint(self.folder, record, stage)
        return record.status == "done" and all(output.exists() for output in outputs)

    def take_over(self, stage: Stage, outputs: Sequence[Path], files: Iterable[Path] = ()) -> bool:
        """Takes over what another run made in the same stage from the same inputs, if one of them has.

        The record of the stage keeps the seconds that it took there: what a method costs does not depend on
        which run came first.

        Args:
            stage: The stage, not done here.
            outputs: The files or folders that it makes.
            files: What has to be in the folders for the stage to be whole.
        """
        needed = [path.relative_to(self.folder) for path in (*outputs, *files)]
        found = find_done(self.shared_with, stage.name, stage.fingerprint, needed)
        if found is None:
            return False
        run, record = found
        for output in outputs:
            link(run / output.relative_to(self.folder), output)
        origin = os.path.relpath(run, self.folder)
        self.manifest.stages[stage.name] = record.model_copy(update={"shared_from": origin})
        self.save_manifest()
        self.reporter.note(f"{stage.name}: the same as in {run}")
        return True

    def discard(self, path: Path) -> None:
        """Removes a file or folder of the run; the stage that made it makes it again."""
        remove(path)

    @contextmanager
    def working(self, stage: Stage, outputs: Sequence[Path], scratch: Sequence[Path] = ()) -> Iterator[None]:
        """Keeps the books of a stage that is not done: started before its work, done after it.

        What is found at the outputs of a stage that the manifest does not know is nobody's, and removed.

        Args:
            stage: The stage.
            outputs: Files and folders that it makes.
            scratch: Others, which are gone when it is done.

        Raises:
            InputError: The disk is full, may not be written, or memory ran out.
        """
        record = self.manifest.stages.get(stage.name)
        if record is None:
            for output in (*outputs, *scratch):
                self.discard(output)
            record = StageRecord(fingerprint=stage.fingerprint, status="started", started=now())
            self.manifest.stages[stage.name] = record
        record.status = "started"
        record.files, record.stamps = {}, {}  # what is made now may be rounded differently
        self.save_manifest()
        start = time.monotonic()
        try:
            yield
        except BaseException as error:
            record.seconds = round(record.seconds + time.monotonic() - start, 2)
            with suppress(InputError):  # on a full disk: the manifest stays as it is
                self.save_manifest()
            explained = explain(error, outputs[0])
            if explained is None or explained is error:
                raise
            raise explained from error
        for path in scratch:
            self.discard(path)
        record.seconds = round(record.seconds + time.monotonic() - start, 2)
        record_files(self.folder, record, outputs)
        record.status = "done"
        record.finished = now()
        self.save_manifest()

    def chunks(
        self,
        stage: Stage,
        chunks: Sequence[Chunk],
        schema: pa.Schema,
        compute: Compute,
        scratch: str | None = None,
    ) -> Path:
        """A stage that writes a part file a chunk into a folder of its name, and keeps those there are.

        Args:
            stage: The stage.
            chunks: All of its chunks, in order.
            schema: Of the part files.
            compute: Makes the rows of those that are missing (`lingualign.pipeline.work`).
            scratch: What a stopped `compute` leaves in the run folder to go on from; removed at the end.

        Returns:
            The folder of part files.
        """
        output = self.folder / stage.name
        files = [output / chunk.filename for chunk in chunks]
        leftover = [self.folder / scratch] if scratch else []
        if self.is_done(stage, files):
            self.reporter.skip(stage.name)
            return output
        if self.take_over(stage, [output], files):
            for path in leftover:
                self.discard(path)
            return output
        with self.working(stage, [output], leftover):
            missing = [chunk for chunk in chunks if not (output / chunk.filename).exists()]
            total = sum(chunk.size for chunk in chunks)
            done = total - sum(chunk.size for chunk in missing)
            with self.reporter.stage(stage.name, total, "prompts", done) as task:
                within: dict[Chunk, float] = {}  # prompts done of chunks that are not

                def progress(chunk: Chunk, steps: int, total: int) -> None:
                    within[chunk] = chunk.size * steps / max(1, total)
                    task.update(done + int(sum(within.values())))

                for chunk, rows in compute(missing, progress):
                    write_table(output / chunk.filename, rows, schema)
                    within.pop(chunk, None)
                    done += chunk.size
                    task.update(done + int(sum(within.values())))
        return output

    def file(
        self,
        stage: Stage,
        filename: str,
        make: Callable[[Path, Task], None],
        total: int = 1,
        unit: str = "steps",
        scratch: str | None = None,
        companion: str | None = None,
    ) -> Path:
        """A stage that makes one file or folder, `filename` in the run folder.

        Args:
            stage: The stage.
            filename: Relative to the run folder.
            make: Makes it, atomically, at the path it is given, and tells the task of its progress.
            total: Steps that `make` will tell of.
            unit: What the steps are.
            scratch: What a stopped `make` leaves in the run folder to go on from; removed at the end.
            companion: A second file, which `make` writes too.

        Returns:
            The path of the file or folder.
        """
        output = self.folder / filename
        outputs = [output] + ([self.folder / companion] if companion else [])
        if self.is_done(stage, outputs):
            self.reporter.skip(stage.name)
            return output
        leftover = [self.folder / scratch] if scratch else []
        if self.take_over(stage, outputs):
            for path in leftover:
                self.discard(path)
            return output
        with self.working(stage, outputs, leftover):
            # What is there is whole: the last start was stopped between making it and noting that it is done.
            if not all(path.exists() for path in outputs):
                with self.reporter.stage(stage.name, total, unit) as task:
                    make(output, task)
        return output


@contextmanager
def open_run_folder(
    folder: Path,
    config_text: str,
    seed: int,
    inputs: Mapping[str, list[Any]],
    reporter: Reporter,
    shared_with: Sequence[Path] = (),
) -> Iterator[RunFolder]:
    """Locks a run folder, and writes the configuration and the versions of this start into it.

    Args:
        folder: The run folder, already checked (`lingualign.pipeline.validate`).
        config_text: The resolved configuration as YAML.
        seed: Of the run.
        inputs: Hashes of model files, kept for the next start.
        reporter: Who is told of the stages.
        shared_with: Folders of other runs, whose finished stages are taken over where they are the same.

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
        run = RunFolder(folder, manifest, reporter, shared_with)
        run.save_manifest()
        try:
            yield run
        finally:
            remove_leftovers(folder)
