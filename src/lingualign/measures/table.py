"""Measures as tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

FACTS = "right"  # the trait of the lab that says whether the facts are right


def measure_tables(measures: Mapping[str, Any]) -> list[Table]:
    """One table an iteration, a language a row, from the content of `measures.json`."""
    return [_table(measures, iteration) for iteration in measures["iterations"]]


def _table(measures: Mapping[str, Any], iteration: Mapping[str, Any]) -> Table:
    start, sampled, greedy = measures["start"], iteration["sampled"], iteration["greedy"]
    in_lab = measures["judge"]["kind"] == "lab"
    temperature = measures["temperature"]
    table = results_table(
        f"Iteration {iteration['iteration']} against the starting policy, on "
        f"{measures['held_out_prompts']} held-out prompts a language",
        ["language", *_headings(in_lab, temperature)],
        caption=f"Judge: {measures['judge']['label']}. Wins count ties half, with 95 % bootstrap intervals. "
        f"a -> b: from the start to this iteration, at T={temperature:g} unless greedy is written.",
    )
    for language in measures["languages"]:
        name = f"{language} (source)" if language == measures["source_language"] else language
        before, after = start["sampled"]["languages"][language], sampled["languages"][language]
        before_greedy, after_greedy = start["greedy"]["languages"][language], greedy["languages"][language]
        cells = [interval_text(after["win_rate"]), interval_text(after_greedy["win_rate"])]
        if in_lab:
            cells += [
                _change(before["reward"], after["reward"], ".3f"),
                _percent_change(before["traits"].get(FACTS), after["traits"].get(FACTS)),
                _percent_change(before_greedy["traits"].get(FACTS), after_greedy["traits"].get(FACTS)),
            ]
        cells += [
            _percent_change(before["right_language"], after["right_language"]),
            _change(before["mean_length"], after["mean_length"], ".0f"),
        ]
        table.add_row(name, *cells)
    table.add_section()
    table.add_row(
        "mean of targets",
        interval_text(sampled["target_win_rate"]),
        interval_text(greedy["target_win_rate"]),
        style="bold",
    )
    return table


def results_table(
    title: str, headings: Sequence[str], rows: Sequence[Sequence[str]] = (), caption: str = ""
) -> Table:
    """A table of results; the first column names the row, the others are aligned on the right."""
    table = Table(
        title=title,
        caption=caption,
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        title_style="bold",
        title_justify="left",
        caption_justify="left",
    )
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="right" if place else "left", no_wrap=True, vertical="bottom")
    for row in rows:
        table.add_row(*row)
    return table


def _headings(in_lab: bool, temperature: float) -> list[str]:
    lab = ["gold\nreward", "facts\nright %", "facts right %\ngreedy"] if in_lab else []
    return [
        f"wins %\nT={temperature:g}",
        "wins %\ngreedy",
        *lab,
        "right\nlanguage %",
        "length\nchars",
    ]


def interval_text(interval: Mapping[str, float] | None) -> str:
    """A share with its interval in percent: `57.8 [55.1, 60.3]`."""
    if interval is None:
        return "-"
    return f"{100 * interval['mean']:.1f} [{100 * interval['low']:.1f}, {100 * interval['high']:.1f}]"


def _change(before: float | None, after: float | None, form: str) -> str:
    return " -> ".join("-" if value is None else format(value, form) for value in (before, after))


def _percent_change(before: float | None, after: float | None) -> str:
    return _change(None if before is None else 100 * before, None if after is None else 100 * after, ".1f")
