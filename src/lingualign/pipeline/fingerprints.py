"""What a stage's output depends on, as a handful of hashes.

A fingerprint is a mapping of named parts ("policy", "prompts", "settings", ...) to hashes, instead of one
hash, so that a difference can be named. The output of an earlier stage enters by that stage's fingerprint,
not by its
bytes: the fingerprints of a whole run are known before it starts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from lingualign.prompts import ParallelPrompts

Fingerprint = dict[str, str]

# What decides how a model and its tokenizer behave; optimiser states, logs and read-me files do not.
MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt")


def digest(value: Any) -> str:
    """Hashes any value made of JSON types and pydantic models; the order of keys does not matter."""

    def plain(part: Any) -> Any:
        return part.model_dump(mode="json") if isinstance(part, BaseModel) else str(part)

    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=plain)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def settings_digest(section: BaseModel, *without: str) -> str:
    """Hashes a section of the configuration, leaving out fields that cannot change what comes out."""
    return digest(section.model_dump(mode="json", exclude=set(without)))


def prompts_digest(prompts: ParallelPrompts) -> str:
    """Hashes the ids, languages and messages of prompts."""
    return digest(
        {
            language: [[prompt.id, list(prompt.messages)] for prompt in aligned]
            for language, aligned in prompts.by_language.items()
        }
    )


class ModelDigests:
    """Hashes of model folders, by the contents of their files.

    A file is read once: its hash is kept with its size and modification time, and read again only when they
    change. `cache` goes into the manifest and comes back from it.

    Args:
        cache: Known hashes, `path -> [size, modification time in ns, hash]`.
    """

    def __init__(self, cache: Mapping[str, list[Any]] | None = None) -> None:
        self.cache: dict[str, list[Any]] = dict(cache or {})

    def __call__(self, folder: Path) -> str:
        """The hash of one model folder."""
        files = sorted({path for pattern in MODEL_FILES for path in folder.glob(pattern) if path.is_file()})
        return digest({path.name: self._file(path) for path in files})

    def _file(self, path: Path) -> str:
        stat = path.stat()
        key = str(path.resolve())
        known = self.cache.get(key)
        if known is None or known[:2] != [stat.st_size, stat.st_mtime_ns]:
            with path.open("rb") as handle:
                content = hashlib.file_digest(handle, "sha256").hexdigest()
            known = self.cache[key] = [stat.st_size, stat.st_mtime_ns, content]
        return str(known[2])


def differing_parts(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """The names of parts that are not the same in two fingerprints, in the new one's order."""
    return [name for name in [*new, *(old.keys() - new.keys())] if old.get(name) != new.get(name)]
