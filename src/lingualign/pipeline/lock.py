"""One run folder, one writer."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
from pathlib import Path
from types import TracebackType

from lingualign.accidents import writing
from lingualign.errors import InputError

NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP}  # of file systems without locks, or mounted without

logger = logging.getLogger(__name__)


class RunLock:
    """An exclusive lock on a run folder, held while the context is open.

    The operating system drops the lock when its process ends, however it ends: a killed run leaves nothing to
    clean up, and the file that stays behind means nothing by itself. On NFS, Linux locks for all machines
    that mount the folder, unless it is mounted with `local_lock`. Where a file system has no locks at all, a
    warning says so and the run goes on.

    Args:
        folder: The run folder; it is made if it is missing.

    Raises:
        InputError: On entering, if another process holds the lock, which the message names, or if the folder
            cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / ".lock"
        self._descriptor: int | None = None

    def __enter__(self) -> RunLock:
        with writing(self.path):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            self._lock(self._descriptor)
        except BaseException:
            self._close()
            raise
        return self

    def _lock(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 200).decode(errors="replace").strip() or "an unknown process"
            raise InputError(
                f"{self.folder}: another run is writing into this folder ({holder}).",
                "Wait for it to end, stop it, or choose another folder with output=.",
            ) from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            logger.warning("%s: this file system has no locks. Let no other run write there.", self.folder)
        with writing(self.path):
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
