"""`lingualign compare`: several methods on equal terms."""

from __future__ import annotations

from typing import Annotated

import typer

from lingualign.cli.arguments import AllowMissing, Json, RecomputeCorrupt
from lingualign.cli.reporters import make_reporter, stdout_console
from lingualign.errors import InputError
from lingualign.paths import user_path

OUTPUT = "output="


def command(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="METHOD METHOD ... [key=value ...]",
            help="Recipes or YAML files, and settings that hold for all of them. Default of `output`, the "
            "folder of the comparison: runs/compare.",
            show_default=False,
        ),
    ] = None,
    seeds: Annotated[
        str, typer.Option("--seeds", help="How many seeds each method runs with, or which: 0,1,5.")
    ] = "3",
    json: Json = False,
    allow_missing: AllowMissing = False,
    recompute_corrupt: RecomputeCorrupt = False,
) -> None:
    """Compares methods on equal terms, with several seeds, and says which differences are significant.

    Each method runs with each seed as `align` does; what runs have in common is computed once. `random` is
    the floor, and in the lab `oracle` the ceiling:

        lingualign compare icr cm-align random oracle

        lingualign compare icr lidr ./mine.yaml random policy=./aligned reference=./sft \\
            prompts=./prompts languages=en,de,sw data.limit=1000 iterations=1 output=runs/which

    Writes OUTPUT/comparison.json and OUTPUT/comparison.svg, a chart. The same command resumes a comparison
    that was stopped; with more methods or seeds, it goes on from those that are there.
    """
    arguments = list(arguments or [])
    recipes = [argument for argument in arguments if "=" not in argument]
    settings = [argument for argument in arguments if "=" in argument and not argument.startswith(OUTPUT)]
    if allow_missing:
        settings.append("data.allow_missing=true")
    outputs = [argument.removeprefix(OUTPUT) for argument in arguments if argument.startswith(OUTPUT)]
    chosen = parse_seeds(seeds)
    reporter = make_reporter(json)
    from lingualign.measures.comparison.tables import comparison_tables
    from lingualign.pipeline.compare import OUTPUT as DEFAULT
    from lingualign.pipeline.compare import RESULTS, compare

    output = user_path(outputs[-1]) if outputs else DEFAULT
    comparison = compare(recipes, settings, output, chosen, reporter, recompute_corrupt)
    if json:
        reporter.result("comparison", comparison)
        return
    console = stdout_console()
    for table in comparison_tables(comparison):
        console.print(table)
    for finding in comparison["findings"]:
        console.print(finding, markup=False)
    console.print(f"Comparison: {', '.join(str(output / name) for name in RESULTS)}", soft_wrap=True)


def parse_seeds(text: str) -> list[int]:
    """`3` as the seeds 0, 1 and 2; `0,1,5` as these.

    Raises:
        InputError: It is neither, or a seed is there twice.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() for part in parts) or len(set(parts)) < len(parts):
        raise InputError(f"--seeds {text}: it is neither a number of seeds nor a list of different ones.")
    seeds = [int(part) for part in parts] if "," in text else list(range(int(text)))
    if not seeds:
        raise InputError("--seeds 0: a comparison needs a seed at least.")
    return seeds
