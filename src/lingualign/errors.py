"""The one error a user is meant to read."""

from __future__ import annotations

from lingualign.texts import visible

LONGEST_LINE = 2000  # characters of a message; data that is quoted may have millions


class InputError(Exception):
    """Something the user gave is wrong: a file, a line, a field, a setting.

    The message names the place and the remedy. The command line prints it alone, without a traceback, and
    exits with status 2. What it quotes from data is made visible: nothing in it steers a terminal.

    Args:
        message: What is wrong, with the file, line or field.
        remedy: What to do about it, one sentence.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        self.message = _shown(message)
        self.remedy = _shown(remedy)
        super().__init__(f"{self.message}\n  -> {self.remedy}" if remedy else self.message)


def _shown(text: str) -> str:
    """A text without hidden characters, and without the middle of lines that are far too long."""
    ends = LONGEST_LINE // 2 - 3
    lines = (
        line if len(line) <= LONGEST_LINE else f"{line[:ends]} ... {line[-ends:]}"
        for line in text.split("\n")
    )
    return visible("\n".join(lines))
