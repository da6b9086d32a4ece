"""Win rates against the start: each language and iteration, greedy and sampled, with length and without."""

from __future__ import annotations

from markupsafe import Markup

from lingualign.report.charts import Point, interval_chart, share_domain
from lingualign.report.html import (
    Cell,
    Figure,
    Table,
    data_text,
    exhibit,
    iteration_name,
    language,
    paragraph,
)
from lingualign.report.numbers import interval, shown
from lingualign.report.reading import (
    DECODINGS,
    EVEN,
    MEAN_ROW,
    confidence,
    decoding_name,
    decoding_title,
    of_language,
    percent,
    rate_point,
    series_legend,
)
from lingualign.report.section import Section
from lingualign.report.source import Node, TracedRun, language_name

NAMES = {"win_rate": "as judged", "lc_win_rate": "length-controlled"}


def section(run: TracedRun) -> Section:
    """Win rates against the starting policy."""
    drawn = {
        (decoding, name): _points(run, decoding, measure)
        for measure, name in NAMES.items()
        for decoding in DECODINGS
    }
    domain = share_domain([point for points in drawn.values() for point in points], 100 * EVEN)
    figures = [
        Figure(
            Markup("{}, {}").format(decoding_title(run, decoding), name),
            interval_chart(points, "wins, %", domain, 100 * EVEN),
        )
        for (decoding, name), points in drawn.items()
        if points
    ]
    if not figures:
        body = paragraph("No judgement succeeded: there is no win rate to show.")
        return Section("wins", "Win rates against the start", body)
    intro = paragraph(
        "Each answer to a held-out prompt is judged beside the starting policy's answer to the same prompt. "
        "Even, the dashed line at one half, is what an unchanged policy gets; ties count half.",
        Markup("Bars are {} intervals over {} prompts a language.").format(
            confidence(), shown(run.measures["held_out_prompts"], "count")
        ),
        "Length-controlled rates are what remains when the advantage of length is taken away.",
        Markup("Judge: {}.").format(data_text(run.measures["judge"]["label"].value)),
    )
    shown_all = exhibit(
        "Wins by language", _finding(run), figures, _table(run), series_legend(run), unfolded=False
    )
    return Section("wins", "Win rates against the start", intro + shown_all)


def win_rate(
    run: TracedRun, iteration: Node, decoding: str, code: str | None, measure: str = "win_rate"
) -> Node:
    """A win rate of a language; of no language: of the mean over the targets."""
    if code is None:
        return iteration[decoding][f"target_{measure}"]
    return of_language(iteration, decoding, code)[measure]


def _places(run: TracedRun) -> list[tuple[str, str | None]]:
    """The rows: the mean, the targets and the source language."""
    mean = [(MEAN_ROW, None)] if len(run.targets) > 1 else []
    return [*mean, *((language_name(code), code) for code in run.ordered)]


def _points(run: TracedRun, decoding: str, measure: str) -> list[Point]:
    points = []
    for name, code in _places(run):
        for series, iteration in run.drawn:
            rate = win_rate(run, iteration, decoding, code, measure)
            if rate:
                points.append(rate_point(name, series, rate))
    return points


def _finding(run: TracedRun) -> Cell:
    """The best and the worst target of the last iteration, greedy or whatever was judged."""
    for decoding in DECODINGS:
        rates = {code: win_rate(run, run.last, decoding, code) for code in run.targets}
        known = {code: rate for code, rate in rates.items() if rate}
        if not known:
            continue
        best, least = (pick(known, key=lambda code: known[code]["mean"].value) for pick in (max, min))
        told = Markup("{} wins most, {}").format(language(best), percent(known[best]["mean"]))
        if best != least:
            told += Markup("; {} least, {}").format(language(least), percent(known[least]["mean"]))
        return Markup("After {}, {}: {}.").format(
            iteration_name(run.last), decoding_name(run, decoding), told
        )
    return "No judgement of a target language succeeded."


def _table(run: TracedRun) -> Table:
    rows: list[list[Cell]] = []
    for name, code in _places(run):
        for iteration in run.iterations:
            for decoding in DECODINGS:
                rate = win_rate(run, iteration, decoding, code)
                failed = of_language(iteration, decoding, code)["failed"] if code else Node(None, "")
                rows.append(
                    [
                        language(code, codes=True) if code else name,
                        shown(iteration["iteration"], "count"),
                        decoding,
                        interval(rate),
                        interval(win_rate(run, iteration, decoding, code, "lc_win_rate")),
                        shown(rate["n"], "count"),
                        shown(failed, "count") if code else "",
                    ]
                )
    return Table(
        "Win rates against the start, in percent, with their intervals",
        ["Language", "Iteration", "Decoding", "Wins", "Length-controlled", "Judged", "Failed"],
        rows,
        words=(2,),
    )
