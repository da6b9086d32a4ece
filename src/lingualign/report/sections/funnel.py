"""The data funnel: from prompts to pairs, and what was left out on the way and why."""

from __future__ import annotations

from markupsafe import Markup

from lingualign.report.charts import share_chart
from lingualign.report.html import (
    Cell,
    Figure,
    Table,
    data_text,
    exhibit,
    iteration_name,
    language,
    legend,
    paragraph,
)
from lingualign.report.numbers import shown, text
from lingualign.report.reading import percent
from lingualign.report.section import Section
from lingualign.report.source import Node, TracedRun, difference, language_name, ratio, total

_COLORS = ["series-1", "series-2", "series-3", "warn", "good", "start"]
_WORDS = {
    "no reward": "no reward",
    "truncated": "cut at the length limit",
    "duplicate": "said before",
    "language": "another language",
}


def section(run: TracedRun) -> Section | None:
    """Prompts, responses, what each filter removed, and pairs."""
    reports = [iteration for _, iteration in run.drawn if iteration["pairs"].value]
    if not reports:
        return None
    filters = list(
        dict.fromkeys(
            name
            for each in reports
            for _, report in each["pairs"].items()
            for name, _ in report["removed"].items()
        )
    )
    reasons = list(
        dict.fromkeys(
            name
            for each in reports
            for _, report in each["pairs"].items()
            for name, _ in report["dropped"].items()
        )
    )
    active = [
        name for name in filters if any(total(each["pairs"].every("removed", name)).value for each in reports)
    ]
    parts = {name: _COLORS[place % len(_COLORS)] for place, name in enumerate(active)}
    figures = [
        Figure(
            Markup("Responses removed in {}").format(iteration_name(each)),
            share_chart(pieces, parts, "responses"),
        )
        for each in reports
        if (pieces := _pieces(each, filters))
    ]
    body = exhibit(
        "From prompts to pairs",
        _finding(reports),
        figures,
        _table(reports, filters, reasons),
        legend([(color, data_text(_WORDS.get(name, name))) for name, color in parts.items()]),
        unfolded=False,
    )
    return Section("data", "Data funnel", _stations(reports[-1], filters, reasons) + body)


def _stations(iteration: Node, filters: list[str], reasons: list[str]) -> Markup:
    """The way of the data in one row of boxes."""
    reports = iteration["pairs"]
    removed: list[tuple[Node, Cell]] = [
        *((total(reports.every("removed", name)), f"removed: {_WORDS.get(name, name)}") for name in filters),
        *((total(reports.every("dropped", name)), f"no pair: {name}") for name in reasons),
    ]
    boxes: list[tuple[Node, Cell]] = [
        (total(reports.every("prompts")), "prompts, all languages"),
        (total(reports.every("candidates")), "responses"),
        *((node, data_text(name)) for node, name in removed if node.value),
        (total(reports.every("pairs")), "pairs"),
    ]
    cells = Markup("").join(
        Markup('<li class="{}"><strong>{}</strong> <span>{}</span></li>').format(
            "removed" if place not in (0, 1, len(boxes) - 1) else "kept", shown(node, "count"), name
        )
        for place, (node, name) in enumerate(boxes)
    )
    return paragraph(Markup("The data of {}:").format(iteration_name(iteration))) + Markup(
        '<ol class="stations">{}</ol>'
    ).format(cells)


def _pieces(iteration: Node, filters: list[str]) -> list[tuple[str, str, float, str]]:
    """Of each language's responses: those that each filter removed."""
    pieces = []
    for code, report in iteration["pairs"].items():
        name = language_name(code)
        for each in filters:
            removed = report["removed"][each]
            if removed.value:
                pieces.append((name, each, removed.value, text(removed, "count")))
    return pieces


def kept_responses(report: Node) -> Node:
    """Responses that no filter removed."""
    return difference(report["candidates"], total(report["removed"].every()))


def _finding(reports: list[Node]) -> Cell:
    told = []
    for iteration in reports:
        found = iteration["pairs"]
        pairs, apart = total(found.every("pairs")), total(found.every("other_language"))
        told.append(
            Markup("{}: {} responses gave {} pairs; {} of them can be told apart by language alone").format(
                iteration_name(iteration),
                shown(total(found.every("candidates")), "count"),
                shown(pairs, "count"),
                percent(ratio(apart, pairs)),
            )
        )
    said = Markup(". ").join(each[:1].upper() + each[1:] for each in told)
    return said + Markup(".")


def _table(reports: list[Node], filters: list[str], reasons: list[str]) -> Table:
    rows: list[list[Cell]] = []
    for iteration in reports:
        for code, report in iteration["pairs"].items():
            rows.append(
                [
                    language(code, codes=True),
                    shown(iteration["iteration"], "count"),
                    shown(report["prompts"], "count"),
                    shown(report["candidates"], "count"),
                    *(shown(report["removed"][name], "count") for name in filters),
                    shown(kept_responses(report), "count"),
                    *(shown(report["dropped"][name], "count") for name in reasons),
                    shown(report["pairs"], "count"),
                    shown(report["other_language"], "count"),
                ]
            )
    return Table(
        "Prompts, responses and pairs",
        [
            "Language",
            "Iteration",
            "Prompts",
            "Responses",
            *(Markup("Removed: {}").format(data_text(_WORDS.get(name, name))) for name in filters),
            "Kept",
            *(Markup("No pair: {}").format(data_text(name)) for name in reasons),
            "Pairs",
            "Told apart by language",
        ],
        rows,
    )
