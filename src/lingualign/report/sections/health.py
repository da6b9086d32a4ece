"""Reward health: how rewards are spread, what they go with, and whether they agree with themselves."""

from __future__ import annotations

from markupsafe import Markup

from lingualign.report.charts import (
    Point,
    Spread,
    change_chart,
    domain_of,
    share_domain,
    spread_chart,
    spread_domain,
)
from lingualign.report.html import (
    Cell,
    Figure,
    Table,
    bullets,
    data_text,
    exhibit,
    iteration_name,
    language,
    paragraph,
)
from lingualign.report.numbers import shown, text
from lingualign.report.reading import percent, series_legend
from lingualign.report.section import Section
from lingualign.report.source import Node, TracedRun, constant, language_name
from lingualign.report.tables import QUANTILES, quantiles_by_language

_LIMITS = "lingualign.rewards.health"
_SCALE = "python:lingualign.report.tables#QUANTILES"


def section(run: TracedRun) -> Section | None:
    """Whether the rewards could be trusted."""
    examined = [(series, each) for series, each in run.drawn if each["reward_health"]]
    if not examined:
        return Section(
            "health",
            "Reward health",
            paragraph("This method ranks no responses by a reward, so there is no reward to examine."),
        )
    body = paragraph(
        "What can be seen of a reward without labels in the target languages. None of it proves a reward "
        "right, but each number can show one to be wrong."
    )
    body += _warnings(run) + _spreads(run)
    return Section("health", "Reward health", body + _signs(run))


def _signs(run: TracedRun) -> Markup:
    """Agreement with another context, and correlation with length."""
    agreement, length = (
        _points(run, "agreement", "percent", 100),
        _points(run, "length_correlation", "signed"),
    )
    figures: list[Figure] = []
    if agreement:
        chart = change_chart(agreement, "pairs, %", share_domain(agreement, 50), 50)
        figures.append(Figure("Pairs ordered alike under another context", chart))
    if length:
        chart = change_chart(length, "correlation", domain_of(length, 0), 0)
        figures.append(Figure("Correlation of reward and length", chart))
    limits = Markup(
        "Dashed lines: a coin orders one half of the pairs alike, and a reward that cares nothing for length "
        "has no correlation with it. There is a warning below {} agreement, and above a correlation of {}."
    ).format(
        percent(constant(_LIMITS, "MIN_AGREEMENT"), "share"),
        shown(constant(_LIMITS, "MAX_LENGTH_CORRELATION"), "decimal"),
    )
    finding = Markup(" ").join(each for each in (_agreement_finding(run), limits) if each)
    return exhibit("What rewards go with", finding, figures, _table(run), series_legend(run), unfolded=False)


def _warnings(run: TracedRun) -> Markup:
    found: list[Cell] = []
    for iteration in run.iterations:
        for code, health in iteration["reward_health"].items():
            for warning in health["warnings"].elements():
                found.append(
                    Markup("<strong>{}</strong>, {}: {}").format(
                        language(code), iteration_name(iteration), data_text(warning.value)
                    )
                )
    if not found:
        return paragraph("No language has a warning.", css="good")
    return Markup('<div class="note warn"><strong>Warnings</strong>{}</div>').format(bullets(found))


def _spreads(run: TracedRun) -> Markup:
    """The distribution of rewards among all responses, from the tables of scores."""
    spreads, rows = list[tuple[Node, list[Spread]]](), list[list[Cell]]()
    for _, iteration in run.drawn:
        found = quantiles_by_language(run, run.stage(iteration, "scores"), "reward")
        drawn = list[Spread]()
        for code in (code for code in run.languages if code in found):
            values = found[code]
            label = ", ".join(text(value, "decimal") for value in values)
            drawn.append((language_name(code), [value.value for value in values], label))
            rows.append(
                [
                    language(code, codes=True),
                    shown(iteration["iteration"], "count"),
                    *(shown(value, "decimal") for value in values),
                    shown(iteration["reward_health"][code]["spread"], "decimal"),
                ]
            )
        if drawn:
            spreads.append((iteration, drawn))
    if not spreads:
        return Markup("")
    domain = spread_domain([rows for _, rows in spreads])
    figures = [
        Figure(
            Markup("Rewards in {}").format(iteration_name(iteration)), spread_chart(drawn, "reward", domain)
        )
        for iteration, drawn in spreads
    ]
    ends = [Node(share, f"{_SCALE}/{place}") for place, share in enumerate(QUANTILES)]
    headings: list[Cell] = [percent(share, "share") for share in ends]
    finding = Markup(
        "Lines hold the rewards from the {} to the {} quantile, boxes those from {} to {}; the mark is the "
        "median. Only differences between the candidates of one prompt decide pairs: the spread in the table "
        "is of these."
    ).format(headings[0], headings[4], headings[1], headings[3])
    table = Table(
        "Quantiles of the reward, and its standard deviation among the candidates of a prompt",
        ["Language", "Iteration", *headings, "Spread"],
        rows,
    )
    return exhibit("Distribution of rewards", finding, figures, table, unfolded=False)


def _points(run: TracedRun, key: str, form: str, scale: float = 1) -> list[Point]:
    points = []
    for code in run.languages:
        for series, iteration in run.drawn:
            value = iteration["reward_health"][code][key]
            if value:
                points.append(Point(language_name(code), series, scale * value.value, text(value, form)))
    return points


def _agreement_finding(run: TracedRun) -> Cell:
    for iteration in reversed(run.iterations):
        known = {
            code: health["agreement"]
            for code, health in iteration["reward_health"].items()
            if health["agreement"]
        }
        if known:
            least = min(known, key=lambda code: known[code].value)
            return Markup(
                "Scored again under another instruction, the reward of {} orders {} of the pairs alike in "
                "{}, where it agrees least."
            ).format(iteration_name(iteration), percent(known[least]), language(least))
    return ""


def _table(run: TracedRun) -> Table:
    rows: list[list[Cell]] = []
    for _, iteration in run.drawn:
        for code in run.languages:
            health = iteration["reward_health"][code]
            if health:
                rows.append(
                    [
                        language(code, codes=True),
                        shown(iteration["iteration"], "count"),
                        shown(health["agreement"], "percent"),
                        shown(health["noise"], "decimal"),
                        shown(health["spread"], "decimal"),
                        shown(health["length_correlation"], "signed"),
                        shown(health["alike"], "percent"),
                        shown(health["accuracy"], "percent"),
                        shown(health["labelled"], "count"),
                    ]
                )
    return Table(
        "Health of the reward",
        [
            "Language",
            "Iteration",
            "Agreement, %",
            "Noise",
            "Spread",
            "Correlation with length",
            "Prompts without a choice, %",
            "Right on labelled pairs, %",
            "Labelled",
        ],
        rows,
    )
