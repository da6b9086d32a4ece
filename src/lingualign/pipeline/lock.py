"""One run folder, one writer."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path
from types import TracebackType

from lingualign.errors import InputError


class RunLock:
    """An exclusive lock on a run folder, held while the context is open.

    The operating system drops the lock when its process ends, however it ends: a killed run leaves nothing to
    clean up, and the file that stays behind means nothing by itself.

    Args:
        folder: The run folder; it is made if it is missing.

    Raises:
        InputError: On entering, if another process holds the lock. The message names that process.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / ".lock"
        self._descriptor: int | None = None

    def __enter__(self) -> RunLock:
        self.folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 200).decode(errors="replace").strip() or "an unknown process"
            os.close(descriptor)
            raise InputError(
                f"{self.folder}: another run is writing into this folder ({holder}).",
                "Wait for it to end, stop it, or choose another folder with output=.",
            ) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        self._descriptor = descriptor
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
