"""What the libraries that a run uses have to say: records of Python's logging, and Python's warnings.

Some of them (transformers, torch) keep their records from the root logger and write them to stderr
themselves, so a handler there would not see them: each such logger is listened to. Nothing is left behind.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TextIO


class _Telling(logging.Handler):
    def __init__(self, tell: Callable[[logging.LogRecord], None]) -> None:
        super().__init__(logging.WARNING)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        self._tell(record)


@contextmanager
def library_warnings(tell: Callable[[logging.LogRecord], None], instead: bool = False) -> Iterator[None]:
    """Listens, for the time of the context, to all that is logged as a warning or worse, and to warnings.

    Args:
        tell: Called with each record. A Python warning comes as a record of the logger `py.warnings`.
        instead: Keep it from being written to the terminal as well.
    """
    handler, shown, fallback = _Telling(tell), warnings.showwarning, logging.lastResort

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        text = f"{category.__name__}: {message} ({filename}:{lineno})"
        tell(logging.LogRecord("py.warnings", logging.WARNING, filename, lineno, text, None, None))
        if not instead:
            shown(message, category, filename, lineno, file, line)

    with ExitStack() as undo:
        if not instead and not logging.root.handlers and fallback is not None:
            # What logging prints where nobody has set it up: another handler at the root would end that.
            logging.root.addHandler(fallback)
            undo.callback(logging.root.removeHandler, fallback)
        for logger in (logging.root, *_detached_loggers()):
            for other in list(logger.handlers):
                if instead and _writes_to_terminal(other):
                    logger.removeHandler(other)
                    undo.callback(logger.addHandler, other)
            logger.addHandler(handler)
            undo.callback(logger.removeHandler, handler)
        warnings.showwarning = show
        undo.callback(setattr, warnings, "showwarning", shown)
        yield


def _detached_loggers() -> list[logging.Logger]:
    """The loggers whose records do not reach the root."""
    known: dict[str, Any] = dict(logging.root.manager.loggerDict)
    return [
        logger
        for logger in known.values()
        if isinstance(logger, logging.Logger) and not logger.propagate and logger.handlers
    ]


def _writes_to_terminal(handler: logging.Handler) -> bool:
    return isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler)
