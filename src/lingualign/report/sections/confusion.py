"""Language confusion: whether answers are in the language of their prompt, before and after."""

from __future__ import annotations

from markupsafe import Markup

from lingualign.report.charts import Point, change_chart, share_domain
from lingualign.report.html import Cell, Figure, Table, exhibit, iteration_name, language, paragraph
from lingualign.report.numbers import change, text
from lingualign.report.reading import (
    DECODINGS,
    any_known,
    decoding_name,
    decoding_title,
    of_language,
    over_run,
    percent,
    series_legend,
)
from lingualign.report.section import Section
from lingualign.report.source import TracedRun, language_name

_COLUMNS: list[tuple[str, tuple[str, ...], str]] = [
    ("Right language, %", ("right_language",), "percent"),
    ("Undecided, %", ("undecided",), "percent"),
    ("All lines right, %", ("confusion", "lpr", "mean"), "percent"),
    ("Lines right, %", ("confusion", "line_accuracy", "mean"), "percent"),
    ("Word pass rate, %", ("confusion", "wpr", "mean"), "percent"),
    ("With foreign words, %", ("switching", "with_foreign_words", "mean"), "percent"),
    ("Foreign words an answer", ("switching", "foreign_words", "mean"), "decimal"),
]


def section(run: TracedRun) -> Section | None:
    """The language of answers."""
    drawn = {decoding: _points(run, decoding) for decoding in DECODINGS}
    every = [point for points in drawn.values() for point in points]
    if not every:
        return None
    domain = share_domain(every)
    figures = [
        Figure(decoding_title(run, decoding), change_chart(points, "in the right language, %", domain))
        for decoding, points in drawn.items()
        if points
    ]
    intro = paragraph(
        "The share of answers in the language of their prompt, of those whose language can be told. Answers "
        "without one, such as a number or a piece of code, are undecided and not wrong."
    )
    body = exhibit(
        "Answers in the right language",
        _finding(run),
        figures,
        [_table(run, decoding) for decoding in DECODINGS],
        series_legend(run, start=True),
        unfolded=False,
    )
    return Section("confusion", "Language confusion", intro + body)


def _points(run: TracedRun, decoding: str) -> list[Point]:
    points = []
    for code in run.languages:
        for series, measured in [(0, run.start), *run.drawn]:
            share = of_language(measured, decoding, code)["right_language"]
            if share:
                points.append(Point(language_name(code), series, 100 * share.value, text(share, "percent")))
    return points


def _finding(run: TracedRun) -> Cell:
    """The lowest share at the end, in any language and decoding, and where it was."""
    shares = {
        (code, decoding): share
        for decoding in DECODINGS
        for code in run.languages
        if (share := of_language(run.last, decoding, code)["right_language"])
    }
    if not shares:
        return "The language of no answer could be told."
    code, decoding = min(shares, key=lambda key: shares[key].value)
    before = of_language(run.start, decoding, code)["right_language"]
    return Markup("After {}, the lowest share is {} ({}, {}); it was {} at the start.").format(
        iteration_name(run.last),
        percent(shares[code, decoding]),
        language(code),
        decoding_name(run, decoding),
        percent(before),
    )


def _table(run: TracedRun, decoding: str) -> Table:
    columns = [
        (title, path, form)
        for title, path, form in _COLUMNS
        if any(any_known(over_run(run, decoding, code, *path)) for code in run.languages)
    ]
    rows: list[list[Cell]] = [
        [
            language(code, codes=True),
            *(change(over_run(run, decoding, code, *path), form) for _, path, form in columns),
        ]
        for code in run.languages
    ]
    return Table(
        Markup("{}: from the start over the iterations").format(decoding_title(run, decoding)),
        ["Language", *(title for title, _, _ in columns)],
        rows,
    )
