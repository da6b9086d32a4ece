"""The main job, top to bottom: sample, score, pair, train, measure, and again from the trained policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lingualign.config import RunConfig
from lingualign.errors import InputError
from lingualign.export.model_card import write_model_card
from lingualign.pipeline.bench import Bench, open_bench
from lingualign.pipeline.files import read_json, write_json
from lingualign.pipeline.inputs import tell_left_out
from lingualign.pipeline.log_file import run_log
from lingualign.pipeline.measuring import (
    describe_measures,
    measure_against_start,
    measure_all,
    measure_policy,
)
from lingualign.pipeline.pairing import choose_pairs
from lingualign.pipeline.plan import REWARD, Iteration, Plan
from lingualign.pipeline.progress import Reporter, Silent
from lingualign.pipeline.rewarding import check_reward, fit_reward, make_reward, reward_reads
from lingualign.pipeline.sampling import Decoding, sample_responses
from lingualign.pipeline.scoring import score_responses
from lingualign.pipeline.tracked_measures import track_measures
from lingualign.pipeline.training import reference_logprobs, train_policy
from lingualign.pipeline.validate import CheckedRun, validate


def align(
    config: RunConfig, reporter: Reporter | None = None, recompute_corrupt: bool = False
) -> dict[str, Any]:
    """Aligns a policy in the target languages; resumes a run that was stopped, repeats nothing done.

    Args:
        config: Of the run; `lingualign.settings.load_config` makes one.
        reporter: Who is told of progress. Default: nobody.
        recompute_corrupt: Make damaged files of the run folder again instead of an error.

    Returns:
        The content of `measures.json`.

    Raises:
        InputError: Something is wrong with the settings, the models, the prompts or the run folder.

    Example:
        >>> from lingualign.settings import load_config
        >>> measures = align(load_config("icr", ["output=runs/first"]))
        >>> measures["iterations"][-1]["greedy"]["target_win_rate"]["mean"]
    """
    return run_checked(validate(config, recompute_corrupt), reporter)


def run_checked(
    checked: CheckedRun, reporter: Reporter | None = None, shared_with: Sequence[Path] = ()
) -> dict[str, Any]:
    """Does the run that `validate` has checked.

    Args:
        checked: The run.
        reporter: Who is told of progress. Default: nobody.
        shared_with: Folders of other runs, whose finished stages are taken over where they are the same.

    Returns:
        The content of `measures.json`.
    """
    with open_bench(checked, reporter or Silent(), shared_with) as bench, run_log(bench.folder, checked):
        tell_left_out(bench.folder.reporter, checked.prompts.too_long, checked.prompts.left_out_rows)
        measure_policy(bench, checked.plan, checked.prompts.heldout, 0)
        for iteration in checked.plan.iterations:
            run_iteration(bench, checked, iteration)
            measure_policy(bench, checked.plan, checked.prompts.heldout, iteration.number)
        measures = collect_measures(bench, checked)
        measures = _other_sections(bench.folder.folder) | measures
        publish(bench, checked, measures)
    return measures


def run_iteration(bench: Bench, checked: CheckedRun, iteration: Iteration) -> None:
    """One round: from a policy to the policy trained on its own labelled responses."""
    plan, prompts = checked.plan, iteration.prompts
    sampling, policy = bench.config.sampling, iteration.policy.path
    responses = scores = None
    if plan.has(iteration.name("responses")):
        responses = sample_responses(
            bench,
            plan.stage(iteration.name("responses")),
            policy,
            prompts,
            Decoding(sampling.n, sampling.temperature, sampling.top_p, sampling.max_new_tokens),
            draw=iteration.name("responses"),
            iteration=iteration.number - 1,
        )
    if responses is not None and plan.has(iteration.name("scores")):
        fitted = None
        if plan.has(REWARD):
            fitted = fit_reward(bench, plan.stage(REWARD), plan.policies[0].path, plan.reference.path)
        scores = score_responses(
            bench,
            plan.stage(iteration.name("scores")),
            partial(make_reward, policy=policy, reference=iteration.reward_reference.path, fitted=fitted),
            prompts,
            responses,
            reads=reward_reads(bench.config),
        )
        check_reward(bench, plan, iteration, responses, scores)
    pairs = choose_pairs(bench, plan.stage(iteration.name("pairs")), policy, prompts, responses, scores)
    reference = None
    if plan.has(iteration.name("reference")):
        reference = reference_logprobs(
            bench, plan.stage(iteration.name("reference")), iteration.training_reference.path, pairs
        )
    train_policy(bench, plan.stage(iteration.name("model")), policy, pairs, reference)


def collect_measures(bench: Bench, checked: CheckedRun) -> dict[str, Any]:
    """The content of `measures.json`, from what the stages wrote."""
    config, folder, heldout = checked.config, bench.folder.folder, checked.prompts.heldout
    measures = describe_measures(config, heldout)
    measures["start"] = measure_all(config, folder, heldout, 0)
    measures["iterations"] = [
        {
            "iteration": iteration.number,
            **_reward_health(checked.plan, folder, iteration),
            "pairs": read_json(folder / iteration.name("pairs.json")),
            **measure_against_start(config, folder, heldout, iteration.number, measures["start"]),
        }
        for iteration in checked.plan.iterations
    ]
    return measures


def publish(bench: Bench, checked: CheckedRun, measures: Mapping[str, Any]) -> None:
    """Writes what a finished run is known by: its measures, a card beside each model, the report."""
    folder = bench.folder.folder
    track_measures(checked.config.training.report_to, folder, measures, bench.folder.reporter.warn)
    write_json(folder / "measures.json", measures)
    for iteration in checked.plan.iterations:
        _write_page(bench, "a model card", partial(write_model_card, folder, iteration.number))

    def report() -> None:
        from lingualign.report import write_report  # drawing charts takes half a second to import

        write_report(folder)

    _write_page(bench, "report.html", report)


def _other_sections(folder: Path) -> dict[str, Any]:
    """What is in `measures.json` already: commands such as `lingualign measure representations` add to it."""
    path = folder / "measures.json"
    try:
        return dict(read_json(path)) if path.exists() else {}
    except InputError:  # damaged: what a run measures is made again, the rest is lost
        return {}


def _write_page(bench: Bench, what: str, write: Callable[[], object]) -> None:
    """Writes a page about a run; one whose results are all there does not fail for want of it."""
    try:
        write()
    except Exception as error:
        bench.folder.reporter.warn(
            f"{what} could not be written ({type(error).__name__}: {error}). The run is complete; the same "
            "command tries again."
        )


def _reward_health(plan: Plan, folder: Path, iteration: Iteration) -> dict[str, Any]:
    name = iteration.name("health")
    return {"reward_health": read_json(folder / f"{name}.json")} if plan.has(name) else {}
