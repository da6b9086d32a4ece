"""`lingualign measure consistency`: does a model choose the same in every language, right or wrong?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lingualign.cli.arguments import Json
from lingualign.cli.measure.output import Format, OptionalOutput, emit
from lingualign.cli.reporters import make_reporter
from lingualign.measures.table import interval_text, results_table

if TYPE_CHECKING:
    from rich.table import Table


def command(
    choices: Annotated[
        Path,
        typer.Option(
            "--choices",
            help="Rows with `id`, `language`, and `choice` (a letter or index) or `scores` (a list, one a "
            "candidate, higher is better); `answer` is the right one.",
            show_default=False,
        ),
    ],
    source: Annotated[str, typer.Option("--source", help="Language that others are compared with.")] = "en",
    output: OptionalOutput = None,
    form: Format = "plain",
    json: Json = False,
) -> None:
    """Measures cross-lingual consistency: RankC, top-1 agreement (MLC), SeaEval's consistency and AC3, kappa.

    From a file of choices that any tool has made, of JSON lines for example:

        {"id": 7, "language": "sw", "scores": [-3.1, -2.2, -5.0, -4.4], "answer": 1}

        lingualign measure consistency --choices choices.jsonl --source en
    """
    reporter = make_reporter(json)
    from lingualign.measures.choices import measure_choices, read_choices

    measured = {"choices": str(choices), **measure_choices(read_choices(choices), source)}
    emit("consistency", measured, _tables, output, form, json, reporter)


def _tables(measured: Mapping[str, Any]) -> list[Table]:
    rows = [
        [
            code,
            _interval(found["accuracy"]),
            _interval(found.get("agreement")),
            "-" if found.get("relative_agreement") is None else f"{found['relative_agreement']:.3f}",
            _number(found.get("kappa")),
            _number(found.get("rankc")),
            _interval(found.get("correct_overlap")),
        ]
        for code, found in measured["languages"].items()
    ]
    sizes = measured["subsets"]
    subsets = [
        [size, _interval(found["consistency"]), "-" if found["ac3"] is None else f"{100 * found['ac3']:.1f}"]
        for size, found in sizes.items()
    ]
    return [
        results_table(
            f"Choices on {measured['items']} items, against {measured['source']}",
            ["language", "right %", "agreement %\n(MLC)", "Rel-MLC", "kappa", "RankC", "overlap of\nright %"],
            rows,
            "95 % intervals: exact for shares, else by bootstrap over items.",
        ),
        results_table(
            "All languages of a subset agree (SeaEval)",
            ["languages", "consistency %", "AC3 %"],
            subsets,
            f"Agreeing pairs of languages (CALM): {_interval(measured['calm'])} %.",
        ),
    ]


def _interval(value: dict[str, float] | None) -> str:
    return interval_text(value)


def _number(value: dict[str, float] | None) -> str:
    return "-" if value is None else f"{value['mean']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"
