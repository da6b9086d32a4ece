"""Methods compared on equal terms: an ordinary run for each method and seed, and what sets them apart.

    OUTPUT/<method>/seed-<s>/    a run folder
    OUTPUT/comparison.json       what came out of all of them
    OUTPUT/comparison.svg        the same as a chart

What two runs with the same seed make from the same inputs is made once (`lingualign.pipeline.sharing`): the
start's answers, the responses of the first iteration, and all that follows from them the same way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lingualign.errors import InputError
from lingualign.measures.comparison.compare import compare_answers
from lingualign.measures.comparison.findings import findings
from lingualign.measures.comparison.forest_plot import forest_plot
from lingualign.measures.intervals import RESAMPLES
from lingualign.measures.judges import judge_kind
from lingualign.measures.table import FACTS
from lingualign.pipeline.bench import open_bench
from lingualign.pipeline.equal_terms import check_equal, differing_terms
from lingualign.pipeline.files import write_json, write_text
from lingualign.pipeline.lock import RunLock
from lingualign.pipeline.manifest import Manifest
from lingualign.pipeline.measuring import describe_measures, read_answers
from lingualign.pipeline.plan import DECODINGS
from lingualign.pipeline.progress import Reporter, Silent
from lingualign.pipeline.run import run_checked
from lingualign.pipeline.tables import read_responses
from lingualign.pipeline.validate import CheckedRun, check_disk, validate
from lingualign.settings import load_config

OUTPUT = Path("runs/compare")
RESULTS = ("comparison.json", "comparison.svg")

Runs = dict[str, dict[int, CheckedRun]]  # by method and seed
Measures = dict[str, dict[int, dict[str, Any]]]  # likewise, the content of measures.json


def compare(
    recipes: Sequence[str],
    overrides: Sequence[str] = (),
    output: Path = OUTPUT,
    seeds: Sequence[int] = (0, 1, 2),
    reporter: Reporter | None = None,
    recompute_corrupt: bool = False,
) -> dict[str, Any]:
    """Runs methods from the same model on the same prompts, and compares them; resumes what was stopped.

    Args:
        recipes: Names of recipes, or paths of YAML files.
        overrides: Settings as `key=value`, which hold for all methods.
        output: Folder of the comparison.
        seeds: Each method runs with each of them.
        reporter: Who is told of progress. Default: nobody.
        recompute_corrupt: Make damaged files of the run folders again instead of an error.

    Returns:
        The content of `comparison.json`.

    Raises:
        InputError: Something is wrong with a run, or the methods cannot be compared. It is found before the
            first run starts.
    """
    reporter = reporter or Silent()
    check_output(output)
    runs = check_runs(name_methods(recipes), overrides, output, seeds, reporter, recompute_corrupt)
    terms = differing_terms(_first_runs(runs))
    every = [(method, seed, runs[method][seed]) for seed in seeds for method in runs]
    reporter.note(f"{len(every)} runs: {len(runs)} methods with {len(seeds)} seeds each, in {output}")
    for setting, values in terms.items():
        told = ", ".join(f"{method} {'-' if value is None else value}" for method, value in values.items())
        reporter.note(f"  {setting} differs: {told}")
    measures: Measures = {method: {} for method in runs}
    with RunLock(output):
        for _, _, run in every:
            if run.corrupt:  # opening removes what is damaged, before another run can take it over
                with open_bench(run, Silent()):
                    pass
        for number, (method, seed, run) in enumerate(every, start=1):
            reporter.note(f"{method}, seed {seed} ({number} of {len(every)})")
            reporter.result("run", {"method": method, "seed": seed, "number": number, "of": len(every)})
            others = [runs[other][seed].config.run_folder for other in runs if other != method]
            measures[method][seed] = run_checked(run, _Unskipped(reporter), others)
        comparison = summarise(runs, measures, terms)
        write_json(output / "comparison.json", comparison)
        write_text(output / "comparison.svg", forest_plot(comparison))
    return comparison


def name_methods(recipes: Sequence[str]) -> dict[str, str]:
    """A name for each method: the recipe's, or that of the YAML file without its ending.

    Raises:
        InputError: There are less than two, or two of one name.
    """
    methods: dict[str, str] = {}
    for recipe in recipes:
        name = Path(recipe).stem if recipe.endswith((".yaml", ".yml")) else recipe
        if name in methods:
            raise InputError(f"There are two methods called {name}.", "Give YAML files different names.")
        methods[name] = recipe
    if len(methods) < 2:
        raise InputError(
            f"A comparison takes two methods or more, and there is {next(iter(methods), 'none')}.",
            "Name recipes or YAML files, e.g. `icr random`; `lingualign recipes` lists the recipes.",
        )
    return methods


def check_output(output: Path) -> None:
    """Refuses a folder that holds something else than a comparison.

    Raises:
        InputError: It does, or is a file.
    """
    if output.exists() and not output.is_dir():
        raise InputError(f"{output} is a file.", "Choose a folder with output=.")
    for path in output.iterdir() if output.exists() else ():
        if path.name in RESULTS or path.name.startswith("."):
            continue
        if not path.is_dir() or not all(run.name.startswith(("seed-", ".")) for run in path.iterdir()):
            raise InputError(
                f"{output} holds something else than a comparison: {path.name}.",
                "Choose another folder with output=.",
            )


def check_runs(
    methods: Mapping[str, str],
    overrides: Sequence[str],
    output: Path,
    seeds: Sequence[int],
    reporter: Reporter,
    recompute_corrupt: bool = False,
) -> Runs:
    """Checks all runs, that they can be compared, and that the disk has room for them together.

    Raises:
        InputError: The first thing that is wrong, with the method in which it is.
    """
    for override in overrides:
        if override.partition("=")[0].strip() in ("seed", "recipe"):
            raise InputError(
                f"{override}: a comparison has several.",
                "Seeds are given with --seeds, recipes by their names alone.",
            )
    runs: Runs = {method: {} for method in methods}
    with reporter.stage("checks", len(methods) * len(seeds), "runs") as task:
        for number, (method, seed) in enumerate((m, s) for m in methods for s in seeds):
            folder = output / method / f"seed-{seed}"
            twin = next(iter(runs[method].values()), None)
            try:
                config = load_config(methods[method], overrides)
                config = config.model_copy(update={"output": folder, "seed": seed})
                if judge_kind(config) == "server":
                    raise InputError(
                        "measures.judge is server, a judge of pairs; methods are compared by scores.",
                        "Choose another measures.judge, or align with each method and measure its answers.",
                    )
                runs[method][seed] = validate(config, recompute_corrupt, twin)
            except InputError as error:
                raise InputError(f"{method}: {error.message}", error.remedy) from None
            task.update(number + 1)
    check_equal(_first_runs(runs))
    check_disk(output, sum(run.disk_bytes for by_seed in runs.values() for run in by_seed.values()))
    return runs


def summarise(runs: Runs, measures: Measures, terms: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The content of `comparison.json`, the best method by wins at T=`measures.temperature` first.

    Args:
        runs: All of them, done.
        measures: Of each run.
        terms: What differs between the methods (`differing_terms`).
    """

    def wins(method: str) -> float:
        last = [found["iterations"][-1]["sampled"] for found in measures[method].values()]
        return sum(sampled["target_win_rate"]["mean"] for sampled in last)

    ranked = sorted(runs, key=wins, reverse=True)
    any_method = runs[ranked[0]]
    seeds, run = list(any_method), next(iter(any_method.values()))
    config, heldout = run.config, run.prompts.heldout
    compared = {}
    for decoding in DECODINGS:
        answers = {
            method: [
                read_answers(run.config.run_folder, run.config.iterations, decoding, heldout)
                for run in runs[method].values()
            ]
            for method in ranked
        }
        starts = [read_answers(run.config.run_folder, 0, decoding, heldout) for run in any_method.values()]
        compared[decoding] = compare_answers(answers, starts, config.source_language).as_dict()

    def shares(found: list[dict[str, Any]]) -> dict[str, dict[str, float | None]]:
        return {name: _shares([one[name] for one in found], config.source_language) for name in DECODINGS}

    comparison = {
        **describe_measures(config, heldout),
        "seeds": seeds,
        "resamples": RESAMPLES,
        "methods": ranked,
        "differs": {key: {method: values[method] for method in ranked} for key, values in terms.items()},
        "wins": compared,
        "shares": {
            method: shares([found["iterations"][-1] for found in measures[method].values()])
            for method in ranked
        },
        "start": shares([found["start"] for found in measures[ranked[0]].values()]),
        "cost": {
            method: _mean_cost([run_cost(runs[method][seed], measures[method][seed]) for seed in seeds])
            for method in ranked
        },
    }
    return {**comparison, "findings": findings(comparison)}


def run_cost(run: CheckedRun, measures: Mapping[str, Any]) -> dict[str, float]:
    """What a run costs, its measuring left out: as much if it took stages over as if it had computed them.

    Returns:
        Sums over iterations: `tokens` sampled as candidates (not those of translators), `seconds` of all
        stages, `pairs` trained on.
    """
    folder = run.config.run_folder
    stages = Manifest.read(folder / "manifest.json").stages
    tokens = sum(
        response["num_tokens"]
        for iteration in run.plan.iterations
        if run.plan.has(iteration.name("responses"))
        for response in read_responses(folder / iteration.name("responses"))
    )
    seconds = sum(stages[name].seconds for name in run.plan.fingerprints if not name.startswith("measures/"))
    pairs = sum(
        report["pairs"] for iteration in measures["iterations"] for report in iteration["pairs"].values()
    )
    return {"tokens": tokens, "seconds": seconds, "pairs": pairs}


def _mean_cost(costs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: round(sum(cost[name] for cost in costs) / len(costs), 2) for name in costs[0]}


def _shares(measured: Sequence[Mapping[str, Any]], source: str) -> dict[str, float | None]:
    """Shares of responses in one decoding, means over seeds and target languages; None where nobody can
    say."""
    targets = [
        found for one in measured for language, found in one["languages"].items() if language != source
    ]
    return {
        "right_language": _mean([found["right_language"] for found in targets]),
        "source_right_language": _mean([one["languages"][source]["right_language"] for one in measured]),
        "facts_right": _mean([found["traits"].get(FACTS) for found in targets]),
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _first_runs(runs: Runs) -> dict[str, CheckedRun]:
    """The first run of each method: the others differ in their seed alone."""
    return {method: next(iter(by_seed.values())) for method, by_seed in runs.items()}


class _Unskipped:
    """Passes on what a run reports, but for its stages that were done before."""

    def __init__(self, reporter: Reporter) -> None:
        self.run = reporter.run
        self.stage = reporter.stage
        self.note = reporter.note
        self.warn = reporter.warn
        self.result = reporter.result

    def skip(self, name: str) -> None:
        """See `Reporter`."""
