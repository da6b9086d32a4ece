"""`lingualign export`: the pairs of a run in the format of another trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lingualign.cli.arguments import Json
from lingualign.cli.reporters import make_reporter, stdout_console

Run = Annotated[
    Path, typer.Argument(metavar="RUN", help="A run folder, such as runs/icr.", show_default=False)
]
To = Annotated[
    str,
    typer.Option(
        "--to",
        metavar="FORMAT",
        help="axolotl, csv, llama-factory, openrlhf or trl.",
        show_default=False,
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="The folder to write; an earlier export is replaced. Default: RUN/exports/FORMAT-iteration-N.",
        show_default=False,
    ),
]
Number = Annotated[
    int | None,
    typer.Option("--iteration", help="Whose pairs. Default: of the last iteration.", show_default=False),
]
Languages = Annotated[
    str | None,
    typer.Option("--languages", help="Only pairs in these: de,sw. Default: all.", show_default=False),
]


def command(
    run: Run,
    to: To,
    output: Output = None,
    iteration: Number = None,
    languages: Languages = None,
    json: Json = False,
) -> None:
    """Writes the pairs of a run for the trainer that you already have.

    The folder has the pairs, what the trainer needs to load them, the settings of the run where the trainer
    has the same ones, and a README.md that says how to start it and what is not the same:

        lingualign export runs/icr --to trl

        lingualign export runs/icr --to llama-factory --iteration 1 --output ../LLaMA-Factory/data/icr

        lingualign export runs/icr --to csv --languages sw,de

    For a model instead of data: `lingualign merge`.
    """
    reporter = make_reporter(json)
    from lingualign.cli.measure.output import language_codes
    from lingualign.export.write import export

    done = export(run, to, output, iteration, language_codes(languages or ""))
    if json:
        reporter.result(
            "export",
            {
                "path": str(done.folder),
                "pairs": done.written.pairs,
                "languages": done.run.languages,
                "iteration": done.run.iteration,
                "left_out": dict(done.written.left_out),
            },
        )
        return
    console = stdout_console()
    for why, count in done.written.left_out.items():
        console.print(f"{count} pairs are left out: {why}.", markup=False, soft_wrap=True)
    console.print(
        f"{done.written.pairs} pairs of iteration {done.run.iteration} in {', '.join(done.run.languages)} "
        f"for {done.title}: {done.folder} (README.md there says how to load them)",
        markup=False,
        soft_wrap=True,
    )
