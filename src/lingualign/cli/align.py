"""`lingualign align`: the main job."""

from __future__ import annotations

from lingualign.cli.arguments import AllowMissing, Arguments, Json, RecomputeCorrupt, load
from lingualign.cli.reporters import make_reporter, print_run


def command(
    arguments: Arguments = None,
    json: Json = False,
    allow_missing: AllowMissing = False,
    recompute_corrupt: RecomputeCorrupt = False,
) -> None:
    """Aligns a model in the languages of its users, and shows with numbers what changed.

    The lab, in minutes and without a download:

        lingualign align

    A model of your own; prompts are a folder with `en.jsonl`, `de.jsonl`, ..., parallel by id:

        lingualign align icr policy=./aligned reference=./sft prompts=./prompts languages=en,de,sw

    The same command resumes a run that was stopped, and does nothing to one that is done. A run repeats
    from its own configuration:

        lingualign align runs/icr/config.yaml output=runs/again
    """
    config = load(arguments, allow_missing)
    reporter = make_reporter(json)
    from lingualign.pipeline.run import align

    measures = align(config, reporter, recompute_corrupt)
    if json:
        reporter.result("measures", measures)
        return
    console = print_run(measures)
    console.print(
        f"Aligned model: {config.run_folder / f'iteration-{config.iterations}' / 'model'}", soft_wrap=True
    )
    for name, file in (("Measures", "measures.json"), ("Report", "report.html")):
        if (config.run_folder / file).exists():  # a report that failed has been told of
            console.print(f"{name}: {config.run_folder / file}", soft_wrap=True)
