"""`lingualign pair`: preference pairs from scored responses, alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from lingualign.cli.arguments import AllowMissing, Arguments, Json, Output, load, table_option
from lingualign.cli.reporters import make_reporter


def command(
    output: Output,
    responses: Annotated[
        Path | None, table_option("--responses", "Candidates, where pairs are made of them")
    ] = None,
    scores: Annotated[
        Path | None, table_option("--scores", "Their scores, where pairs are made by them")
    ] = None,
    arguments: Arguments = None,
    json: Json = False,
    allow_missing: AllowMissing = False,
) -> None:
    """Makes preference pairs: of scored candidates with length control and filters, or as the recipe says.

    Loads no model unless the pairs need translations. Writes OUTPUT/pairs.parquet, which TRL's DPOTrainer
    takes as it is, and OUTPUT/pairs.json, which says what each filter removed:

        lingualign pair prompts=./prompts languages=en,de,sw \\
            --responses work/responses --scores work/scores --output work

    Pairs of labelled English answers and their translations need neither:

        lingualign pair clo prompts=./prompts data.labelled_pairs=english.jsonl --output work
    """
    config = load(arguments, allow_missing)
    reporter = make_reporter(json)
    from lingualign.pipeline.single import pair

    path = pair(config, responses, scores, output, reporter)
    reporter.result("pairs", {"path": str(path)})
    reporter.note(f"Pairs: {path}")
