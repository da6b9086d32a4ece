"""`lingualign measure rewards`: how often a reward prefers what people prefer, in each language."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lingualign.cli.arguments import AllowMissing, Arguments, Json, Output, load
from lingualign.cli.measure.output import Format, emit
from lingualign.cli.reporters import make_reporter
from lingualign.measures.table import interval_text, results_table

if TYPE_CHECKING:
    from rich.table import Table


def command(
    pairs: Annotated[
        Path,
        typer.Option(
            "--pairs",
            help="Preference pairs (`prompt`, `chosen`, `rejected`, and `id` and `subset` if there are): a "
            "file in the source language, or a folder with a file a language.",
            show_default=False,
        ),
    ],
    output: Output,
    arguments: Arguments = None,
    form: Format = "plain",
    json: Json = False,
    allow_missing: AllowMissing = False,
) -> None:
    """Measures a recipe's reward on labelled pairs: accuracy, RewardBench's sections, agreement with English.

    A tie is wrong. The implicit reward of a policy, on pairs in `pairs/en.jsonl`, `pairs/sw.jsonl`:

        lingualign measure rewards icr policy=./aligned reference=./sft languages=en,sw \\
            --pairs ./pairs --output work
    """
    config = load(arguments, allow_missing)
    reporter = make_reporter(json)
    from lingualign.pipeline.single import measure_rewards

    measured = measure_rewards(config, pairs, output, reporter)
    emit("rewards", measured, _tables, output, form, json, reporter)


def _tables(measured: Mapping[str, Any]) -> list[Table]:
    languages = measured["languages"]
    sections = list(dict.fromkeys(name for found in languages.values() for name in found["sections"]))
    rows = []
    for code, found in languages.items():
        agreement = found["agreement"]
        rows.append(
            [
                code,
                interval_text(found["accuracy"]),
                *(interval_text(found["sections"].get(name)) for name in sections),
                *([interval_text(found["score"])] if sections else []),
                "-" if agreement is None or agreement["kappa"] is None else f"{agreement['kappa']:.3f}",
                "-" if agreement is None else _change(agreement["gap"]),
                str(found["unsaid"]),
            ]
        )
    headings = [
        "language",
        "right %",
        *(f"{name} %" for name in sections),
        *(["score %"] if sections else []),
        f"kappa with\n{measured['source_language']}",
        f"less {measured['source_language']}\nin points",
        "unsaid",
    ]
    return [
        results_table(
            f"{measured['reward']}: pairs ranked right",
            headings,
            rows,
            "95 % intervals. *: the difference is significant at 5 %, adjusted for the number of languages.",
        )
    ]


def _change(change: dict[str, Any]) -> str:
    found = change["difference"]
    star = "*" if change["p_adjusted"] < 0.05 else ""
    return f"{100 * found['mean']:+.1f} [{100 * found['low']:.1f}, {100 * found['high']:.1f}]{star}"
