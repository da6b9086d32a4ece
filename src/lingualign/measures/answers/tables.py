"""Measures of answers from files as tables for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from lingualign.measures.intervals import LEVEL, MEAN
from lingualign.measures.table import interval_text, results_table

MEAN_ROW = "mean"


def answer_tables(measured: Mapping[str, Any]) -> list[Table]:
    """Tables of what `lingualign.measures.answers.compare` found, a language a row."""
    tables = [_language_table(measured)]
    if measured.get("judge"):
        tables.insert(0, _win_table(measured))
    return tables


def _win_table(measured: Mapping[str, Any]) -> Table:
    table = results_table(
        "Answers against the baseline's",
        ["language", "wins %", "wins %\nlength-controlled", "wins %\ndiscrete", "p", "judged", "failed"],
        caption=f"Judge: {measured['judge']}. 95 % intervals by bootstrap over prompts; p of a draw, by sign "
        f"flips, adjusted for the number of languages (Holm). *: significant at {100 * LEVEL:g} %.",
    )
    rows = {code: found["wins"] for code, found in measured["languages"].items()}
    for code, wins in [*rows.items(), (MEAN_ROW, measured[MEAN]["wins"])]:
        if wins is None or "interval" not in wins:
            table.add_row(code, *["-"] * 4, "0", "-" if wins is None else f"{wins['n_failed']}")
            continue
        controlled = wins.get("length_controlled")
        discrete = wins.get("discrete_win_rate")
        table.add_row(
            code,
            interval_text(wins["interval"]),
            interval_text(controlled["interval"]) if controlled else "-",
            "-" if discrete is None else f"{100 * discrete:.1f}",
            _p(wins["p_adjusted"]),
            f"{wins['n_total']}" if "n_total" in wins else "",
            f"{wins['n_failed']}" if "n_failed" in wins else "",
            style="bold" if code == MEAN_ROW else None,
        )
    return table


def _language_table(measured: Mapping[str, Any]) -> Table:
    compared = MEAN in measured
    table = results_table(
        "The language of the answers" + (", from the baseline's to the model's" if compared else ""),
        ["language", "prompts", "right\nlanguage %", "all lines\nright %", "words %", "undecided", "length"],
        caption="Of answers and lines whose language can be told. Words: answers without a word in a foreign "
        f"script.{' *: the change is significant at 5 %, adjusted for the languages.' if compared else ''}",
    )
    for code, found in measured["languages"].items():
        sides = [found["baseline"], found["model"]] if compared else [found["model"]]
        changes = found.get("changes", {})
        table.add_row(
            code,
            f"{found['model']['prompts']}",
            _arrow([_right(side["language"]["off_target"]) for side in sides])
            + _star(changes, "right_language"),
            _arrow([_right(side["language"]["with_foreign_lines"]) for side in sides])
            + _star(changes, "all_lines_right"),
            _arrow([_right(side["language"]["with_foreign_words"]) for side in sides]),
            _arrow([f"{side['language']['undecided']}" for side in sides]),
            _arrow([f"{side['mean_length']:.0f}" for side in sides]) + _star(changes, "length"),
        )
    return table


def _right(wrong: Mapping[str, float] | None) -> str:
    return "-" if wrong is None else f"{100 * (1 - wrong['mean']):.1f}"


def _arrow(cells: list[str]) -> str:
    return " -> ".join(cells)


def _star(changes: Mapping[str, Any], name: str) -> str:
    return "*" if name in changes and changes[name]["p_adjusted"] < LEVEL else ""


def _p(p: float) -> str:
    return f"{p:.4f}" + ("*" if p < LEVEL else "")
