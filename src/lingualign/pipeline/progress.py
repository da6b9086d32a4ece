"""How the pipeline tells what it is doing, without knowing to whom: a terminal, a log, or another program."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Protocol


class Task(Protocol):
    """A stage under way."""

    def update(self, done: int, total: int | None = None, detail: str = "") -> None:
        """So many steps are done in all; `total` corrects the stage's total, `detail` is a few words."""


class Reporter(Protocol):
    """Who is told."""

    def run(self, folder: Path, stages: Mapping[str, float | None]) -> AbstractContextManager[object]:
        """A run starts in a folder; it ends with the context. `stages` are all that it has, in the order in
        which they run, with the seconds that those took that are done, and None for the others. A stage that
        is told of outside a run stands alone."""

    def stage(
        self, name: str, total: int, unit: str = "chunks", done: int = 0
    ) -> AbstractContextManager[Task]:
        """A stage starts; it ends with the context. `done` of its `total` steps are from an earlier start."""

    def skip(self, name: str) -> None:
        """A stage is complete from an earlier start."""

    def note(self, text: str) -> None:
        """A line for the user."""

    def warn(self, text: str) -> None:
        """A line that the user should not miss."""

    def result(self, kind: str, value: dict[str, Any]) -> None:
        """A result for machines; its legible form is shown by `note` or by the command."""


class _SilentTask:
    def update(self, done: int, total: int | None = None, detail: str = "") -> None:
        pass


class Silent:
    """A reporter that says nothing: what the Python API uses unless another is given."""

    def run(self, folder: Path, stages: Mapping[str, float | None]) -> AbstractContextManager[None]:
        """See `Reporter`."""
        return nullcontext()

    @contextmanager
    def stage(self, name: str, total: int, unit: str = "chunks", done: int = 0) -> Iterator[Task]:
        """See `Reporter`."""
        yield _SilentTask()

    def skip(self, name: str) -> None:
        """See `Reporter`."""

    def note(self, text: str) -> None:
        """See `Reporter`."""

    def warn(self, text: str) -> None:
        """See `Reporter`."""

    def result(self, kind: str, value: dict[str, Any]) -> None:
        """See `Reporter`."""
