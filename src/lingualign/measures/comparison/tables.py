"""A comparison of methods as tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from lingualign.measures.intervals import LEVEL
from lingualign.measures.table import interval_text


def comparison_tables(comparison: Mapping[str, Any]) -> list[Group]:
    """What differs between the methods, what they reach, in which languages, and each against each.

    Args:
        comparison: The content of `comparison.json`.
    """
    tables = [_terms(comparison)] if comparison["differs"] else []
    return [*tables, _methods(comparison), _languages(comparison), _each_against_each(comparison)]


def _terms(comparison: Mapping[str, Any]) -> Group:
    table = _table(["setting"], comparison["methods"])
    for setting, values in comparison["differs"].items():
        table.add_row(setting, *(_value(values[method]) for method in comparison["methods"]))
    return _titled(
        "What differs between the methods, beside what they are",
        table,
        "Set key=value for all of them to make it equal. -: the method does not use it.",
    )


def _methods(comparison: Mapping[str, Any]) -> Group:
    source, temperature = comparison["source_language"], f"T={comparison['temperature']:g}"
    in_lab = comparison["judge"]["kind"] == "lab"
    seeds = len(comparison["seeds"])
    headings = [
        f"wins %\n{temperature}",
        "wins %\ngreedy",
        f"{source} wins %\n{temperature}",
        "right\nlanguage %",
        f"{source} right\nlanguage %",
        *(["facts\nright %"] if in_lab else []),
        "tokens\nsampled",
        "time\nmin",
        "pairs\ntrained on",
    ]
    table = _table(["method"], headings)
    for method in comparison["methods"]:
        sampled, greedy = (comparison["wins"][name]["methods"][method] for name in ("sampled", "greedy"))
        cost = comparison["cost"][method]
        table.add_row(
            method,
            interval_text(sampled["target"]),
            interval_text(greedy["target"]),
            interval_text(sampled["languages"][source]),
            *_shares(comparison["shares"][method]["sampled"], in_lab),
            f"{cost['tokens']:,.0f}",
            f"{cost['seconds'] / 60:.1f}",
            f"{cost['pairs']:,.0f}",
        )
    table.add_section()
    table.add_row(
        "(start)", "50.0", "50.0", "50.0", *_shares(comparison["start"]["sampled"], in_lab), style="dim"
    )
    return _titled(
        f"Methods against the starting policy, on {comparison['held_out_prompts']} held-out prompts a "
        f"language, {seeds} seed{'s' if seeds > 1 else ''}",
        table,
        f"Judge: {comparison['judge']['label']}. Wins count ties half, with 95 % bootstrap intervals over "
        f"prompts and seeds. Means over the target languages, {source} apart; shares at {temperature}. Cost: "
        "of one run without its measuring, mean over seeds, as if nothing were shared.",
    )


def _shares(shares: Mapping[str, float | None], in_lab: bool) -> list[str]:
    names = ["right_language", "source_right_language", *(["facts_right"] if in_lab else [])]
    return ["-" if (share := shares[name]) is None else f"{100 * share:.1f}" for name in names]


def _languages(comparison: Mapping[str, Any]) -> Group:
    languages, source = comparison["languages"], comparison["source_language"]
    headings = [f"{language} (source)" if language == source else language for language in languages]
    table = _table(["method"], headings)
    for method in comparison["methods"]:
        both = [comparison["wins"][name]["methods"][method]["languages"] for name in ("sampled", "greedy")]
        table.add_row(
            method,
            *(" / ".join(f"{100 * wins[code]['mean']:.1f}" for wins in both) for code in languages),
        )
    return _titled(
        "Wins against the starting policy in each language, in percent",
        table,
        f"At T={comparison['temperature']:g} / greedy. The intervals are in comparison.json.",
    )


def _each_against_each(comparison: Mapping[str, Any]) -> Group:
    wins = comparison["wins"]["sampled"]
    pairs = {(pair["first"], pair["second"]): pair for pair in wins["differences"]}
    methods = comparison["methods"]
    table = _table([""], methods[1:])
    for row, method in enumerate(methods[:-1]):
        cells = [""] * row
        for other in methods[row + 1 :]:
            pair = pairs[method, other]
            star = "*" if pair["p_adjusted"] < LEVEL else ""
            difference, head = pair["difference"]["mean"], pair["head_to_head"]["mean"]
            cells.append(f"{100 * difference:+.1f}{star}\n{100 * head:.1f}")
        table.add_row(method, *cells)
    return _titled(
        f"Each method against each below it, at T={comparison['temperature']:g}",
        table,
        "Difference of their wins against the start in points, and wins head to head in percent. "
        f"*: the difference is significant at {LEVEL:.0%}, by bootstrap p-values with Holm's correction over "
        "all pairs; the intervals in comparison.json are not corrected.",
    )


def _table(names: Sequence[str], columns: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name in names:
        table.add_column(name, no_wrap=True, vertical="bottom")
    for name in columns:
        table.add_column(name, justify="right")
    return table


def _titled(title: str, table: Table, caption: str) -> Group:
    """A table between its texts, which may be wider than it is."""
    return Group(Text(title, style="bold"), table, Text(caption, style="dim italic"), Text())


def _value(value: object) -> str:
    return "-" if value is None else str(value)
