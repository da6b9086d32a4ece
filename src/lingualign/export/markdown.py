"""Markdown out of names and texts that may hold anything: pipes, HTML, line breaks, marks of direction."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_SPECIAL = re.compile(r"([\\`*_\[\]#|~$]|:(?=//))")  # the colon, so that no address becomes a link
_LIST_MARK = re.compile(r"^([-+=]|\d+[.)])(?=\s|$)")


def plain(text: str) -> str:
    """A text on one line, without control characters and without marks that turn the direction of writing."""
    spaced = " ".join(text.split())
    return "".join(
        char for char in spaced if unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Co", "Cn"}
    )


def escape(text: str) -> str:
    """A text that Markdown and HTML show as it is, on one line, in a table too.

    Example:
        >>> escape("a|b <b>*c*</b>")
        'a\\\\|b &lt;b&gt;\\\\*c\\\\*&lt;/b&gt;'
    """
    safe = plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    safe = _SPECIAL.sub(r"\\\1", safe)
    return _LIST_MARK.sub(lambda found: f"{found[1][:-1]}\\{found[1][-1]}", safe)


def fence(text: str, language: str = "") -> str:
    """A block of code; its fence is longer than any run of backticks in the text."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    mark = "`" * max(3, longest + 1)
    return f"{mark}{language}\n{text.rstrip()}\n{mark}"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of cells that are Markdown already; all columns but the first are aligned on the right."""
    marks = ["---", *["---:"] * (len(headings) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [headings, marks, *rows])
