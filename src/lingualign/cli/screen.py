"""The screen of a run on a terminal: all stages, the speed of the one under way, the rest, the last warnings.

It is redrawn in place below what the run has to tell, at most four times a second, by a thread of its own:
what the hot loops call only stores numbers. When the run ends, a short account stays in its place.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType
from rich.text import Text

from lingualign.cli.run_state import RunState
from lingualign.cli.screen_lines import ASCII, Symbols, duration, group_lines, screen_lines
from lingualign.texts import visible

if TYPE_CHECKING:
    from lingualign.pipeline.progress import Task

REFRESH = 4.0  # times a second


class _Picture:
    """The run as rich draws it.

    Attributes:
        widths: Columns of the lines as they were drawn last.
        drawn_at: Columns of the terminal then.
    """

    def __init__(self, title: str, state: RunState, warnings: list[str], symbols: Symbols) -> None:
        self._known = title, state, warnings
        self._symbols = symbols
        self.widths: list[int] = []
        self.drawn_at = 0

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        # One column and one line are left free, so that nothing wraps or scrolls.
        width, height = max(1, options.size.width - 1), max(1, options.size.height - 1)
        title, state, warnings = self._known
        lines = screen_lines(title, state, list(warnings), width, height, time.monotonic(), self._symbols)
        for line in lines:
            line.truncate(width, overflow="ellipsis")
        self.widths, self.drawn_at = [line.cell_len for line in lines], options.size.width
        yield Text("\n").join(lines)


class _Live(Live):
    """A live display that survives a terminal which wraps the lines on it because it was made narrower."""

    def __init__(self, picture: _Picture, console: Console) -> None:
        self._picture = picture
        super().__init__(
            picture,
            console=console,
            refresh_per_second=REFRESH,
            transient=True,
            # Results on stdout may be on their way to a file.
            redirect_stdout=sys.stdout.isatty(),
        )

    def refresh(self) -> None:
        """Draws again in the place of what was drawn before."""
        with self.console:
            self._unwrap()
            super().refresh()

    def _unwrap(self) -> None:
        """Erases what was drawn if it takes more lines now, and leaves the cursor where it would be else."""
        width, lines = self.console.width, len(self._picture.widths)
        rows = sum(max(1, -(-columns // width)) for columns in self._picture.widths)
        if width >= self._picture.drawn_at or rows <= lines:
            return
        up = ((ControlType.CURSOR_UP, 1), (ControlType.ERASE_IN_LINE, 2)) * (rows - 1)
        down = ((ControlType.CURSOR_DOWN, lines - 1),) if lines > 1 else ()
        self.console.control(Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2), *up, *down))
        self._picture.drawn_at = width


class ScreenReporter:
    """One screen for a run; for a stage alone, its bar, and a line when it is done.

    Args:
        console: Where to draw. Default: stderr.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self._symbols = Symbols() if "utf" in self.console.encoding.lower() else ASCII
        self._state: RunState | None = None
        self._warnings: list[str] = []

    @contextmanager
    def run(self, folder: Path, stages: Mapping[str, float | None]) -> Iterator[None]:
        """See `Reporter`."""
        from lingualign.pipeline.library_warnings import library_warnings

        state = self._state = RunState(stages, time.monotonic())
        self._warnings = []
        ended = False
        try:
            with library_warnings(self._library_warning, instead=True), self._live(str(folder)):
                yield
            ended = True
            state.finish()
        finally:
            self._state = None
            self._account(folder, state, ended)

    @contextmanager
    def stage(self, name: str, total: int, unit: str = "chunks", done: int = 0) -> Iterator[Task]:
        """See `Reporter`."""
        if self._state is not None:
            stage = self._state.begin(name, total, unit, done, time.monotonic())
            yield stage
            self._state.end(time.monotonic())
            return
        state = self._state = RunState({name: None}, time.monotonic())
        try:
            with self._live(""):
                yield state.begin(name, total, unit, done, time.monotonic())
        finally:
            self._state = None
        took = duration(time.monotonic() - state.began)
        self.console.print(f"[green]{self._symbols.done}[/green] {name}  [dim]{took}[/dim]")

    @contextmanager
    def _live(self, title: str) -> Iterator[None]:
        assert self._state is not None
        with _Live(_Picture(title, self._state, self._warnings, self._symbols), self.console):
            # Not even a process that is killed leaves the terminal without a cursor.
            self.console.show_cursor(True)
            yield

    def skip(self, name: str) -> None:
        """See `Reporter`."""
        if self._state is not None:
            self._state.skip(name)
        else:
            self.console.print(f"[dim]{self._symbols.done} {name}  done before[/dim]")

    def note(self, text: str) -> None:
        """See `Reporter`."""
        self.console.print(text, markup=False)

    def warn(self, text: str) -> None:
        """See `Reporter`."""
        if self._state is None:
            self.console.print(f"warning: {text}", style="yellow", markup=False)
        elif (shown := visible(text)) not in self._warnings:
            self._warnings.append(shown)

    def result(self, kind: str, value: dict[str, Any]) -> None:
        """See `Reporter`."""

    def _library_warning(self, record: logging.LogRecord) -> None:
        try:
            self.warn(f"{record.name.partition('.')[0]}: {record.getMessage()}")
        except (TypeError, ValueError):  # arguments that do not fit its text
            self.warn(f"{record.name.partition('.')[0]}: {record.msg}")

    def _account(self, folder: Path, state: RunState, ended: bool) -> None:
        """What stays of the screen: a line an iteration, all warnings, and the whole."""
        for line in group_lines(state, self._symbols):
            self.console.print(line, soft_wrap=True)
        for text in self._warnings:
            self.console.print(f"warning: {text}", style="yellow", markup=False, soft_wrap=True)
        took = duration(time.monotonic() - state.began)
        stages = f"{state.finished()} of {len(state.stages)} stages"
        log = f"Log: {folder / 'run.log'}"
        if ended:
            self.console.print(f"[green]{self._symbols.done}[/green] ", end="")
            self.console.print(f"{folder}: {stages} done, {took}. {log}", markup=False, soft_wrap=True)
        else:
            where = f" in {state.running.name}" if state.running else ""
            self.console.print(f"[red]{self._symbols.failed}[/red] ", end="")
            self.console.print(
                f"{folder}: stopped{where} after {took}, {stages} done. {log}", markup=False, soft_wrap=True
            )
