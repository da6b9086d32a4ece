"""`run.log`: what a run did, when, and what went wrong, beside its results.

Every start of a run appends: the command and the versions, the stages with their seconds, notes, warnings of
ours and of the libraries, and the error that ended it, with its traceback if it is a defect. A log that
cannot be written is no reason for a run to end. Keys do not get into it.
"""

from __future__ import annotations

import logging
import os
import platform
import re
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from lingualign.config import RunConfig
from lingualign.errors import InputError
from lingualign.pipeline.library_warnings import library_warnings
from lingualign.pipeline.plan import REWARD, Plan
from lingualign.pipeline.progress import Reporter, Task
from lingualign.texts import visible

if TYPE_CHECKING:
    from lingualign.pipeline.folder import RunFolder
    from lingualign.pipeline.validate import CheckedRun

NAME = "run.log"
HEARTBEAT = 600.0  # seconds between the lines of one long stage
SECRET = re.compile(r"(_|^)(KEY|TOKEN|SECRET|PASSWORD)$", re.IGNORECASE)
SHORTEST_SECRET = 8  # characters; a shorter value is a switch
IN_ADDRESS = re.compile(r"(?<=://)[^/\s@]+@")  # user and password


@contextmanager
def run_log(folder: RunFolder, checked: CheckedRun) -> Iterator[None]:
    """Tells the folder's reporter of a run from its start to its end, and writes a log of it.

    Args:
        folder: The open run folder.
        checked: The run.
    """
    reporter, records = folder.reporter, folder.manifest.stages
    done = {name: records[name].seconds for name in records if records[name].status == "done"}
    stages = {name: done.get(name) for name in stages_in_order(checked.plan)}
    with (
        reporter.run(folder.folder, stages),
        open_log(folder.folder / NAME, secrets(checked.config), reporter) as log,
        library_warnings(log.handle),
    ):
        folder.reporter = Logged(reporter, log)
        try:
            with _start_and_end(folder.folder / NAME, log):
                versions = {"Python": platform.python_version(), **folder.manifest.versions}
                log.info("versions: %s", ", ".join(f"{name} {of}" for name, of in versions.items()))
                log.info("system: %s, process %d", platform.platform(), os.getpid())
                log.info("stages: %d, %d of them done before", len(stages), len(stages.keys() & done.keys()))
                for path in checked.corrupt:
                    log.warning("%s was damaged and will be made again", path)
                yield
        finally:
            folder.reporter = reporter


@contextmanager
def _start_and_end(path: Path, log: logging.Logger) -> Iterator[None]:
    began = time.monotonic()
    log.info("start: %s", shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]))
    try:
        yield
    except InputError as error:
        log.error("%s", error)
        raise
    except KeyboardInterrupt:
        log.warning("interrupted after %.1f s", time.monotonic() - began)
        raise
    except BaseException as error:
        log.exception("ended by %s after %.1f s", type(error).__name__, time.monotonic() - began)
        error.add_note(f"The log of the run: {path}")
        raise
    log.info("end: after %.1f s", time.monotonic() - began)


def stages_in_order(plan: Plan) -> list[str]:
    """The names of a run's stages in the order in which they run: a reward is trained when it is needed."""
    names = [name for name in plan.fingerprints if name != REWARD]
    if plan.has(REWARD):
        names.insert(names.index(plan.iterations[0].name("scores")), REWARD)
    return names


@contextmanager
def open_log(path: Path, hidden: set[str], reporter: Reporter) -> Iterator[logging.Logger]:
    """A logger of its own that appends to a file.

    Args:
        path: Of the file.
        hidden: Texts that are written as `***`.
        reporter: Warned if the file cannot be written.
    """
    # No child of the root logger: an application that uses us sets its logging up as it likes.
    log = logging.Logger("run", logging.INFO)
    handler: logging.Handler
    try:
        handler = _LogFile(path, reporter)
    except OSError as error:
        reporter.warn(f"{path} cannot be written: {error}. The run goes on without a log.")
        handler = logging.NullHandler()
    handler.setFormatter(_Formatter(hidden))
    log.addHandler(handler)
    try:
        yield log
    finally:
        log.removeHandler(handler)
        with suppress(OSError):  # the last flush
            handler.close()


class _LogFile(logging.FileHandler):
    """A file that is given up, with one warning, when the disk is full."""

    def __init__(self, path: Path, reporter: Reporter) -> None:
        super().__init__(path, encoding="utf-8", errors="backslashreplace")
        self._reporter = reporter
        self._failed = False

    def emit(self, record: logging.LogRecord) -> None:
        if not self._failed:
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):  # a library that logs with wrong arguments
            super().handleError(record)
            return
        self._failed = True
        self._reporter.warn(f"{self.baseFilename} cannot be written: {error}. The run goes on without a log.")


class _Formatter(logging.Formatter):
    def __init__(self, hidden: set[str]) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%SZ")
        self.converter = time.gmtime
        self._hidden = sorted(hidden, key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        for secret in self._hidden:
            text = text.replace(secret, "***")
        # Indented, so that no text from data passes for a line of the log.
        return visible(IN_ADDRESS.sub("***@", text)).replace("\n", "\n    ")


def secrets(config: RunConfig) -> set[str]:
    """The values of environment variables that hold keys: those that the settings name, and all called so."""
    named = {config.measures.server.api_key_env, config.translation.api_key_env}
    return {
        value
        for name, value in os.environ.items()
        if (name in named or SECRET.search(name)) and len(value) >= SHORTEST_SECRET
    }


class Logged:
    """A reporter that passes everything on, and writes it into a log.

    Args:
        reporter: Who is told.
        log: What is written to.
    """

    def __init__(self, reporter: Reporter, log: logging.Logger) -> None:
        self._reporter = reporter
        self._log = log
        self.run = reporter.run
        self.result = reporter.result

    @contextmanager
    def stage(self, name: str, total: int, unit: str = "chunks", done: int = 0) -> Iterator[Task]:
        """See `Reporter`."""
        began = time.monotonic()
        before = f", {done} of {total} {unit} done before" if done else ""
        self._log.info("%s: started%s", name, before)
        with self._reporter.stage(name, total, unit, done) as task:
            logged = _LoggedTask(task, self._log, name, total, unit, done)
            try:
                yield logged
            except BaseException:
                self._log.warning("%s: stopped at %s", name, logged)
                raise
        self._log.info("%s: done in %.1f s, %s", name, time.monotonic() - began, logged)

    def skip(self, name: str) -> None:
        """See `Reporter`."""
        self._log.info("%s: done before", name)
        self._reporter.skip(name)

    def note(self, text: str) -> None:
        """See `Reporter`."""
        self._log.info("%s", text)
        self._reporter.note(text)

    def warn(self, text: str) -> None:
        """See `Reporter`."""
        self._log.warning("%s", text)
        self._reporter.warn(text)


class _LoggedTask:
    def __init__(self, task: Task, log: logging.Logger, name: str, total: int, unit: str, done: int) -> None:
        self._task, self._log, self._name = task, log, name
        self._total, self._unit, self._done, self._detail = total, unit, done, ""
        self._told = time.monotonic()

    def update(self, done: int, total: int | None = None, detail: str = "") -> None:
        self._task.update(done, total, detail)
        self._done, self._detail = done, detail
        self._total = self._total if total is None else total
        if time.monotonic() - self._told > HEARTBEAT:
            self._told = time.monotonic()
            self._log.info("%s: %s", self._name, self)

    def __str__(self) -> str:
        detail = f", {self._detail}" if self._detail else ""
        return f"{self._done} of {self._total} {self._unit}{detail}"
