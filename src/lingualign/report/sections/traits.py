"""Traits of answers by the judge's components: right facts, courtesy, and whatever else it tells apart."""

from __future__ import annotations

from markupsafe import Markup

from lingualign.report.charts import Point, change_chart, share_domain
from lingualign.report.html import Cell, Figure, Table, data_text, exhibit, iteration_name, paragraph
from lingualign.report.numbers import change, shown, text
from lingualign.report.reading import (
    DECODINGS,
    any_known,
    decoding_title,
    of_language,
    over_run,
    series_legend,
)
from lingualign.report.section import Section
from lingualign.report.source import Node, TracedRun, difference, mean


def section(run: TracedRun) -> Section | None:
    """The judge's components before and after; None where the judge has none."""
    names = _names(run)
    if not names or not run.targets:
        return None
    shares = all(
        0 <= node.value <= 1
        for name in names
        for decoding in DECODINGS
        for node in _means(run, decoding, name)
        if node
    )
    scale, form = (100, "percent") if shares else (1, "decimal")
    drawn = {decoding: _points(run, decoding, names, scale, form) for decoding in DECODINGS}
    every = [point for points in drawn.values() for point in points]
    domain = share_domain(every)
    figures = [
        Figure(decoding_title(run, decoding), change_chart(points, "answers, %", domain))
        for decoding, points in drawn.items()
        if points and shares  # other values are not on one scale: they are in the table
    ]
    body = paragraph(
        "What the judge says of answers besides which is better, as means over the target languages. A trait "
        "that fell is what the gain has cost."
    ) + exhibit(
        "Traits in the target languages",
        _finding(run, names, form),
        figures,
        _table(run, names, form),
        series_legend(run, start=True),
        unfolded=False,
    )
    return Section("traits", "Traits of answers", body)


def _points(run: TracedRun, decoding: str, names: list[str], scale: float, form: str) -> list[Point]:
    series = [0, *(number for number, _ in run.drawn)]
    return [
        Point(name, number, scale * node.value, text(node, form))
        for name in names
        for number, node in zip(series, _means(run, decoding, name), strict=True)
        if node
    ]


def _names(run: TracedRun) -> list[str]:
    found: dict[str, None] = {}
    for measured in (run.start, *run.iterations):
        for code in run.targets:
            found.update(
                dict.fromkeys(name for name, _ in of_language(measured, "greedy", code)["traits"].items())
            )
    return list(found)


def _means(run: TracedRun, decoding: str, name: str) -> list[Node]:
    """The mean over the target languages, at the start and after each iteration that is drawn."""
    return [
        mean(*(of_language(measured, decoding, code)["traits"][name] for code in run.targets))
        for measured in (run.start, *(iteration for _, iteration in run.drawn))
    ]


def _finding(run: TracedRun, names: list[str], form: str) -> Cell:
    """The trait that rose most and the one that fell most, greedy."""
    changes = {}
    for name in names:
        first, *_, last = _means(run, "greedy", name)
        moved = difference(last, first)
        if moved:
            changes[name] = moved
    if not changes:
        return "Nothing was told of the traits of greedy answers."
    signed = "points" if form == "percent" else "signed"
    rose, fell = (pick(changes, key=lambda name: changes[name].value) for pick in (max, min))
    told = []
    if changes[rose].value > 0:
        told.append(Markup("{} rose most, by {}").format(data_text(rose), shown(changes[rose], signed)))
    if changes[fell].value < 0:
        told.append(Markup("{} fell most, by {}").format(data_text(fell), shown(changes[fell], signed)))
    unit = " points" if form == "percent" else ""
    said = Markup("; ").join(told) + unit if told else Markup("no trait changed")
    return Markup("From the start to {}, greedy: {}.").format(iteration_name(run.last), said)


def _table(run: TracedRun, names: list[str], form: str) -> Table:
    rows: list[list[Cell]] = []
    for name in names:
        source = [over_run(run, decoding, run.source, "traits", name) for decoding in DECODINGS]
        rows.append(
            [
                data_text(name),
                *(change(_means(run, decoding, name), form) for decoding in DECODINGS),
                *(change(nodes, form) if any_known(nodes) else "" for nodes in source),
            ]
        )
    unit = ", in percent" if form == "percent" else ""
    return Table(
        f"Traits from the start over the iterations{unit}",
        ["Trait", "Targets, greedy", "Targets, sampled", "Source, greedy", "Source, sampled"],
        rows,
    )
