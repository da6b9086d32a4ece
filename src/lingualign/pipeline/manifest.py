"""`manifest.json`: which stages of a run are done, from which inputs, with which versions, and when.

Without it nobody knows what the files of a run folder are. So it has a checksum of its own, and a copy beside
it is read where it is damaged.
"""

from __future__ import annotations

import hashlib
import logging
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from lingualign.errors import InputError
from lingualign.pipeline.files import read_json, write_text
from lingualign.pipeline.fingerprints import Fingerprint

COPY = ".manifest.copy"
NOT_OURS = "Another version of lingualign or a hand wrote it: choose another folder with output=."
PACKAGES = ("lingualign", "torch", "transformers", "peft", "tokenizers", "numpy", "pyarrow", "py3langid")

logger = logging.getLogger(__name__)


class StageRecord(BaseModel):
    """What is known of one stage."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    fingerprint: Fingerprint
    """What its output depends on: names and hashes."""

    status: Literal["started", "done"]
    """started: it was under way when the run last stopped."""

    started: str
    """UTC, of the first start."""

    finished: str | None = None
    """UTC."""

    seconds: float = 0.0
    """Work, over all starts; what a killed process did after its last finished chunk is not in it. Of a stage
    that was taken over: the work it was where it was done."""

    shared_from: str | None = None
    """The run folder, relative to this one, that the stage was taken over from instead of computed."""

    files: dict[str, str] = {}
    """What it made, once it is done: path in the run folder -> SHA-256. What is written anew at the end of
    each run is left out."""

    stamps: dict[str, list[int]] = {}
    """Of the files that are too large to be read at every start: [size in bytes, modification time in ns]."""


class Manifest(BaseModel):
    """The content of `manifest.json`."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    format: Literal[1] = 1
    """Of this file."""

    seed: int = 0
    """Of the run."""

    versions: dict[str, str] = {}
    """Packages at the last start."""

    inputs: dict[str, list[Any]] = {}
    """Hashes of model files: path -> [size in bytes, modification time in ns, SHA-256]."""

    stages: dict[str, StageRecord] = {}
    """In the order in which they started."""

    checksum: str = ""
    """SHA-256 of all else; none in folders of earlier versions."""

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Reads a manifest, or its copy if it is damaged; a missing file is an empty one.

        Raises:
            InputError: The file is not a manifest of this version, and has no copy that is.
        """
        if not path.exists():
            return cls()
        try:
            return cls._read(path)
        except InputError as error:
            try:
                kept = cls._read(path.with_name(COPY))
            except (InputError, OSError):
                raise error from None
            logger.warning("%s Its copy is used, %s.", error.message, COPY)
            return kept

    @classmethod
    def _read(cls, path: Path) -> Manifest:
        try:
            found = cls.model_validate(read_json(path))
        except InputError as error:
            raise InputError(error.message, NOT_OURS) from None
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise InputError(f"{path}: {where}: {first['msg']}.", NOT_OURS) from None
        if found.checksum not in ("", found._digest()):
            raise InputError(f"{path}: damaged, its checksum is another.", NOT_OURS)
        return found

    def write(self, path: Path) -> None:
        """Writes the manifest and its copy, each atomically."""
        self.checksum = self._digest()
        text = self.model_dump_json(indent=2) + "\n"
        write_text(path, text)
        write_text(path.with_name(COPY), text)

    def _digest(self) -> str:
        return hashlib.sha256(self.model_dump_json(exclude={"checksum"}).encode()).hexdigest()


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def installed_versions() -> dict[str, str]:
    """The versions of the packages that results depend on; those that are not installed are left out."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions
