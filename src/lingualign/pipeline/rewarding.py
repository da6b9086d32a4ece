"""The reward of a run, and whether it can be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lingualign.pipeline.bench import Bench
from lingualign.pipeline.files import read_json, write_json
from lingualign.pipeline.inputs import prompts_from_lab, read_labelled
from lingualign.pipeline.plan import Iteration, Plan
from lingualign.pipeline.progress import Task
from lingualign.pipeline.stages import by_prompt, candidates, read_responses, read_scores
from lingualign.records import Pair, Score

if TYPE_CHECKING:
    from lingualign.rewards import ImplicitReward, Reward
    from lingualign.rewards.implicit import Context

CHECKED_PROMPTS = 50  # a language, scored under a second context
LAB_LABELS = 300  # labelled English pairs of the lab


def make_reward(bench: Bench, policy: Path, reference: Path) -> Reward:
    """Makes the reward that the configuration names."""
    from lingualign.rewards import GoldReward, RandomReward

    config = bench.config
    if config.reward.kind == "random":
        return RandomReward(config.seed)
    if config.reward.kind == "lab-judge":
        return GoldReward()
    return implicit_reward(bench, policy, reference)


def implicit_reward(
    bench: Bench, policy: Path, reference: Path, context: Context | None = None
) -> ImplicitReward:
    """The log-ratio of two models, under the configured scoring context or another."""
    from lingualign.rewards import ImplicitReward

    config = bench.config.reward
    bench.models.keep(policy, reference)
    translator = None
    if config.translator == "lab":
        from lingualign.lab.translate import translate

        translator = translate
    return ImplicitReward(
        lambda: bench.models.get(policy),
        lambda: bench.models.get(reference),
        bench.chat,
        context=context or config.context,
        batch_tokens=config.batch_tokens,
        directive_template=bench.directive,
        translator=translator,
    )


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
        if config.reward.kind == "implicit":
            check = _second_scores(bench, iteration, responses)
            labelled = _labelled(bench)
            if labelled:
                reward = make_reward(bench, iteration.policy.path, iteration.reward_reference.path)
                accuracy[config.source_language] = (labelled_accuracy(reward, labelled), len(labelled))
        health = reward_health(
            read_responses(responses),
            read_scores(scores),
            check,
            accuracy,
            config.pairs.length_control.unit,
        )
        write_json(path, {language: asdict(health[language]) for language in config.languages})
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
    answers = by_prompt(read_responses(responses))
    sample = prompts.ids[:: -(-len(prompts) // CHECKED_PROMPTS)]
    batch = [
        candidates(bench, prompts, answers, language, prompt_id)
        for language in config.target_languages
        for prompt_id in sample
    ]
    return [score for scores in reward.score(batch) for score in scores]


def _labelled(bench: Bench) -> list[Pair]:
    """Pairs in the source language with known preferences: the user's, or the lab's."""
    config = bench.config
    if config.reward.labelled_pairs is not None:
        return read_labelled(Path(config.reward.labelled_pairs).expanduser(), config.source_language)
    if prompts_from_lab(config) and config.source_language == "en":
        from lingualign.lab.preferences import english_preferences

        return english_preferences(LAB_LABELS)
    return []


def tell_health(bench: Bench, name: str, health: Mapping[str, Mapping[str, Any]]) -> None:
    """Tells the health of a reward, a line a language, and its warnings."""
    reporter = bench.folder.reporter
    reporter.result("reward_health", {"stage": name, "languages": dict(health)})
    lines = [f"  {language}: {describe_health(found)}" for language, found in health.items()]
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
