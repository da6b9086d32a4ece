"""Small files, written so that a kill leaves the old one or the new one, never half of one."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from lingualign.accidents import writing
from lingualign.errors import InputError


def write_text(path: Path, text: str) -> None:
    """Writes a text file atomically: a temporary name beside it, flushed, then renamed.

    Raises:
        InputError: It cannot be written, because the disk is full for example.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("w", encoding="utf-8") as handle:
                handle.write(text)
                handle.flush()
                os.fsync(handle.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Writes a value as indented JSON, atomically; non-ASCII text stays readable, NaN is an error."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Reads a JSON file that `write_json` wrote.

    Raises:
        InputError: The file is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: not readable as JSON ({error}).", "Delete it; it will be made again."
        ) from None


def remove(path: Path) -> None:
    """Removes a file or a folder; of a folder, a kill leaves all of it or nothing under its name."""
    if path.is_dir():
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        shutil.rmtree(path.rename(temporary))
    else:
        path.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Removes the temporary files and folders that killed or failed processes left anywhere under a folder.

    Only for the holder of the folder's lock: anybody else's temporary file may still be in use.
    """
    for temporary in list(folder.rglob(".*.tmp")):
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)
