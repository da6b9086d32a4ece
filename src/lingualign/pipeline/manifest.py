"""`manifest.json`: which stages of a run are done, from which inputs, with which versions, and when."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from lingualign.errors import InputError
from lingualign.pipeline.files import read_json, write_text
from lingualign.pipeline.fingerprints import Fingerprint

PACKAGES = ("lingualign", "torch", "transformers", "peft", "tokenizers", "numpy", "pyarrow", "py3langid")


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

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Reads a manifest; a missing file is an empty one.

        Raises:
            InputError: The file is not a manifest of this version.
        """
        if not path.exists():
            return cls()
        try:
            return cls.model_validate(read_json(path))
        except ValidationError as error:
            first = error.errors()[0]
            raise InputError(
                f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}.",
                "Another version of lingualign or a hand wrote it: choose another folder with output=.",
            ) from None

    def write(self, path: Path) -> None:
        """Writes the manifest atomically."""
        write_text(path, self.model_dump_json(indent=2) + "\n")


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
