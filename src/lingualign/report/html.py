"""Pieces of the page: tables, charts with their numbers, lists, and texts from data."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from lingualign.report.numbers import shown
from lingualign.report.source import Node, language_name
from lingualign.texts import visible

Cell = str | Markup
_NARROW = 4  # columns of a table that fits beside a chart
_LONG = 14  # rows that a table may have without being folded away


def data_text(value: object) -> Markup:
    """A text from data: isolated, so that its direction of writing stays its own, and wholly visible."""
    return Markup('<bdi dir="auto">{}</bdi>').format(visible(str(value)))


def language(code: str, codes: bool = False) -> Markup:
    """The name of a language, with its code where asked for."""
    name = data_text(language_name(code))
    return Markup("{} <code>{}</code>").format(name, code) if codes else name


def joined(parts: Iterable[Cell], last: str = "and") -> Markup:
    """Words in a row: `a, b and c`."""
    found = [escape(part) for part in parts]
    if len(found) < 2:
        return Markup("").join(found)
    return Markup("{} {} {}").format(Markup(", ").join(found[:-1]), last, found[-1])


def paragraph(*parts: Cell, css: str = "") -> Markup:
    """Sentences as a paragraph."""
    opening = Markup('<p class="{}">').format(css) if css else Markup("<p>")
    return opening + Markup(" ").join(escape(part) for part in parts if part) + Markup("</p>")


def bullets(items: Sequence[Cell], css: str = "") -> Markup:
    """A list; nothing where there are no items."""
    if not items:
        return Markup("")
    rows = Markup("").join(Markup("<li>{}</li>").format(item) for item in items)
    return Markup('<ul class="{}">{}</ul>').format(css, rows)


@dataclass(frozen=True)
class Table:
    """Numbers in rows.

    Attributes:
        caption: What they are; also the name of the region that scrolls.
        headings: Of the columns; the first column names the row.
        rows: Cells, as many as headings.
        words: Places of columns, besides the first, that hold words and are aligned on the left.
    """

    caption: Cell
    headings: Sequence[Cell]
    rows: Sequence[Sequence[Cell]]
    words: Sequence[int] = ()

    def html(self) -> Markup:
        """The table, in a region of its own that scrolls sideways where it is too wide."""
        head = Markup("").join(
            Markup('<th scope="col"{}>{}</th>').format(self._css(place), heading)
            for place, heading in enumerate(self.headings)
        )
        body = Markup("").join(self._row(row) for row in self.rows)
        return Markup(
            '<div class="scroll" role="region" tabindex="0" aria-label="{}">'
            '<table class="sortable"><caption>{}</caption>'
            "<thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>"
        ).format(escape(self.caption).striptags(), self.caption, head, body)

    def folded(self, summary: Cell = "Numbers", unfolded: bool | None = None) -> Markup:
        """The table behind a line to open it with; open from the start where it is short."""
        unfold = len(self.rows) <= _LONG if unfolded is None else unfolded
        return Markup('<details class="numbers"{}><summary>{}</summary>{}</details>').format(
            Markup(" open") if unfold else "", summary, self.html()
        )

    def _row(self, row: Sequence[Cell]) -> Markup:
        first = Markup('<th scope="row">{}</th>').format(row[0])
        rest = (
            Markup("<td{}>{}</td>").format(self._css(place), cell) for place, cell in enumerate(row[1:], 1)
        )
        return Markup("<tr>{}{}</tr>").format(first, Markup("").join(rest))

    def _css(self, place: int) -> Markup:
        return Markup("") if place == 0 or place in self.words else Markup(' class="number"')


@dataclass(frozen=True)
class Figure:
    """A chart.

    Attributes:
        title: Over it.
        svg: What `charts.render` made.
    """

    title: Cell
    svg: Markup


def exhibit(
    title: Cell,
    finding: Cell,
    figures: Sequence[Figure],
    tables: Table | Sequence[Table],
    legend: Cell = "",
    unfolded: bool | None = None,
) -> Markup:
    """Charts that belong together, what they show in words, and their numbers under them.

    Args:
        title: Of all.
        finding: What is to be seen, in a sentence; the charts' name for those who cannot see them.
        figures: The charts.
        tables: Every number in them; several are told apart by their captions.
        legend: What the colours are.
        unfolded: Whether the table is open from the start. Default: if it is short.
    """
    said = _plain(finding)
    drawn = Markup("").join(
        Markup("<figure><figcaption>{}</figcaption>{}</figure>").format(
            figure.title, _named(figure.svg, f"{_plain(figure.title)}. {said}")
        )
        for figure in figures
    )
    several = [tables] if isinstance(tables, Table) else list(tables)
    numbers = Markup("").join(
        table.folded(table.caption if len(several) > 1 else "Numbers", unfolded) for table in several
    )
    # One chart and a narrow table stand side by side where there is room.
    beside = len(figures) == 1 and len(several) == 1 and len(several[0].headings) <= _NARROW
    return Markup(
        '<div class="exhibit"><h3>{}</h3><p class="finding">{}</p>{}'
        '<div class="{}"><div class="charts">{}</div><div>{}</div></div></div>'
    ).format(title, finding, legend, "beside" if beside else "below", drawn, numbers)


def legend(entries: Sequence[tuple[str, Cell]], shapes: bool = False) -> Markup:
    """What colours are: (CSS variable, what it is); `shapes` where marks of series differ in shape too."""
    return Markup('<ul class="legend">{}</ul>').format(
        Markup("").join(
            Markup(
                '<li><span class="swatch {}" style="background:var(--{})"></span><span>{}</span></li>'
            ).format(color if shapes else "", color, what)
            for color, what in entries
        )
    )


def iteration_name(iteration: Node) -> Markup:
    """`iteration 2`."""
    return Markup("iteration {}").format(shown(iteration["iteration"], "count"))


def _plain(cell: Cell) -> str:
    return re.sub(r"\s+", " ", escape(cell).striptags()).strip()


def _named(svg: Markup, name: str) -> Markup:
    return Markup(svg.replace("<svg ", Markup('<svg role="img" aria-label="{}" ').format(name), 1))
