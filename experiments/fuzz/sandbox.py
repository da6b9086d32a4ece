"""What a case may do: give a value or an `InputError`, in seconds, and write into its folder alone."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from lingualign.errors import InputError

SECONDS = 10.0  # of computing that an input may take; code in C that never ends is up to the runner
WRITES = frozenset({"os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.link", "os.chmod"})
EXECUTES = frozenset({"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "pickle.find_class"})

Value = TypeVar("Value")


class Finding(BaseException):
    """Something that a case must not do; no `except Exception` hides it."""


class _Watch:
    """Sees every file that Python code opens, while a case runs."""

    def __init__(self) -> None:
        self.root: str | None = None
        self._hooked = False

    def start(self, root: Path) -> None:
        if not self._hooked:  # a hook cannot be taken away again
            sys.addaudithook(self._see)
            self._hooked = True
        self.root = str(root)

    def stop(self) -> None:
        self.root = None

    def _see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.root is None:
            return
        if event in EXECUTES:
            self._found(f"{event}{arguments[:2]!r}")
        if event in WRITES and arguments[-1] == -1:  # else relative to an open folder, as `rmtree` does it
            places = {"os.rename": arguments[:2], "os.link": arguments[1:2], "os.symlink": arguments[1:2]}
            for path in places.get(event, arguments[:1]):
                self._check(event, path)
        if event == "open":
            path, mode, flags = arguments
            writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if isinstance(path, str | bytes) and (
                writes or (isinstance(mode, str) and set(mode) & set("wax+"))
            ):
                self._check(event, path)

    def _check(self, event: str, path: Any) -> None:
        if isinstance(path, int):  # an open file
            return
        place = os.path.realpath(os.fsdecode(path))
        if place.startswith(f"{self.root}{os.sep}") or place in (self.root, os.devnull):
            return
        if "__pycache__" in place:  # a module that is imported for the first time
            return
        self._found(f"{event} {place!r}, which is not in the folder of the case")

    def _found(self, what: str) -> None:
        self.root = None
        raise Finding(what)


_WATCH = _Watch()


@contextmanager
def case_folder(seconds: float = SECONDS) -> Iterator[Path]:
    """A folder for one case, watched and timed; it is gone afterwards.

    Raises:
        Finding: The case took too long, wrote elsewhere, or ran a program.
    """
    root = Path(os.path.realpath(tempfile.mkdtemp(prefix="lingualign-fuzz-")))
    folder = root / "case"
    folder.mkdir()
    before = signal.signal(signal.SIGPROF, _too_long)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    _WATCH.start(folder)
    try:
        yield folder
        beside = [path.name for path in root.iterdir() if path != folder]
        if beside:
            raise Finding(f"{beside} was written beside the folder of the case")
    finally:
        _WATCH.stop()
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
        shutil.rmtree(root, ignore_errors=True)


def _too_long(number: int, frame: FrameType | None) -> None:
    raise Finding(f"an input took more than {SECONDS:g} seconds of computing")


def refused(function: Callable[..., Value], *arguments: Any, **options: Any) -> tuple[Value | None, bool]:
    """Calls a reader: its value, and whether it refused the input with a message that can be shown.

    Raises:
        Finding: The message cannot be shown: it is empty, or no text.
    """
    try:
        return function(*arguments, **options), False
    except InputError as error:
        if not error.message.strip():
            raise Finding("an InputError without a message") from error
        return None, True
