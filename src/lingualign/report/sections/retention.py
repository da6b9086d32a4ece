"""Retention: what the source language, usually English, has kept."""

from __future__ import annotations

from markupsafe import Markup

from lingualign.report.charts import interval_chart, share_domain
from lingualign.report.html import Cell, Figure, Table, exhibit, iteration_name, paragraph
from lingualign.report.numbers import change, interval, shown
from lingualign.report.reading import (
    DECODINGS,
    EVEN,
    any_known,
    decoding_title,
    of_language,
    outcome,
    over_run,
    percent,
    rate_point,
    series_legend,
)
from lingualign.report.section import Section
from lingualign.report.source import TracedRun, language_name

_MEASURES = [
    ("Judge's score", ("reward",), "fine"),
    ("In the right language, %", ("right_language",), "percent"),
    ("Whole answers in the language, by line, %", ("confusion", "lpr", "mean"), "percent"),
    ("Mean length, characters", ("mean_length",), "length"),
    ("Cut at the length limit, %", ("cut",), "percent"),
]
_WORDS = {
    "better": "it gained",
    "worse": "it lost",
    "unclear": "no change that can be told from chance",
}


def section(run: TracedRun) -> Section | None:
    """What has become of the source language."""
    if run.source not in run.languages:
        return None
    name = language_name(run.source)
    body = paragraph(
        f"{name} is what the policy was good at before. Aligning other languages should not cost any of it."
    )
    points = [
        rate_point(decoding, series, rate)
        for decoding in DECODINGS
        for series, iteration in run.drawn
        if (rate := of_language(iteration, decoding, run.source)["win_rate"])
    ]
    if points:
        chart = interval_chart(points, "wins, %", share_domain(points, 100 * EVEN), 100 * EVEN)
        body += exhibit(
            f"Wins in {name} against the start",
            _finding(run),
            [Figure("By decoding", chart)],
            _rates(run),
            series_legend(run),
        )
    return Section("retention", f"{name} retention", body + _changes(run, name))


def _finding(run: TracedRun) -> Cell:
    told = [
        Markup("{}, a win rate of {}: {}.").format(
            decoding_title(run, decoding), percent(rate["mean"]), _WORDS[outcome(rate)]
        )
        for decoding in DECODINGS
        if (rate := of_language(run.last, decoding, run.source)["win_rate"])
    ]
    return Markup("After {}. {}").format(iteration_name(run.last), Markup(" ").join(told))


def _rates(run: TracedRun) -> Table:
    rows: list[list[Cell]] = []
    for decoding in DECODINGS:
        for iteration in run.iterations:
            measured = of_language(iteration, decoding, run.source)
            rows.append(
                [
                    decoding,
                    shown(iteration["iteration"], "count"),
                    interval(measured["win_rate"]),
                    interval(measured["lc_win_rate"]),
                ]
            )
    return Table(
        "Win rates of the source language, in percent",
        ["Decoding", "Iteration", "Wins", "Length-controlled"],
        rows,
    )


def _changes(run: TracedRun, name: str) -> Markup:
    rows: list[list[Cell]] = []
    for title, path, form in _MEASURES:
        greedy, sampled = (over_run(run, decoding, run.source, *path) for decoding in DECODINGS)
        if any_known(greedy) or any_known(sampled):
            rows.append([title, change(greedy, form), change(sampled, form)])
    table = Table(
        f"{name} from the start over the iterations", ["Measure", *map(str.capitalize, DECODINGS)], rows
    )
    return Markup("<h3>{} before and after</h3>").format(name) + table.html()
