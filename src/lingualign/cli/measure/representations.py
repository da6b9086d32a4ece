"""`lingualign measure representations`: does a model represent sentences that say the same alike?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lingualign.cli.arguments import Json
from lingualign.cli.measure.output import Format, OptionalOutput, emit, language_codes
from lingualign.cli.reporters import make_reporter
from lingualign.measures.table import results_table

if TYPE_CHECKING:
    from rich.table import Table


def command(
    model: Annotated[
        str,
        typer.Option("--model", help="Folder of a causal model, or lab:NAME.", show_default=False),
    ],
    parallel: Annotated[
        Path,
        typer.Option(
            "--parallel",
            help="Folder with a file a language, en.txt and so on: line N says the same in all of them.",
            show_default=False,
        ),
    ],
    languages: Annotated[
        str | None, typer.Option("--languages", help="BCP-47 codes. Default: all files.", show_default=False)
    ] = None,
    pivot: Annotated[str, typer.Option("--pivot", help="Language that the others are compared with.")] = "en",
    limit: Annotated[
        int | None, typer.Option("--limit", help="Only the first sentences (MEXA: 100).", min=2)
    ] = None,
    output: OptionalOutput = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1.")] = "auto",
    form: Format = "plain",
    json: Json = False,
) -> None:
    """Measures the alignment of representations: MEXA and NeuronXA, a language and a layer at a time.

    A score is the share of sentences whose translation is nearer, both ways, than any other sentence: compare
    scores on the same sentences only.

        lingualign measure representations --model lab:aligned --parallel ./ntrex --languages en,de,sw
    """
    reporter = make_reporter(json)
    from lingualign.measures.representation.parallel_text import read_parallel_text
    from lingualign.measures.representation.representations import measure_representations
    from lingualign.models import load_model, load_tokenizer

    codes = language_codes(languages) if languages else None
    if codes and pivot not in codes:
        codes = [pivot, *codes]
    texts = read_parallel_text(parallel, codes, limit)
    with reporter.stage("sentences", sum(map(len, texts.values())), unit="sentences") as task:
        found = measure_representations(
            load_model(model, device=device),
            load_tokenizer(model),
            texts,
            pivot,
            progress=lambda done, total: task.update(done, total),
        )
    measured = {"model": model, "parallel": str(parallel), **found.as_dict()}
    emit("representations", measured, _tables, output, form, json, reporter)


def _tables(measured: Mapping[str, Any]) -> list[Table]:
    names = list(measured["languages"])
    rows = []
    for code in measured["languages"][names[0]]:
        cells = [measured["languages"][name][code] for name in names]
        rows.append(
            [
                code,
                *(f"{100 * cell['mean']['mean']:.1f}" for cell in cells),
                *(f"{100 * cell['max']['mean']:.1f} ({cell['best_layer']})" for cell in cells[:1]),
            ]
        )
    rows.append(["mean", *(f"{100 * measured['mean'][name]['mean']:.1f}" for name in names), ""])
    return [
        results_table(
            f"Sentences aligned with {measured['pivot']}, in percent, of {measured['n']}",
            ["language", *(f"{name}\nmean of layers" for name in names), f"{names[0]}\nbest (layer)"],
            rows,
            "weighted and last_token: MEXA's hidden states; nasca and navca: NeuronXA's neurons. The pivot's "
            "row is what its own layers can tell apart. Layers and intervals are in measures.json.",
        )
    ]
