"""Answers that are kept: no request is made twice, over all runs that share a file.

The file has one answer a line, which is on the disk before the next one is asked for in its place. A kill can
tear the last line only, and a torn line is dropped.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import math
import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any

from lingualign.errors import InputError
from lingualign.servers.chat import Completion


def request_key(body: Mapping[str, Any]) -> str:
    """A hash of all that an answer depends on: the model, the filled-in template, and the options.

    The order of two responses and the seed of its draw are in the text. The address of the server is not: the
    same model may come back behind another port.

    Args:
        body: A request; see `ChatServer.body`.

    Returns:
        SHA-256 in hexadecimal digits.
    """
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


class AnswerStore:
    """Answers by `request_key`, in a JSON-lines file that only grows.

    Args:
        path: The file; it is made where there is none. One process at a time has it open. None keeps answers
            in memory.

    Raises:
        InputError: On entering, if another process has it open, it cannot be written, or a line that is not
            the last is none of ours.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._answers: dict[str, Completion] = {}
        self._lock, self._disk = threading.Lock(), threading.Lock()
        self._written = self._flushed = 0  # lines of this process: handed to the system, and on the disk
        self._handle: FileIO | None = None

    def __enter__(self) -> AnswerStore:
        if self.path is None:
            return self
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = FileIO(self.path, "a+")  # no buffer that could be written later
        except OSError as error:
            raise self._unwritable(error) from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            handle.seek(0)
            content = handle.read()
            whole = content.rfind(b"\n") + 1
            self._answers = self._parse(content[:whole])
            handle.truncate(whole)  # the next line must not continue a torn one
        except BlockingIOError:
            handle.close()
            raise InputError(
                f"{self.path}: another process is writing into this file.",
                "Wait for it to end, stop it, or choose another file.",
            ) from None
        except BaseException:
            handle.close()
            raise
        self._handle = handle
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handle is not None:
            self._handle.close()
            self._handle = None

    def get(self, key: str) -> Completion | None:
        """The answer to a request, None where it is not known."""
        return self._answers.get(key)

    def put(self, key: str, name: str, answer: Completion) -> None:
        """Keeps an answer; it is on the disk when this returns. Threads may call it at once.

        Args:
            key: See `request_key`.
            name: What was asked, for people who read the file.
            answer: To keep.

        Raises:
            InputError: The file cannot be written.
        """
        line = json.dumps({"key": key, "name": name, **asdict(answer)}) + "\n"
        with self._lock:
            self._answers[key] = answer
            if self._handle is None:
                return
            self._append(self._handle, line.encode())
            self._written += 1
            number, handle = self._written, self._handle.fileno()
        with self._disk:  # one for all that have written since the last: it takes long on many file systems
            if self._flushed >= number:
                return
            written = self._written
            try:
                os.fsync(handle)
            except OSError as error:
                raise self._unwritable(error) from None
            self._flushed = written

    def _append(self, handle: FileIO, line: bytes) -> None:
        """Writes a line, all of it or nothing."""
        start = handle.seek(0, os.SEEK_END)
        try:
            if handle.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            with suppress(OSError):
                handle.truncate(start)
            raise self._unwritable(error) from None

    def _parse(self, content: bytes) -> dict[str, Completion]:
        answers = {}
        for number, line in enumerate(content.splitlines(), 1):
            try:
                row = json.loads(line)
                answers[row["key"]] = _completion(row)
            except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
                raise InputError(
                    f"{self.path}, line {number}: not an answer that was kept.",
                    "Delete the line: what it stood for is asked again.",
                ) from None
        return answers

    def _unwritable(self, error: OSError) -> InputError:
        return InputError(f"{self.path} cannot be written: {error.strerror}.")


def _completion(row: Mapping[str, Any]) -> Completion:
    """An answer as it was kept; ValueError where a value is not of its type."""
    text, finished, refused = row["text"], row["finished"], row.get("refused", False)
    logprobs = row["top_logprobs"]
    numbers = logprobs is None or all(
        isinstance(value, int | float) and value < math.inf for value in logprobs.values()
    )
    if not (isinstance(text, str) and isinstance(finished, bool) and isinstance(refused, bool) and numbers):
        raise ValueError("not an answer")
    return Completion(text, finished, logprobs, refused)
