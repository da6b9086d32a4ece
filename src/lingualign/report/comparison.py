"""The page on two runs: both verdicts, wins side by side, costs, what differs, and whether it is fair."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from markupsafe import Markup

from lingualign.pipeline.files import write_text
from lingualign.report.charts import Point, interval_chart, share_domain
from lingualign.report.html import (
    Cell,
    Figure,
    Table,
    data_text,
    exhibit,
    joined,
    language,
    legend,
    paragraph,
)
from lingualign.report.numbers import interval, shown
from lingualign.report.page import Page, render
from lingualign.report.reading import DECODINGS, EVEN, MEAN_ROW, decoding_title, percent, rate_point
from lingualign.report.section import Section
from lingualign.report.sections import verdict
from lingualign.report.sections.configuration import all_seconds, seconds_by_kind
from lingualign.report.sections.wins import win_rate
from lingualign.report.source import Node, TracedRun, difference, language_name, reporting_on
from lingualign.report.svg import drawing
from lingualign.texts import visible

_PREFIXES = ("A:", "B:")
_NOWHERE = {"output", "recipe"}  # settings that say what a run is called, and nothing about what it does


def write_comparison(a: Path, b: Path, output: Path) -> Path:
    """Writes a page that compares two finished runs.

    Args:
        a: Folder of one run.
        b: Folder of the other.
        output: File to write.

    Returns:
        The file.

    Raises:
        InputError: One of the folders is not of a run, its run is not finished, or its files are damaged.
    """
    with reporting_on(a, b), drawing():
        page = render(_page(a, b))
    write_text(output, page)
    return output


def _page(a: Path, b: Path) -> Page:
    runs = [TracedRun(folder, prefix) for folder, prefix in zip((a, b), _PREFIXES, strict=True)]
    names = [
        Markup("{} ({})").format(letter[0], data_text(run.folder.resolve().name))
        for letter, run in zip(_PREFIXES, runs, strict=True)
    ]
    return Page(
        "Comparison of two runs",
        "Two runs side by side",
        joined(names),
        [
            _verdicts(runs, names),
            _fairness(runs),
            _wins(runs, names),
            _costs(runs, names),
            _settings(runs, names),
        ],
    )


def _verdicts(runs: list[TracedRun], names: list[Markup]) -> Section:
    cards = Markup("").join(
        Markup('<div class="verdict {}"><h3>{}</h3>{}<p class="headline">{}</p>{}</div>').format(
            verdict.tone(run), name, verdict.stamp(run), verdict.headline(run), verdict.tiles(run)
        )
        for run, name in zip(runs, names, strict=True)
    )
    reasons = unfair(*runs)
    if reasons:
        note = Markup(
            '<div class="note warn">Not on equal terms: {}. Differences are not of the methods alone.</div>'
        ).format(joined(reasons))
    else:
        note = paragraph(
            "On equal terms: both were measured on the same prompts, from the same start, by the same judge."
        )
    return Section("verdict", "Verdicts", Markup('<div class="charts">{}</div>').format(cards) + note)


def unfair(a: TracedRun, b: TracedRun) -> list[Markup]:
    """What keeps a comparison from being fair, in words; nothing where it is."""
    found = []
    names = {
        "held-out prompts": _prompts,
        "start": _start,
        "judge": _judge,
        "measuring settings": _measuring,
        "languages": lambda run: run.languages,
        "source language": lambda run: run.source,
        "temperature": lambda run: run.measures["temperature"].value,
    }
    for name, read in names.items():
        if read(a) != read(b):
            found.append(
                Markup("another {}").format(name)
                if not name.endswith("s")
                else Markup("other {}").format(name)
            )
    return found


def _fingerprint(run: TracedRun) -> Node:
    """What the start's answers to the held-out prompts depend on."""
    return run.manifest["stages"]["measures/iteration-0/greedy"]["fingerprint"]


def _prompts(run: TracedRun) -> tuple[Any, Any]:
    found = _fingerprint(run)["prompts"].value
    known = found or (run.config["measures"]["prompts"].value or run.config["prompts"].value)
    return known, run.measures["held_out_prompts"].value


def _judge(run: TracedRun) -> tuple[Any, Any]:
    """Its name, and what else its word depends on: models, a context, the settings of a server."""
    judged = run.manifest["stages"]["measures/iteration-0/sampled-judged"]["fingerprint"]
    return run.measures["judge"].value, judged["judge"].value


def _measuring(run: TracedRun) -> list[Any]:
    """Hashes of how answers were sampled and judged: temperature, limit of length, type of numbers."""
    stages = run.manifest["stages"]
    names = ("sampled", "sampled-judged", "greedy", "greedy-judged")
    return [stages[f"measures/iteration-0/{name}"]["fingerprint"]["settings"].value for name in names]


def _start(run: TracedRun) -> Any:
    return _fingerprint(run)["policy"].value or run.config["policy"].value


def _fairness(runs: list[TracedRun]) -> Section:
    a, b = runs
    reasons = {str(each) for each in unfair(a, b)}
    rows: list[list[Cell]] = []
    checks = [
        (
            "Held-out prompts",
            "other held-out prompts",
            [shown(run.measures["held_out_prompts"], "count") for run in runs],
        ),
        (
            "Start",
            "another start",
            [Markup("<code>{}</code>").format(run.config["policy"].value or "") for run in runs],
        ),
        ("Judge", "another judge", [data_text(run.measures["judge"]["label"].value) for run in runs]),
        (
            "Settings of measuring",
            "other measuring settings",
            [
                Markup("up to {} tokens").format(shown(run.config["measures"]["max_new_tokens"], "count"))
                for run in runs
            ],
        ),
        (
            "Source language",
            "another source language",
            [language(run.source) for run in runs],
        ),
        ("Languages", "other languages", [joined(map(language, run.languages)) for run in runs]),
        (
            "Temperature of samples",
            "another temperature",
            [shown(run.measures["temperature"], "general") for run in runs],
        ),
    ]
    for name, reason, cells in checks:
        same = reason not in reasons
        result = Markup('<span class="{}">{}</span>').format(
            "good" if same else "bad", "✓ the same" if same else "✗ differs"
        )
        rows.append([name, *cells, result])
    table = Table(
        "What both must share for their win rates to be compared",
        ["Condition", "A", "B", "Compared"],
        rows,
        words=(1, 2, 3),
    )
    text = paragraph(
        "Prompts and start are compared by their content, as the manifests recorded it. A win rate is "
        "against the run's own start: with another start it says something else."
    )
    return Section("fairness", "On equal terms?", text + table.html())


def _wins(runs: list[TracedRun], names: list[Markup]) -> Section:
    a, b = runs
    codes = [code for code in a.languages if code in b.languages]
    places: list[tuple[str, str | None]] = [
        (MEAN_ROW, None),
        *((language_name(code), code) for code in codes),
    ]
    drawn = {
        decoding: [
            rate_point(name, series, rate)
            for name, code in places
            for series, run in enumerate(runs, 1)
            if (rate := win_rate(run, run.last, decoding, code))
        ]
        for decoding in DECODINGS
    }
    every: list[Point] = [point for points in drawn.values() for point in points]
    if not every:
        return Section("wins", "Win rates", paragraph("No judgement succeeded in either run."))
    domain = share_domain(every, 100 * EVEN)
    figures = [
        Figure(decoding_title(a, decoding), interval_chart(points, "wins, %", domain, 100 * EVEN))
        for decoding, points in drawn.items()
        if points
    ]
    rows: list[list[Cell]] = []
    for name, code in places:
        for decoding in DECODINGS:
            rates = [win_rate(run, run.last, decoding, code) for run in runs]
            rows.append(
                [
                    language(code, codes=True) if code else name,
                    decoding,
                    *(interval(rate) for rate in rates),
                    shown(difference(rates[0]["mean"], rates[1]["mean"]), "points"),
                ]
            )
    table = Table(
        "Win rates of the last iterations against their starts, in percent",
        ["Language", "Decoding", "A", "B", "A less B, points"],
        rows,
        words=(1,),
    )
    return Section(
        "wins",
        "Win rates against the start",
        exhibit(
            "Wins by language",
            _finding(runs),
            figures,
            table,
            legend([("series-1", names[0]), ("series-2", names[1])], shapes=True),
            unfolded=True,
        ),
    )


def _finding(runs: list[TracedRun]) -> Cell:
    """The means over the targets, and whether their intervals overlap."""
    told = []
    for decoding in DECODINGS:
        a, b = (run.last[decoding]["target_win_rate"] for run in runs)
        if a and b:
            apart = a["low"].value > b["high"].value or b["low"].value > a["high"].value
            said = "the intervals do not overlap" if apart else "the intervals overlap"
            told.append(
                Markup("{}: {} and {} in the mean over the targets, {}.").format(
                    decoding_title(runs[0], decoding), percent(a["mean"]), percent(b["mean"]), said
                )
            )
    if not told:
        return "The mean over the target languages is not known of both."
    more = "<code>lingualign compare</code> tests the difference on the same prompts, over several seeds."
    return Markup(" ").join([*told, Markup(more)])


def _costs(runs: list[TracedRun], names: list[Markup]) -> Section:
    kinds = [seconds_by_kind(run) for run in runs]
    rows: list[list[Cell]] = [
        [kind, *(shown(found[kind], "duration") if kind in found else "" for found in kinds)]
        for kind in dict.fromkeys([*kinds[0], *kinds[1]])
    ]
    rows.append(["all", *(shown(all_seconds(run), "duration") for run in runs)])
    return Section("cost", "Cost", Table("Work by kind of stage", ["Stage", *names], rows).html())


def _settings(runs: list[TracedRun], names: list[Markup]) -> Section:
    flat = [dict(_flat(run.config.value or {})) for run in runs]
    rows: list[list[Cell]] = [
        [
            Markup("<code>{}</code>").format(key),
            *(_setting(found[key]) if key in found else "" for found in flat),
        ]
        for key in dict.fromkeys([*flat[0], *flat[1]])
        if flat[0].get(key) != flat[1].get(key) and key not in _NOWHERE
    ]
    if not rows:
        return Section("settings", "Settings", paragraph("All settings are the same."))
    table = Table("Settings that differ", ["Setting", *names], rows, words=(1, 2))
    return Section("settings", "Settings", table.html())


def _setting(value: Any) -> Markup:
    """A value as config.yaml has it."""
    written = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return Markup("<code>{}</code>").format(visible(written))


def _flat(settings: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Settings by their dotted names."""
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value
