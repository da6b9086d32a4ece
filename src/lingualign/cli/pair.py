"""`lingualign pair`: preference pairs from scored responses, alone."""

from __future__ import annotations

from lingualign.cli.arguments import AllowMissing, Arguments, Json, Output, Responses, Scores, load
from lingualign.cli.reporters import make_reporter


def command(
    responses: Responses,
    scores: Scores,
    output: Output,
    arguments: Arguments = None,
    json: Json = False,
    allow_missing: AllowMissing = False,
) -> None:
    """Chooses a pair a prompt, best against worst, with length control and filters.

    Loads no model. Writes OUTPUT/pairs.parquet, which TRL's DPOTrainer takes as it is, and OUTPUT/pairs.json,
    which says what each filter removed:

        lingualign pair prompts=./prompts languages=en,de,sw \\
            --responses work/responses --scores work/scores --output work
    """
    config = load(arguments, allow_missing)
    reporter = make_reporter(json)
    from lingualign.pipeline.single import pair

    path = pair(config, responses, scores, output, reporter)
    reporter.result("pairs", {"path": str(path)})
    reporter.note(f"Pairs: {path}")
