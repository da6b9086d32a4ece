"""How a run tells what it is doing: to a person at a terminal, to a log, or to another program.

Progress goes to stderr and results to stdout, so that a result can be piped on.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from lingualign.cli.screen import ScreenReporter
from lingualign.cli.screen_lines import duration
from lingualign.texts import visible

if TYPE_CHECKING:
    from lingualign.pipeline.progress import Reporter

LOG_EVERY = 600.0  # seconds between the lines of one long stage where there is no progress bar
TABLE_WIDTH = 140  # columns that a table of measures needs; a narrower terminal wraps its lines


def make_reporter(json_lines: bool) -> Reporter:
    """The reporter for this process: JSON lines, one screen on a terminal, or a plain line a stage."""
    if json_lines:
        return JsonReporter()
    console = SafeConsole(stderr=True, highlight=False)
    return ScreenReporter(console) if sys.stderr.isatty() and not console.is_dumb_terminal else LineReporter()


class SafeConsole(Console):
    """A console on which no text from data steers the terminal: what cannot be seen is written out."""

    def render_str(self, text: str, **options: Any) -> Text:
        """See `Console.render_str`: cells of tables and all that is printed as text come by here."""
        return super().render_str(visible(text), **options)


def stdout_console(markup: bool = False) -> Console:
    """A console for results, wide enough for tables wherever it goes, and without colour in a file.

    Args:
        markup: Read `[bold]` as markup; then texts from data have to be escaped.
    """
    console = SafeConsole(no_color=not sys.stdout.isatty(), highlight=False, markup=markup)
    console.width = max(console.width, TABLE_WIDTH)
    return console


def print_run(measures: dict[str, Any]) -> Console:
    """Prints the tables and the verdict of a run, and gives the console for more."""
    from lingualign.measures.table import measure_tables

    console = stdout_console()
    for table in measure_tables(measures):
        console.print(table)
    console.print(measures["iterations"][-1]["verdict"]["sentence"], soft_wrap=True, markup=False)
    return console


class _Lines:
    def __init__(self, name: str, total: int, unit: str, done: int) -> None:
        self.name, self.total, self.unit, self.done, self.detail = name, total, unit, done, ""
        self._last = time.monotonic()

    def update(self, done: int, total: int | None = None, detail: str = "") -> None:
        self.done = done
        self.total = self.total if total is None else total
        if time.monotonic() - self._last > LOG_EVERY:
            self._last = time.monotonic()
            print(f"{self.name}: {self.done} of {self.total} {self.unit} {detail}".rstrip(), file=sys.stderr)


class LineReporter:
    """A plain line a stage, and one every ten minutes of a long one."""

    def run(self, folder: Path, stages: Mapping[str, float | None]) -> AbstractContextManager[None]:
        """See `Reporter`."""
        return nullcontext()

    @contextmanager
    def stage(self, name: str, total: int, unit: str = "chunks", done: int = 0) -> Iterator[_Lines]:
        """See `Reporter`."""
        start = time.monotonic()
        lines = _Lines(name, total, unit, done)
        yield lines
        resumed = f" ({done} of them done before)" if done else ""
        took = duration(time.monotonic() - start)
        print(f"{name}: {lines.total} {unit}{resumed} in {took}", file=sys.stderr, flush=True)

    def skip(self, name: str) -> None:
        """See `Reporter`."""
        print(f"{name}: done before", file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        """See `Reporter`."""
        print(visible(text), file=sys.stderr, flush=True)

    def warn(self, text: str) -> None:
        """See `Reporter`."""
        print(f"warning: {visible(text)}", file=sys.stderr, flush=True)

    def result(self, kind: str, value: dict[str, Any]) -> None:
        """See `Reporter`."""


class _Quiet:
    def update(self, done: int, total: int | None = None, detail: str = "") -> None:
        pass


class JsonReporter:
    """One JSON object a line on stdout, with an `event`: plan, stage, note, warning or a kind of result."""

    def _line(self, event: str, **fields: Any) -> None:
        print(json.dumps({"event": event, **fields}, ensure_ascii=False), flush=True)

    def run(self, folder: Path, stages: Mapping[str, float | None]) -> AbstractContextManager[None]:
        """See `Reporter`."""
        done = [name for name, seconds in stages.items() if seconds is not None]
        self._line("plan", folder=str(folder), stages=list(stages), done=done)
        return nullcontext()

    @contextmanager
    def stage(self, name: str, total: int, unit: str = "chunks", done: int = 0) -> Iterator[_Quiet]:
        """See `Reporter`."""
        start = time.monotonic()
        self._line("stage", name=name, status="started", total=total, unit=unit, done=done)
        yield _Quiet()
        self._line("stage", name=name, status="done", seconds=round(time.monotonic() - start, 2))

    def skip(self, name: str) -> None:
        """See `Reporter`."""
        self._line("stage", name=name, status="skipped")

    def note(self, text: str) -> None:
        """See `Reporter`."""
        self._line("note", text=text)

    def warn(self, text: str) -> None:
        """See `Reporter`."""
        self._line("warning", text=text)

    def result(self, kind: str, value: dict[str, Any]) -> None:
        """See `Reporter`."""
        self._line(kind, **value)
