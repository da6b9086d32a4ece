"""A process that `lingualign.launching.processes` has started: it works, and ends with its main process."""

from __future__ import annotations

import fcntl
import json
import os
import select
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lingualign.accidents import explain
from lingualign.launching.collector import collect_less_often

Tell = Callable[[str, Any], None]  # (kind, value), which the main process is told
LONGEST = 1500  # characters of a text that is told: a pipe takes 4096 bytes at once, unmixed with others'


@contextmanager
def working(lock: Path) -> Iterator[Tell]:
    """The time in which a worker works. It ends at once if the main process is gone, and tells of errors.

    Args:
        lock: A file that the worker holds a lock on while it lives: a main process that starts later waits
            for that (`lingualign.launching.processes.wait_for_workers`).
    """
    collect_less_often()
    tell = _speak()
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("ab") as handle:
        fcntl.flock(handle, fcntl.LOCK_SH)
        # Behind the lock, so that a worker which comes late leaves before it writes anything.
        if select.select([0], [], [], 0)[0]:
            os._exit(1)
        threading.Thread(target=_end_with_main_process, daemon=True).start()
        try:
            yield tell
        except Exception as error:
            explained = explain(error)
            tell(
                "error",
                {
                    "kind": type(explained or error).__name__,
                    "message": (explained.message if explained else str(error))[:LONGEST],
                    "remedy": explained.remedy if explained else "",
                    "traceback": traceback.format_exc()[-LONGEST:],
                },
            )
            raise


def _speak() -> Tell:
    """Keeps standard output for what the main process is told; whatever else is printed goes to stderr."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr

    def tell(kind: str, value: Any) -> None:
        channel.write(json.dumps({"event": kind, "value": value}) + "\n")
        channel.flush()

    return tell


def _end_with_main_process() -> None:
    os.read(0, 1)  # returns when the other end is closed
    os._exit(1)
