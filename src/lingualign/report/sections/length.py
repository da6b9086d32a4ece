"""Length: what the penalty did to pairs, and how long answers are before and after training."""

from __future__ import annotations

from markupsafe import Markup

from lingualign.report.charts import Point, change_chart, domain_of
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
from lingualign.report.source import Node, TracedRun, difference, language_name, mean


def section(run: TracedRun) -> Section | None:
    """Length of pairs and of answers."""
    body = _control(run) + _answers(run)
    return Section("length", "Length", body) if body else None


def _control(run: TracedRun) -> Markup:
    """Chosen less rejected, without and with the penalty."""
    drawn, rows = list[tuple[Node, list[Point]]](), list[list[Cell]]()
    for _, iteration in run.drawn:
        points = list[Point]()
        for code, report in iteration["pairs"].items():
            control = report["length_control"]
            if not control:
                continue
            for series, key in ((0, "gap_before"), (1, "gap_after")):
                gap = control[key]
                points.append(Point(language_name(code), series, gap.value, text(gap, "change")))
            rows.append(
                [
                    language(code, codes=True),
                    shown(iteration["iteration"], "count"),
                    shown(control["gap_before"], "change"),
                    shown(control["gap_after"], "change"),
                    shown(control["alpha"], "general"),
                ]
            )
        if points:
            drawn.append((iteration, points))
    if not drawn:
        return paragraph("No reward chose the pairs of this run, so their length was not controlled.")
    unit = str(run.config["pairs"]["length_control"]["unit"].value or "chars")
    domain = domain_of([point for _, points in drawn for point in points], 0)
    figures = [
        Figure(
            Markup("Pairs of {}").format(iteration_name(iteration)),
            change_chart(points, f"longer, {unit}", domain, 0),
        )
        for iteration, points in drawn
    ]
    finding = Markup(
        "By how much chosen responses are longer than rejected ones, in {}, before the penalty on length and "
        "after it. At the dashed line, nought, pairs do not teach length."
    ).format(data_text(unit))
    return exhibit(
        "Length of chosen and rejected",
        finding,
        figures,
        Table(
            "Mean length of chosen less that of rejected responses",
            ["Language", "Iteration", "Before", "After", "Penalty a unit"],
            rows,
        ),
        legend([("start", "before control"), ("series-1", "after control")]),
        unfolded=False,
    )


def _answers(run: TracedRun) -> Markup:
    """Characters an answer, from the start to the end."""
    drawn = {}
    for decoding in DECODINGS:
        points = []
        for code in run.languages:
            for series, measured in [(0, run.start), *run.drawn]:
                length = of_language(measured, decoding, code)["mean_length"]
                if length:
                    points.append(Point(language_name(code), series, length.value, text(length, "length")))
        if points:
            drawn[decoding] = points
    if not drawn:
        return Markup("")
    domain = domain_of([point for points in drawn.values() for point in points])
    figures = [
        Figure(decoding_title(run, decoding), change_chart(points, "characters", domain))
        for decoding, points in drawn.items()
    ]
    rows: list[list[Cell]] = []
    for code in run.languages:
        lengths = [over_run(run, decoding, code, "mean_length") for decoding in DECODINGS]
        cuts = [over_run(run, decoding, code, "cut") for decoding in DECODINGS]
        if any_known(lengths[0]) or any_known(lengths[1]):
            rows.append(
                [
                    language(code, codes=True),
                    *(change(each, "length") for each in lengths),
                    *(change(each, "percent") for each in cuts),
                ]
            )
    return exhibit(
        "Length of answers",
        length_change(run),
        figures,
        Table(
            "Mean length of answers in characters, and the share that reached the limit, over the iterations",
            ["Language", "Greedy", "Sampled", "Cut, greedy, %", "Cut, sampled, %"],
            rows,
        ),
        series_legend(run, start=True),
        unfolded=False,
    )


def length_change(run: TracedRun, decoding: str = "greedy") -> Cell:
    """By how much answers in the target languages have become longer."""
    pairs = [
        (before, after)
        for code in run.targets
        if (before := of_language(run.start, decoding, code)["mean_length"])
        and (after := of_language(run.last, decoding, code)["mean_length"])
    ]
    if not pairs:
        return "The length of answers was not measured."
    before, after = mean(*(pair[0] for pair in pairs)), mean(*(pair[1] for pair in pairs))
    longer = difference(after, before)
    return Markup(
        "Answers in the target languages went from {} to {} characters in the mean ({}), {}."
    ).format(shown(before, "length"), shown(after, "length"), shown(longer, "change"), decoding)
