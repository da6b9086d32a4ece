"""The kinds of charts that the sections draw, each as wide as a phone.

All take numbers that are rounded and labelled already: a mark's label is what the table under the chart says.
Values are given as they are to be read on the axis, shares in percent. Channels are objects: for a text like
"value:Q" alone Altair searches its whole schema.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import altair as alt
from markupsafe import Markup

from lingualign.report.svg import render
from lingualign.texts import shorten, visible

WIDTH = 212  # of the plot; the names of rows take up to 120 more
COLORS = ["var(--start)", "var(--series-1)", "var(--series-2)", "var(--series-3)"]
SHAPES = ["circle", "circle", "square", "triangle-up"]
_LONGEST = 60  # characters of a name in a chart
_LEAST_SHARES = 10.0  # points that an axis of percentages spans at least
_NUMBERS = list(range(len(COLORS)))


@dataclass(frozen=True)
class Point:
    """A mark.

    Attributes:
        row: The name of its row.
        series: 0 for the start, 1 to 3 for iterations.
        value: Where it is.
        label: Its numbers as the table writes them.
        low: The interval's lower end, if it has one.
        high: The upper end.
    """

    row: str
    series: int
    value: float
    label: str
    low: float | None = None
    high: float | None = None


Domain = tuple[float, float]
Spread = tuple[str, Sequence[float], str]  # its name, five quantiles from low to high, its label


def interval_chart(points: Sequence[Point], title: str, domain: Domain, rule: float | None = None) -> Markup:
    """Points with their intervals, a row each name and series; a rule where nothing has changed."""
    rows, several = _rows(points), len({point.series for point in points}) > 1
    data = _data([{**asdict(point), "text": point.label.split(" ")[0]} for point in points])
    y = alt.Y(
        "row:N",
        sort=rows,
        title=None,
        scale=alt.Scale(paddingInner=0.1, paddingOuter=0.1) if several else alt.Undefined,
        axis=alt.Axis(domain=False, ticks=False, labelPadding=6),
    )
    placed: dict[str, Any] = {"y": y}
    if several:
        placed["yOffset"] = alt.YOffset("series:O", sort=_NUMBERS, scale=alt.Scale(paddingOuter=0.35))
    x = alt.X(
        "low:Q", title=title, scale=alt.Scale(domain=list(domain), zero=False, nice=False), axis=_ticks()
    )
    marks = [
        alt.Chart(data)
        .mark_rule(strokeWidth=2.5, opacity=0.55, aria=False)
        .encode(x=x, x2=alt.X2("high:Q"), color=_color(), **placed),
        alt.Chart(data)
        .mark_point(filled=True, size=52, opacity=1)
        .encode(
            x=alt.X("value:Q"),
            color=_color(),
            shape=_shape(),
            description=alt.Description("said:N"),
            **placed,
        )
        .transform_calculate(said="datum.row + ': ' + datum.label"),
        alt.Chart(data)
        .mark_text(align="left", dx=6, fontSize=10, color="var(--ink)", aria=False)
        .encode(x=alt.X("high:Q"), text=alt.Text("text:N"), **placed),
    ]
    if rule is not None:
        marks.insert(0, _rule(rule))
    return render(_layered(marks, alt.Step(13 if several else 22)))


def change_chart(points: Sequence[Point], title: str, domain: Domain, rule: float | None = None) -> Markup:
    """Where each row was at the start and where it went: a line through a point for each series."""
    rows = _rows(points)
    values = [asdict(point) for point in points]
    spans = []
    for name in rows:
        along = [point.value for point in points if _told(point.row) == name]
        spans.append({"row": name, "low": min(along), "high": max(along)})
    y = alt.Y("row:N", sort=rows, title=None, axis=alt.Axis(domain=False, ticks=False, labelPadding=6))
    x = alt.X(
        "value:Q", title=title, scale=alt.Scale(domain=list(domain), zero=False, nice=False), axis=_ticks()
    )
    marks = [
        alt.Chart(_data(spans))
        .mark_rule(stroke="var(--line)", strokeWidth=4, aria=False)
        .encode(y=y, x=alt.X("low:Q", title=title), x2=alt.X2("high:Q")),
        alt.Chart(_data(values))
        .mark_point(filled=True, size=56, opacity=1)
        .encode(x=x, y=y, color=_color(), shape=_shape(), description=alt.Description("said:N"))
        .transform_calculate(said="datum.row + ': ' + datum.label"),
    ]
    if rule is not None:
        marks.insert(0, _rule(rule))
    return render(_layered(marks, alt.Step(22)))


def line_chart(points: Sequence[tuple[int, float, float, str]], across: str, title: str) -> Markup:
    """Lines: (series, x, y, label) of each point."""
    rows = [{"series": series, "x": x, "y": y, "said": said} for series, x, y, said in points]
    base = alt.Chart(_data(rows)).encode(
        x=alt.X("x:Q", title=across, scale=alt.Scale(nice=False, zero=False), axis=_ticks()),
        y=alt.Y(
            "y:Q", title=title, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=4, labelFlush=False)
        ),
        color=_color(),
    )
    # The points are there for the pointer, and each carries its label; the line alone is what is seen.
    return render(
        _layered(
            [
                base.mark_line(strokeWidth=2, aria=False),
                base.mark_point(filled=True, size=26, opacity=0.35).encode(
                    description=alt.Description("said:N")
                ),
            ],
            130,
            width=WIDTH + 60,
        )
    )


def spread_chart(rows: Sequence[Spread], title: str, domain: Domain) -> Markup:
    """Distributions, a row each."""
    names = [_told(name) for name, _, _ in rows]
    data = _data(
        [
            {"row": name, "said": f"{name}: {said}", **dict(zip("abcde", quantiles, strict=True))}
            for name, quantiles, said in rows
        ]
    )
    y = alt.Y("row:N", sort=names, title=None, axis=alt.Axis(domain=False, ticks=False, labelPadding=6))
    x = alt.X("a:Q", title=title, scale=alt.Scale(domain=list(domain), zero=False, nice=False), axis=_ticks())
    base = alt.Chart(data).encode(y=y)
    return render(
        _layered(
            [
                base.mark_rule(strokeWidth=2, stroke="var(--series-1)", opacity=0.45, aria=False).encode(
                    x=x, x2=alt.X2("e:Q")
                ),
                base.mark_bar(height=11, color="var(--series-1)", opacity=0.55, aria=False).encode(
                    x=alt.X("b:Q"), x2=alt.X2("d:Q")
                ),
                base.mark_tick(thickness=2.5, height=15, color="var(--ink)").encode(
                    x=alt.X("c:Q"), description=alt.Description("said:N")
                ),
            ],
            alt.Step(22),
        )
    )


def share_chart(
    parts: Sequence[tuple[str, str, float, str]], colors: dict[str, str], title: str, step: int = 22
) -> Markup:
    """Stacked bars: (row, part, value, label) of each piece, in the order in which they are stacked."""
    rows = list(dict.fromkeys(_told(row) for row, _, _, _ in parts))
    order = [_told(name) for name in colors]
    data = _data(
        [
            {
                "row": row,
                "part": part,
                "value": value,
                "order": order.index(_told(part)),
                "said": f"{row}: {said}",
            }
            for row, part, value, said in parts
        ]
    )
    bars = (
        alt.Chart(data)
        .mark_bar(height=13, stroke="var(--card)", strokeWidth=1)
        .encode(
            y=alt.Y("row:N", sort=rows, title=None, axis=alt.Axis(domain=False, ticks=False, labelPadding=6)),
            x=alt.X("value:Q", title=title, axis=_ticks()),
            color=alt.Color(
                "part:N",
                legend=None,
                scale=alt.Scale(domain=order, range=[f"var(--{colour})" for colour in colors.values()]),
            ),
            order=alt.Order("order:Q"),
            description=alt.Description("said:N"),
        )
    )
    return render(_layered([bars], alt.Step(step)))


def heat_chart(cells: Sequence[tuple[str, int, float, str]], across: str) -> Markup:
    """A table of shares as shades: (row, column, share, label) of each cell."""
    rows = list(dict.fromkeys(_told(row) for row, _, _, _ in cells))
    columns = len({column for _, column, _, _ in cells})
    data = _data(
        [
            {"row": row, "column": column, "value": value, "said": f"{row}: {said}"}
            for row, column, value, said in cells
        ]
    )
    chart = (
        alt.Chart(data)
        .mark_rect(color="var(--series-1)", stroke="var(--card)", strokeWidth=1)
        .encode(
            x=alt.X(
                "column:O",
                title=across,
                axis=alt.Axis(labelAngle=0, labelOverlap=True, ticks=False, domain=False),
            ),
            y=alt.Y("row:N", sort=rows, title=None, axis=alt.Axis(domain=False, ticks=False, labelPadding=6)),
            opacity=alt.Opacity("value:Q", legend=None, scale=alt.Scale(domain=[0, 1], range=[0.05, 1])),
            description=alt.Description("said:N"),
        )
    )
    return render(_layered([chart], alt.Step(20), width=max(WIDTH, 8 * columns)))


def _layered(marks: Sequence[alt.Chart], height: int | alt.Step, width: int = WIDTH) -> alt.LayerChart:
    return alt.layer(*marks).properties(width=width, height=height)


def _data(rows: Sequence[dict[str, Any]]) -> alt.Data:
    return alt.Data(values=[{key: _told(value) for key, value in row.items()} for row in rows])


def _told(value: Any) -> Any:
    """A value that Vega can take: a control character in a text would end the whole process."""
    if not isinstance(value, str):
        return value
    shown, more = shorten(visible(value), _LONGEST)
    plain = "".join(character if character.isprintable() else " " for character in shown)
    return f"{plain}…" if more else plain


def _rows(points: Sequence[Point]) -> list[str]:
    return list(dict.fromkeys(_told(point.row) for point in points))


def share_domain(points: Sequence[Point], rule: float | None = None) -> Domain:
    """What an axis of percentages shows: all points, within the possible, and not magnified beyond sense."""
    low, high = _domain(_bounds(points, rule))
    lacking = max(0.0, _LEAST_SHARES - (high - low)) / 2
    low, high = low - lacking, high + lacking
    low, high = low - max(0.0, high - 100), high - min(0.0, low)
    return max(0.0, low), min(100.0, high)


def domain_of(points: Sequence[Point], rule: float | None = None) -> Domain:
    """What an axis shows: all points, and a little room."""
    return _domain(_bounds(points, rule))


def spread_domain(charts: Sequence[Sequence[Spread]]) -> Domain:
    """What an axis shows that several charts of distributions have in common."""
    return _domain([value for rows in charts for _, quantiles, _ in rows for value in quantiles])


def _bounds(points: Sequence[Point], rule: float | None) -> list[float]:
    values = [value for point in points for value in (point.value, point.low, point.high)]
    return [value for value in (*values, rule) if value is not None]


def _domain(values: Sequence[float]) -> Domain:
    low, high = min(values), max(values)
    room = 0.04 * (high - low) or 1.0
    return low - room, high + room


def _ticks() -> alt.Axis:
    return alt.Axis(tickCount=5, labelFlush=False, grid=True, domain=False, ticks=False)


def _color() -> alt.Color:
    return alt.Color("series:O", legend=None, scale=alt.Scale(domain=_NUMBERS, range=COLORS))


def _shape() -> alt.Shape:
    return alt.Shape("series:O", legend=None, scale=alt.Scale(domain=_NUMBERS, range=SHAPES))


def _rule(value: float) -> alt.Chart:
    return (
        alt.Chart(_data([{"at": value}]))
        .mark_rule(stroke="var(--ink)", strokeDash=[4, 3], strokeWidth=1.2, aria=False)
        .encode(x=alt.X("at:Q"))
    )
