"""`lingualign merge`: a LoRA adapter of a run as full weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lingualign.cli.arguments import Json
from lingualign.cli.reporters import make_reporter


def command(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN | ADAPTER",
            help="A run folder, such as runs/icr, or the folder of an adapter.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="The model folder to write; it must not exist.", show_default=False
        ),
    ],
    iteration: Annotated[
        int | None,
        typer.Option("--iteration", help="Of the run. Default: the last.", show_default=False),
    ] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that ships with the model.")
    ] = False,
    json: Json = False,
) -> None:
    """Merges the LoRA adapter of a run into the weights of its base: a folder that any tool can load.

    Runs with `training.lora` make adapters; others make whole models, and there is nothing to merge.

        lingualign merge runs/icr --output merged

        lingualign merge ./my-adapter --output merged

    Weights keep the type in which the base is stored; tokenizer, chat template and generation config come
    along, and of a finished run the model card too.
    """
    reporter = make_reporter(json)
    from lingualign.export.merge import find_adapter, merge
    from lingualign.export.model_card import write_merged_card

    adapter = find_adapter(run, iteration)
    merge(adapter, output, trust_remote_code=trust_remote_code)
    write_merged_card(adapter, output)
    reporter.result("model", {"path": str(output)})
    reporter.note(f"Model: {output}")
