"""`lingualign train`: preference training on pairs, alone."""

from __future__ import annotations

from lingualign.cli.arguments import Arguments, Json, Output, Pairs, load
from lingualign.cli.reporters import make_reporter


def command(pairs: Pairs, output: Output, arguments: Arguments = None, json: Json = False) -> None:
    """Trains the policy on preference pairs, from `lingualign pair` or from elsewhere.

    Pairs from elsewhere have the columns of docs/tables.md. Writes OUTPUT/model, a Hugging Face folder:

        lingualign train policy=./aligned training.learning_rate=1e-6 --pairs work/pairs.parquet --output work
    """
    config = load(arguments)
    reporter = make_reporter(json)
    from lingualign.pipeline.single import train

    path = train(config, pairs, output, reporter)
    reporter.result("model", {"path": str(path)})
    reporter.note(f"Model: {path}")
