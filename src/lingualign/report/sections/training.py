"""Training curves: what each optimiser step reported."""

from __future__ import annotations

from collections.abc import Iterator

from markupsafe import Markup

from lingualign.report.charts import line_chart
from lingualign.report.html import Cell, Figure, Table, bullets, exhibit, paragraph
from lingualign.report.numbers import shown, text
from lingualign.report.reading import series_legend
from lingualign.report.section import Section
from lingualign.report.source import Node, TracedRun, mean

MOST = 50  # points of a curve; more steps are averaged, neighbours together
_FIRST = ("loss", "margin", "accuracy")
_NOT_CURVES = {"step", "epoch"}
_TITLES = {
    "grad_norm": "Norm of the gradient",
    "nll": "NLL of the chosen response",
    "dpo": "DPO loss",
    "chosen_ratio": "Log-ratio of the chosen response, a token",
}


def section(run: TracedRun) -> Section | None:
    """Loss, margin, accuracy and what else the objective reported."""
    logs = [
        (series, iteration, log)
        for series, iteration in run.drawn
        if (log := run.file(run.stage(iteration, "training.json"))["steps"]).elements()
    ]
    if not logs:
        return Section(
            "training",
            "Training",
            paragraph("The steps of training were not kept: the run was made by an older version."),
        )
    names = _names([log for _, _, log in logs])
    figures = []
    for name in names:
        points = [
            (series, step.value, value.value, f"{text(step, 'general')}: {text(value, 'general')}")
            for series, _, log in logs
            for step, value in _curve(log, name)
        ]
        if points:
            figures.append(Figure(_title(name), line_chart(points, "step", "")))
    signs = [sign for _, iteration in run.drawn for sign in _signs(run, iteration)]
    body = bullets(signs) + exhibit(
        "What the steps of training reported",
        _finding(logs),
        figures,
        _table(logs, names),
        series_legend(run),
    )
    return Section("training", "Training", body)


def _signs(run: TracedRun, iteration: Node) -> Iterator[Cell]:
    """The signs of collapse in an iteration, and what followed, a sentence each."""
    guard = run.file(run.stage(iteration, "training.json"))["guard"]
    for sign in guard["signs"].elements():
        yield Markup("Iteration {}, step {}: a sign of collapse, {}{}: {} (limit {}).").format(
            shown(iteration["iteration"], "count"),
            shown(sign["step"], "count"),
            str(sign["sign"].value).replace("_", " "),
            f" of {sign['language'].value}" if sign["language"] else "",
            shown(sign["value"], "general"),
            shown(sign["limit"], "general"),
        )
    if guard["rolled_back_to"]:
        yield Markup("Iteration {} has the weights of step {}, before the signs.").format(
            shown(iteration["iteration"], "count"), shown(guard["rolled_back_to"], "count")
        )
    elif guard["stopped_at"]:
        yield Markup("Training of iteration {} ended at step {}.").format(
            shown(iteration["iteration"], "count"), shown(guard["stopped_at"], "count")
        )


def _title(name: str) -> str:
    return _TITLES.get(name, name.replace("_", " ").capitalize())


def _names(logs: list[Node]) -> list[str]:
    """The values that have a curve, the best known first."""
    found = dict.fromkeys(key for log in logs for key in log[0].value)
    return [name for name in _FIRST if name in found] + [
        name for name in found if name not in _FIRST and name not in _NOT_CURVES
    ]


def _curve(log: Node, name: str) -> Iterator[tuple[Node, Node]]:
    """Points of a curve, (step, value): each the mean of a stretch of steps where there are many."""
    steps = len(log.value)
    width = -(-steps // MOST)
    for start in range(0, steps, width):
        stop = min(start + width, steps)
        if width == 1:
            step, value = log[start]["step"], log[start][name]
        else:
            step, value = mean(log.stretch(start, stop, "step")), mean(log.stretch(start, stop, name))
        if step and value:
            yield step, value


def _finding(logs: list[tuple[int, Node, Node]]) -> Cell:
    parts = []
    for _, iteration, log in logs:
        first, last = log[0], log[-1]
        told = Markup("iteration {}: {} steps, loss from {} to {}").format(
            shown(iteration["iteration"], "count"),
            shown(last["step"], "count"),
            shown(first["loss"], "fine"),
            shown(last["loss"], "fine"),
        )
        if last["accuracy"]:
            told += Markup(", accuracy from {} to {}").format(
                shown(first["accuracy"], "decimal"), shown(last["accuracy"], "decimal")
            )
        parts.append(told)
    said = Markup("; ").join(parts) + Markup(".")
    averaged = any(len(log.value) > MOST for _, _, log in logs)
    more = " Each point is the mean of a stretch of steps." if averaged else ""
    return Markup("From the first step to the last. ") + said[:1].upper() + said[1:] + Markup(more)


def _table(logs: list[tuple[int, Node, Node]], names: list[str]) -> Table:
    rows: list[list[Cell]] = []
    for _, iteration, log in logs:
        curves = [list(_curve(log, name)) for name in names]
        points: dict[float, dict[str, tuple[Node, Node]]] = {}
        for name, curve in zip(names, curves, strict=True):
            for step, value in curve:
                points.setdefault(step.value, {})[name] = (step, value)
        for found in points.values():
            step = next(iter(found.values()))[0]
            rows.append(
                [
                    shown(step, "general"),
                    shown(iteration["iteration"], "count"),
                    *(shown(found[name][1], "general") if name in found else "" for name in names),
                ]
            )
    headings = [_title(name) for name in names]
    return Table("The steps of training", ["Step", "Iteration", *headings], rows)
