"""Texts from data, made safe to look at: nothing in them is invisible, none is longer than need be.

Escaping HTML is the template's work; this is about what a browser or a terminal would show without complaint
and a reader would not see: control characters, among them those that steer a terminal, and marks that turn
the direction of writing around. Reports, errors, `run.log` and what commands print go through `visible`.
"""

from __future__ import annotations

import re

# C0 and C1 controls but for tab and line feed; marks, embeddings and isolates of direction; spaces without
# width, separators and tags that nobody sees (joiners stay, some scripts need them); surrogates, which are no
# text and cannot be written as UTF-8.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
    "\u200b\u2028\u2029\u2060\ufeff\U000e0000-\U000e007f\ud800-\udfff]"
)


def visible(text: str) -> str:
    """A text in which control characters and marks of direction are written out.

    Args:
        text: As it stands in a table.

    Returns:
        The same with forms such as `⟨U+202E⟩` in place of what cannot be seen; line feeds and tabs stay.

    Example:
        >>> visible("pay \\u202elatot")
        'pay ⟨U+202E⟩latot'
    """
    return _HIDDEN.sub(lambda found: f"⟨U+{ord(found.group()):04X}⟩", text)


def shorten(text: str, limit: int) -> tuple[str, int]:
    """The beginning of a text, and how much of it is left out.

    Args:
        text: Any text.
        limit: Most characters to show.

    Returns:
        The part to show, and the number of characters left out (0: nothing).
    """
    return (text, 0) if len(text) <= limit else (text[:limit], len(text) - limit)
