"""What the runs of a comparison have in common is made once: what one has done, the others take over.

A stage of the same name with the same fingerprint makes the same files, whichever run it belongs to.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from lingualign.pipeline.fingerprints import Fingerprint
from lingualign.pipeline.manifest import Manifest, StageRecord


def find_done(
    runs: Iterable[Path], name: str, fingerprint: Fingerprint, files: Sequence[Path]
) -> tuple[Path, StageRecord] | None:
    """The first run that has done a stage from the same inputs and still has its files, with its record.

    Args:
        runs: Run folders; those that are not there yet have done nothing.
        name: Of the stage.
        fingerprint: Of the stage.
        files: What the stage makes, relative to a run folder.
    """
    for run in runs:
        record = Manifest.read(run / "manifest.json").stages.get(name)
        if record is None or record.status != "done" or record.fingerprint != fingerprint:
            continue
        if all((run / file).exists() for file in files):
            return run, record
    return None


def link(source: Path, target: Path) -> None:
    """Puts a file or a folder in a second place, whole or not at all; what is there is replaced.

    Files are hard links where the file system allows, and copies elsewhere. Nothing in a run folder is
    changed in place, so a second name is as good as a second file.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.tmp")
    _remove(temporary)  # left by a killed process
    if source.is_dir():
        shutil.copytree(source, temporary, copy_function=_link_file)
    else:
        _link_file(source, temporary)
    _remove(target)  # also because renaming one name of a file onto another one does nothing
    temporary.rename(target)


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _link_file(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)
