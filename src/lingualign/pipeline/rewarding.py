"""The reward of a run, and whether it can be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lingualign.config import NO_REWARD, RunConfig
from lingualign.errors import InputError
from lingualign.measures.judges import judge_kind
from lingualign.models import check_compatible, resolve_spec
from lingualign.pipeline.bench import Bench, Workbench
from lingualign.pipeline.files import read_json, write_json
from lingualign.pipeline.folder import Stage
from lingualign.pipeline.labelled import load_labelled, training_labels
from lingualign.pipeline.plan import Iteration, Plan
from lingualign.pipeline.progress import Task
from lingualign.pipeline.scoring import candidates
from lingualign.pipeline.tables import Table
from lingualign.pipeline.translating import make_likelihood, make_translator
from lingualign.records import RESPONSES, SCORES, Response, Score
from lingualign.settings import load_reward, part_options

if TYPE_CHECKING:
    from lingualign.rewards import ImplicitReward, Reward, Tools
    from lingualign.rewards.base import Reads
    from lingualign.rewards.implicit import Context

IMPLICIT = "implicit"
CHECKED_PROMPTS = 50  # a language, scored under a second context


def reward_tools(bench: Workbench, policy: Path, reference: Path, fitted: Path | None = None) -> Tools:
    """What a reward can be made from, in an iteration."""
    from lingualign.rewards import Tools

    bench.models.keep(policy, reference)
    return Tools(
        config=bench.config,
        chat=bench.chat,
        policy=lambda: bench.models.get(policy),
        reference=lambda: bench.models.get(reference),
        translator=lambda: make_translator(bench, policy),
        likelihood=lambda: make_likelihood(bench, policy),
        directive=bench.directive,
        fitted=fitted,
    )


def make_reward(bench: Workbench, policy: Path, reference: Path, fitted: Path | None = None) -> Reward:
    """Makes the reward that the configuration names."""
    tools = reward_tools(bench, policy, reference, fitted)
    reward: Reward = load_reward(bench.config).make(part_options(bench.config, "reward"), tools)
    return reward


def implicit_reward(
    bench: Workbench, policy: Path, reference: Path, context: Context | None = None
) -> ImplicitReward:
    """The log-ratio of two models, under the configured scoring context or another."""
    from lingualign.rewards import implicit

    return implicit.make(implicit.Settings(), reward_tools(bench, policy, reference), context)


def needs_fit(config: RunConfig) -> bool:
    """Whether the reward is trained before it can score."""
    if config.reward.kind == NO_REWARD:
        return False
    module = load_reward(config)
    return hasattr(module, "fit") and bool(module.needs_fit(part_options(config, "reward")))


def reward_reads_reference(config: RunConfig) -> bool:
    """Whether the reward asks for the reference model; one that does not say is taken to."""
    if config.reward.kind == NO_REWARD:
        return False
    module = load_reward(config)
    asks = getattr(module, "reads_reference", lambda settings: True)
    return bool(asks(part_options(config, "reward")))


def reward_reads(config: RunConfig) -> Reads:
    """Which other responses to a prompt the reward reads; see `lingualign.rewards.base`."""
    reads: Reads = getattr(load_reward(config), "READS", "all")
    return reads


def run_reads_reference(config: RunConfig) -> bool:
    """Whether anything in a run asks for the reference model: its judge, its objective or its reward."""
    training = config.training
    compares = training.preference_weight > 0 and training.objective != "simpo"
    trained_against = compares and training.reference == "initial"
    return judge_kind(config) == "implicit" or trained_against or reward_reads_reference(config)


def policy_and_reference(config: RunConfig, reads_reference: bool) -> tuple[Path, Path]:
    """Folders of the policy and of the reference, which is the policy itself where nothing asks for another.

    Raises:
        InputError: A model is not there, or the two do not have the same vocabulary.
    """
    policy = resolve_spec(config.policy)
    if not reads_reference:
        return policy, policy
    try:
        check_compatible(config.policy, config.reference, trust_remote_code=config.trust_remote_code)
    except InputError:
        if config.reference != RunConfig.model_fields["reference"].default:
            raise
        raise InputError(
            f"reference is not set, and this run asks for it: what {config.policy} was before it was "
            "preference-tuned.",
            "Give it: reference=FOLDER. Recipes whose reward does not read it do without, if the judge does "
            "not either: measures.judge=server or measures.judge=reward-model.",
        ) from None
    return policy, resolve_spec(config.reference)


def fit_reward(bench: Bench, stage: Stage, policy: Path, reference: Path) -> Path:
    """Trains the reward on labelled pairs of the source language, before the first responses are scored.

    Returns:
        The folder of what was trained, of the stage's name.
    """
    config, scratch = bench.config, f"{stage.name}.checkpoints"

    def make(path: Path, task: Task) -> None:
        def on_step(done: int, total: int, metrics: Mapping[str, float]) -> None:
            task.update(done, total, f"loss {metrics['loss']:.3f}")

        tools = reward_tools(bench, policy, reference)
        load_reward(config).fit(part_options(config, "reward"), tools, training_labels(config), path, on_step)

    return bench.folder.file(stage, stage.name, make, unit="steps", scratch=scratch)


def check_reward(bench: Bench, plan: Plan, iteration: Iteration, responses: Path, scores: Path) -> Path:
    """Examines the reward before anything is trained on it, tells what it found, and warns.

    Returns:
        The file `health.json` of the iteration: a language -> `RewardHealth`.
    """
    from lingualign.rewards import labelled_accuracy, reward_health

    config = bench.config

    def make(path: Path, task: Task) -> None:
        check: list[Score] = []
        accuracy = {}
        if config.reward.kind == IMPLICIT:
            check = _second_scores(bench, iteration, responses)
            labelled = load_labelled(config)
            if labelled:
                reward = make_reward(bench, iteration.policy.path, iteration.reward_reference.path)
                accuracy[config.source_language] = (labelled_accuracy(reward, labelled), len(labelled))
        answered: Table[Response] = Table(responses, RESPONSES, iteration.prompts)
        scored: Table[Score] = Table(scores, SCORES, iteration.prompts)
        health = {}
        for language in config.languages:
            found = reward_health(
                answered.rows(language),
                scored.rows(language),
                [score for score in check if score["language"] == language],
                accuracy,
                config.pairs.length_control.unit,
            )
            health[language] = asdict(found[language])
        write_json(path, health)
        task.update(1)

    stage = plan.stage(iteration.name("health"))
    path = bench.folder.file(stage, f"{stage.name}.json", make, unit="table")
    model = plan.stage(iteration.name("model"))
    if not bench.folder.is_done(model, [bench.folder.folder / model.name]):
        tell_health(bench, stage.name, read_json(path))
    return path


def _second_scores(bench: Bench, iteration: Iteration, responses: Path) -> list[Score]:
    """Scores of a sample of prompts in every target language under another context."""
    from lingualign.rewards import CHECK_CONTEXT

    config, prompts = bench.config, iteration.prompts
    context = CHECK_CONTEXT[config.reward.context]
    reward = implicit_reward(bench, iteration.policy.path, iteration.reward_reference.path, context)
    table: Table[Response] = Table(responses, RESPONSES, prompts)
    sample = prompts.ids[:: -(-len(prompts) // CHECKED_PROMPTS)]
    answers = {
        (language, prompt_id): rows
        for language in prompts.by_language
        for prompt_id, rows in table.read(language, sample).items()
    }
    batch = [
        candidates(config.source_language, prompts, answers, language, prompt_id)
        for language in config.target_languages
        for prompt_id in sample
    ]
    return [score for scores in reward.score(batch) for score in scores]


def tell_health(bench: Bench, name: str, health: Mapping[str, Mapping[str, Any]]) -> None:
    """Tells the health of a reward, a line a language, and its warnings."""
    reporter = bench.folder.reporter
    reporter.result("reward_health", {"stage": name, "languages": dict(health)})
    lines = [
        f"  {language}: {describe_health(found) or 'nothing scored'}" for language, found in health.items()
    ]
    reporter.note("\n".join([f"{name} of the reward:", *lines]))
    for language, found in health.items():
        for warning in found["warnings"]:
            reporter.warn(f"{language}: {warning}")


def describe_health(found: Mapping[str, Any]) -> str:
    """One language's health as a line; what could not be measured is left out."""
    parts = [
        ("agrees with itself under another context on {:.0%} of pairs", found["agreement"]),
        ("right on {:.0%} of labelled pairs", found["accuracy"]),
        ("spread {:.2f}", found["spread"]),
        ("noise {:.2f}", found["noise"]),
        ("correlation with length {:+.2f}", found["length_correlation"]),
        ("{:.0%} of prompts without a choice", found["alike"]),
    ]
    return ", ".join(form.format(value) for form, value in parts if value is not None)
