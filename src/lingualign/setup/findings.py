"""What a check finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        subject: What was looked at, in a word or two.
        status: ok; warning: a run starts, and may not go as expected; problem: it will not start, or fail.
        found: What was found.
        remedy: What to do about it; empty where nothing has to be done.
    """

    subject: str
    status: Status
    found: str
    remedy: str = ""


def size(count: float) -> str:
    """A number of bytes for people: `2.1 MB`, `16.0 GB`."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count / 1e3:.0f} kB"
