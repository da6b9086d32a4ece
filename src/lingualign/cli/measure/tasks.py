"""`lingualign measure tasks`: tasks with right answers, before and after training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lingualign.cli.arguments import Json
from lingualign.cli.measure.output import Format, OptionalOutput, emit, language_codes
from lingualign.cli.reporters import make_reporter
from lingualign.errors import InputError
from lingualign.measures.table import results_table

if TYPE_CHECKING:
    from rich.table import Table


def command(
    model: Annotated[
        str, typer.Option("--model", help="Folder of the trained model, or lab:NAME.", show_default=False)
    ],
    before: Annotated[
        str, typer.Option("--before", help="The model that training started from.", show_default=False)
    ],
    tasks: Annotated[
        str | None,
        typer.Option(
            "--tasks",
            help="A group of lm-evaluation-harness: belebele, global-mmlu, global-mmlu-lite, mmmlu, xcopa, "
            "mgsm, mgsm-cot or xnli. Needs `pip install 'lingualign[tasks]'`.",
            show_default=False,
        ),
    ] = None,
    questions: Annotated[
        Path | None,
        typer.Option(
            "--questions",
            help="Instead: a folder with a file of questions a language (`question` or `context`, `choices`, "
            "`answer`). Needs neither the harness nor a hub.",
            show_default=False,
        ),
    ] = None,
    languages: Annotated[
        str, typer.Option("--languages", help="BCP-47 codes, with commas between them.", show_default=False)
    ] = "",
    limit: Annotated[int | None, typer.Option("--limit", help="First items of each task.", min=1)] = None,
    max_loss: Annotated[
        float,
        typer.Option(
            "--max-loss", help="Most that accuracy may fall in a language, or the verdict is: do not ship."
        ),
    ] = 0.02,
    output: OptionalOutput = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1.")] = "auto",
    form: Format = "plain",
    json: Json = False,
) -> None:
    """Measures a trained model and the one it came from on the same tasks: what was learned, what was lost.

    Through lm-evaluation-harness, whose own numbers are kept:

        lingualign measure tasks --model runs/icr/iteration-2/model --before ./aligned --tasks xcopa \\
            --languages sw,th

    On local files, by the harness's rules for multiple choice (`acc_bytes` is fair across scripts):

        lingualign measure tasks --model ./trained --before ./aligned --questions ./questions \\
            --languages sw,th
    """
    codes = language_codes(languages)
    if (tasks is None) == (questions is None) or not codes:
        raise InputError(
            "One of --tasks and --questions is needed, and --languages.", "See `lingualign measure tasks -h`."
        )
    reporter = make_reporter(json)
    if tasks is not None:
        from lingualign.measures.tasks.harness import tasks_of
        from lingualign.pipeline.measuring_tasks import measure_tasks

        measured = measure_tasks(before, model, tasks_of(tasks, codes), limit, device, max_loss, reporter)
    else:
        from lingualign.pipeline.measuring_tasks import measure_questions

        assert questions is not None
        measured = measure_questions(before, model, questions, codes, limit, device, max_loss, reporter)
    emit("tasks", measured, _tables, output, form, json, reporter)


def _tables(measured: Mapping[str, Any]) -> list[Table]:
    tables = []
    for metric, changes in measured["changes"].items():
        rows = []
        for code, change in changes.items():
            found = change["difference"]
            sides = [measured[side].get(code, {}).get(metric) for side in ("before", "after")]
            rows.append(
                [
                    code,
                    *("-" if side is None else f"{100 * side:.1f}" for side in sides),
                    f"{100 * found['mean']:+.1f} [{100 * found['low']:.1f}, {100 * found['high']:.1f}]",
                    f"{change['p_adjusted']:.4f}" + ("*" if change["p_adjusted"] < 0.05 else ""),
                    str(found["n"]),
                ]
            )
        headings = ["language", "before %", "after %", "change in points", "p", "items"]
        tables.append(results_table(metric, headings, rows))
    tables[-1].caption = (
        "Paired over items, 95 % bootstrap intervals; p by sign flips, adjusted for the number of languages. "
        + measured["verdict"]["sentence"]
    )
    return tables
