"""What several sections read from a run's measures: which languages, which decoding, better or not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from markupsafe import Markup

from lingualign.report.charts import Point
from lingualign.report.html import Cell, iteration_name, legend, paragraph
from lingualign.report.numbers import shown, text
from lingualign.report.source import Node, TracedRun, constant, difference

DECODINGS = ("greedy", "sampled")
EVEN = 0.5  # the win rate of a policy against itself
MEAN_ROW = "Mean of targets"

Outcome = Literal["better", "unclear", "worse", "unknown"]


def of_language(measured: Node, decoding: str, code: str) -> Node:
    """What was measured of a policy in a language."""
    return measured[decoding]["languages"][code]


def decoding_name(run: TracedRun, decoding: str) -> Markup:
    """`greedy`, or `sampled at T = 0.6`."""
    if decoding == "greedy":
        return Markup("greedy")
    return Markup("sampled at T = {}").format(shown(run.measures["temperature"], "general"))


def decoding_title(run: TracedRun, decoding: str) -> Markup:
    """The same at the beginning of a title."""
    name = decoding_name(run, decoding)
    return Markup(name[0].upper() + name[1:])


def outcome(win_rate: Node) -> Outcome:
    """Whether the whole interval of a win rate is on one side of even."""
    if not win_rate:
        return "unknown"
    if win_rate["low"].value > EVEN:
        return "better"
    return "worse" if win_rate["high"].value < EVEN else "unclear"


def series_legend(run: TracedRun, start: bool = False) -> Markup:
    """What the colours of iterations are; nothing where there is one series."""
    entries: list[tuple[str, Cell]] = [("start", "start")] if start else []
    entries += [(f"series-{number}", iteration_name(iteration)) for number, iteration in run.drawn]
    note = Markup("")
    if len(run.drawn) < len(run.iterations):
        note = paragraph("Charts and changes show the first, the middle and the last iteration.", css="quiet")
    return legend(entries, shapes=True) + note if len(entries) > 1 else Markup("")


def over_run(run: TracedRun, decoding: str, code: str, *path: str) -> list[Node]:
    """A measure of a language at the start and after each iteration that is drawn."""
    return [
        _follow(of_language(measured, decoding, code), path)
        for measured in (run.start, *(iteration for _, iteration in run.drawn))
    ]


def _follow(node: Node, path: Sequence[str]) -> Node:
    for key in path:
        if node["n"].value == 0:  # a rate of nothing
            return Node(None, node.source)
        node = node[key]
    return node


def any_known(nodes: Sequence[Node]) -> bool:
    """Whether anything was measured."""
    return any(bool(node) for node in nodes)


def confidence() -> Markup:
    """`95 %`: what the intervals hold with."""
    level = difference(Node(1, "1"), constant("lingualign.measures.intervals", "LEVEL"))
    return percent(level, "share")


def percent(node: Node, form: str = "percent") -> Markup:
    """A share with its sign; not split between lines."""
    return Markup("{}\u202f%").format(shown(node, form)) if node else shown(node, form)


def rate_point(row: str, series: int, rate: Node) -> Point:
    """A win rate with its interval as a mark of a chart, in percent."""
    mean, low, high = rate["mean"], rate["low"], rate["high"]
    label = f"{text(mean, 'percent')} [{text(low, 'percent')}, {text(high, 'percent')}]"
    return Point(row, series, 100 * mean.value, label, 100 * low.value, 100 * high.value)
