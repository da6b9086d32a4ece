"""Measuring: the time of a block, the speed of a disk, the memory of this process at its peak."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

WRITTEN = 16_000_000  # bytes, to see how fast a disk is


def disk_speed(folder: Path) -> float:
    """Bytes a second that a folder's disk takes."""
    content = os.urandom(WRITTEN)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".lingualign-probe-") as file:
        start = time.monotonic()
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        return WRITTEN / (time.monotonic() - start)


def peak_memory() -> float:
    """Bytes that this process had at its peak: of the GPU where there is one, else of main memory."""
    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated())
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


@dataclass
class Clock:
    """Seconds that a block took, once it is done."""

    seconds: float = 0.0


@contextmanager
def timed() -> Iterator[Clock]:
    """Times a block, and waits for the GPU at both ends."""
    clock = Clock()
    wait()
    start = time.monotonic()
    yield clock
    wait()
    clock.seconds = time.monotonic() - start


def wait() -> None:
    """Waits until a GPU has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
