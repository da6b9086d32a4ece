"""`lingualign validate`: everything checked before anything expensive."""

from __future__ import annotations

from typing import Annotated

import typer

from lingualign.cli.arguments import AllowMissing, Arguments, Json, RecomputeCorrupt, load
from lingualign.cli.reporters import make_reporter, stdout_console


def command(
    arguments: Arguments = None,
    json: Json = False,
    allow_missing: AllowMissing = False,
    recompute_corrupt: RecomputeCorrupt = False,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read every file of the run folder, large weights too.")
    ] = False,
) -> None:
    """Checks a run without starting it: settings, models, prompts, the run folder, the disk.

    Takes what `align` takes, loads no model, writes nothing, and ends with status 2 at the first thing wrong:

        lingualign validate icr policy=./aligned reference=./sft prompts=./prompts languages=en,de,sw
    """
    config = load(arguments, allow_missing)
    from lingualign.pipeline.validate import describe, validate

    checked = validate(config, recompute_corrupt, deep=deep)
    if json:
        make_reporter(json).result("validated", describe(checked))
        return
    console = stdout_console()
    for name, value in describe(checked).items():
        console.print(f"{name.replace('_', ' '):>18}  {value}", soft_wrap=True, markup=False, highlight=False)
    console.print("Everything is in order.")
