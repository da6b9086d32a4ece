"""`lingualign measure model`: a model against the policy it came from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lingualign.cli.arguments import AllowMissing, Arguments, Json, Output, load
from lingualign.cli.reporters import make_reporter, print_run


def command(
    model: Annotated[
        Path, typer.Option("--model", help="Folder of the model to measure.", show_default=False)
    ],
    output: Output,
    arguments: Arguments = None,
    json: Json = False,
    allow_missing: AllowMissing = False,
) -> None:
    """Measures a model against the policy, on held-out prompts, sampled and greedy.

    Writes OUTPUT/measures.json, and prints what `align` prints after an iteration:

        lingualign measure policy=./aligned reference=./sft measures.prompts=./held-out languages=en,de,sw \\
            --model work/model --output work
    """
    config = load(arguments, allow_missing)
    reporter = make_reporter(json)
    from lingualign.pipeline.single import measure

    measures = measure(config, model, output, reporter)
    if json:
        reporter.result("measures", measures)
        return
    print_run(measures)
