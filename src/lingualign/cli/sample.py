"""`lingualign sample`: responses to prompts, alone."""

from __future__ import annotations

from lingualign.cli.arguments import AllowMissing, Arguments, Json, Output, load
from lingualign.cli.reporters import make_reporter


def command(
    output: Output, arguments: Arguments = None, json: Json = False, allow_missing: AllowMissing = False
) -> None:
    """Samples responses of the policy to the prompts, in every language.

    Writes OUTPUT/responses/part-*.parquet:

        lingualign sample policy=./aligned prompts=./prompts languages=en,de,sw sampling.n=8 --output work
    """
    config = load(arguments, allow_missing)
    reporter = make_reporter(json)
    from lingualign.pipeline.single import sample

    path = sample(config, output, reporter)
    reporter.result("responses", {"path": str(path)})
    reporter.note(f"Responses: {path}")
