"""`lingualign measure responses`: answers from files, whoever made them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from lingualign.cli.arguments import AllowMissing, Json, Settings, load
from lingualign.cli.measure.output import Format, OptionalOutput, emit, language_codes
from lingualign.cli.reporters import make_reporter


def command(
    responses: Annotated[
        Path,
        typer.Option(
            "--responses",
            help="Answers to measure: JSON, JSON lines, CSV, Parquet, a folder with a file a language, or a "
            "run's responses.",
            show_default=False,
        ),
    ],
    languages: Annotated[
        str,
        typer.Option("--languages", help="BCP-47 codes, with commas between them.", show_default=False),
    ],
    baseline: Annotated[
        Path | None,
        typer.Option("--baseline", help="Answers of another model to the same prompts.", show_default=False),
    ] = None,
    judge: Annotated[
        Literal["none", "server", "reward-model", "lab"],
        typer.Option("--judge", help="Who says which of two answers is better; set up by measures.*"),
    ] = "none",
    annotations: Annotated[
        Path | None,
        typer.Option(
            "--annotations",
            help="Judgements made elsewhere: alpaca_eval's annotations.json.",
            show_default=False,
        ),
    ] = None,
    output: OptionalOutput = None,
    arguments: Settings = None,
    form: Format = "plain",
    json: Json = False,
    allow_missing: AllowMissing = False,
) -> None:
    """Measures answers from files: their language, and wins over a baseline's.

    A row has an answer (`output`, `response`, `text`, ...), the `id` of the prompt or the `instruction`, and
    a `language` where there are several. Answers are matched with the baseline's by id, else by instruction.

    The language of answers alone needs no judge:

        lingualign measure --responses a.jsonl --baseline b.json --languages sw,th

    A language model behind any OpenAI-compatible server as the judge, with the key in MY_KEY; what it said is
    kept in the output folder, so the same command goes on where it was stopped:

        lingualign measure --responses ours.json --baseline reference.json --languages sw --judge server \\
            measures.server.url=http://localhost:8000/v1 measures.server.model=judge \\
            measures.server.api_key_env=MY_KEY --output judged
    """
    # As a setting, so that what the judge needs is checked where all settings are.
    chosen = [] if judge == "none" else [f"measures.judge={judge}"]
    config = load([*(arguments or []), *chosen], allow_missing)
    reporter = make_reporter(json)
    from lingualign.measures.answers.tables import answer_tables
    from lingualign.pipeline.measuring_files import measure_responses

    codes = language_codes(languages)
    measured = measure_responses(config, responses, baseline, codes, judge, annotations, output, reporter)
    emit("answers", measured, answer_tables, output, form, json, reporter)
