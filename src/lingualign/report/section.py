"""A part of the page: what every section gives, and what the page makes of it."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup


@dataclass(frozen=True)
class Section:
    """One part of the report.

    Attributes:
        id: Of its place in the page, for links.
        title: Its heading; the page writes it.
        body: HTML, in which everything that came from data is escaped.
        style: CSS that it needs beyond the page's own.
        script: JavaScript that it needs; the page runs all scripts once, after the last section.
    """

    id: str
    title: str
    body: Markup
    style: str = ""
    script: str = ""
