"""`lingualign score`: rewards of responses, alone."""

from __future__ import annotations

from lingualign.cli.arguments import AllowMissing, Arguments, Json, Output, Responses, load
from lingualign.cli.reporters import make_reporter


def command(
    responses: Responses,
    output: Output,
    arguments: Arguments = None,
    json: Json = False,
    allow_missing: AllowMissing = False,
) -> None:
    """Scores responses, from `lingualign sample` or from elsewhere, with the recipe's reward.

    Needs the prompts that they answer, by id. Responses from elsewhere have the columns of docs/tables.md.
    Writes OUTPUT/scores/part-*.parquet:

        lingualign score policy=./aligned reference=./sft prompts=./prompts languages=en,de,sw \\
            --responses work/responses --output work
    """
    config = load(arguments, allow_missing)
    reporter = make_reporter(json)
    from lingualign.pipeline.single import score

    path = score(config, responses, output, reporter)
    reporter.result("scores", {"path": str(path)})
    reporter.note(f"Scores: {path}")
