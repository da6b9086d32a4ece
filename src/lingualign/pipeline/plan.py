"""The stages of a run and their fingerprints, all of them known before anything runs.

Bump a number in `CODE` when a stage's code changes what it makes from the same inputs: folders made before
are then refused instead of mixed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lingualign.config import PairsConfig, RewardConfig, RunConfig
from lingualign.models import resolve_spec
from lingualign.paths import user_path
from lingualign.pipeline.fingerprints import (
    Fingerprint,
    ModelDigests,
    digest,
    prompts_digest,
    settings_digest,
)
from lingualign.pipeline.folder import Stage
from lingualign.pipeline.inputs import RunPrompts, directive_template
from lingualign.prompts import ParallelPrompts
from lingualign.settings import pairing_reads

CODE = {
    "responses": "1",
    "reward": "1",
    "scores": "1",
    "health": "1",
    "pairs": "4",
    "reference": "1",
    "model": "1",
    "judgements": "1",
}

# Settings that decide how a run computes and not what: they may change when it is resumed.
EXECUTION = {
    "output",
    "recipe",
    "iterations",
    "device",
    "trust_remote_code",
    "executor",
    "sampling.batch_tokens",
    "sampling.server.urls",
    "sampling.server.load_adapters",
    "sampling.server.api_key_env",
    "sampling.server.concurrency",
    "sampling.server.retries",
    "sampling.server.timeout",
    "sampling.vllm.tensor_parallel",
    "sampling.vllm.memory",
    "reward.batch_tokens",
    "translation.batch_tokens",
    "training.micro_batch_pairs",
    "training.gradient_checkpointing",
    "training.save_steps",
    "training.report_to",
}
# Sections of such settings, and of those that are read when everything has been measured.
EXECUTION_SECTIONS = ("measures.retention.", "ray.", "training.launch.")

DECODINGS = ("sampled", "greedy")
REWARD = "reward"  # the stage, one a run, that trains a reward


@dataclass(frozen=True)
class ModelRef:
    """A model and what it is made from.

    Attributes:
        path: Its folder. A model of this run may not be there yet.
        fingerprint: Hash of its files, or of all that it will be trained from.
    """

    path: Path
    fingerprint: str


@dataclass(frozen=True)
class Iteration:
    """One round of sampling, scoring, pairing and training.

    Attributes:
        number: From 1.
        prompts: To sample responses to.
        policy: The model that samples, and that training starts from.
        reward_reference: Denominator of the reward's log-ratio.
        training_reference: The frozen model of the preference loss.
    """

    number: int
    prompts: ParallelPrompts
    policy: ModelRef
    reward_reference: ModelRef
    training_reference: ModelRef

    def name(self, stage: str) -> str:
        """The full name of one of its stages, which is also its place in the run folder."""
        return f"iteration-{self.number}/{stage}"


@dataclass(frozen=True)
class Plan:
    """A run before it runs.

    Attributes:
        iterations: In order.
        policies: The starting policy, then the trained model of each iteration.
        reference: The run's reference model.
        fingerprints: Of every stage by its name, in the order in which they run.
    """

    iterations: list[Iteration]
    policies: list[ModelRef]
    reference: ModelRef
    fingerprints: dict[str, Fingerprint]

    def stage(self, name: str) -> Stage:
        """A stage by its name."""
        return Stage(name, self.fingerprints[name])

    def has(self, name: str) -> bool:
        """Whether a run has a stage: what its pairs are not made from is not there."""
        return name in self.fingerprints


def measure_name(iteration: int, stage: str) -> str:
    """The full name of a stage that measures the policy after an iteration; 0 is the starting policy."""
    return f"measures/iteration-{iteration}/{stage}"


def sampler_settings(config: RunConfig) -> list[object]:
    """Who samples, and what of their settings decides about what: not where servers are, nor how fast."""
    sampling = config.sampling
    if sampling.backend == "server":
        return [sampling.backend, sampling.server.model, sampling.server.extra]
    if sampling.backend == "vllm":
        return [sampling.backend, sampling.vllm.max_model_len, sampling.vllm.options]
    return [sampling.backend]


def judge_fingerprint(
    config: RunConfig, judge: str, start: ModelRef, reference: ModelRef, digests: ModelDigests
) -> str:
    """What a judge's word depends on beside the answers."""
    if judge == "reward-model":
        return digests(user_path(str(config.measures.reward_model)))
    if judge == "implicit":
        return digest([start.fingerprint, reference.fingerprint, config.reward.context])
    if judge == "server":  # compares with the answers of the start
        settings = settings_digest(config.measures.server, "concurrency", "retries", "timeout", "api_key_env")
        return digest([settings, start.fingerprint])
    return ""


def make_plan(
    config: RunConfig,
    prompts: RunPrompts,
    policy: Path,
    reference: Path,
    judge: str,
    digests: ModelDigests,
    fits: bool = False,
) -> Plan:
    """Plans a run.

    Args:
        config: Of the run, its options complete.
        prompts: Of the run.
        policy: Folder of the starting policy.
        reference: Folder of the reference model.
        judge: Which judge measures (`lingualign.measures.judges.judge_kind`).
        digests: Hashes model folders.
        fits: The reward is trained before it scores.
    """
    start = ModelRef(policy, digests(policy))
    initial = ModelRef(reference, digests(reference))
    general = {"dtype": config.dtype, "base_model_prompts": config.base_model_prompts}
    seed = str(config.seed)
    fingerprints: dict[str, Fingerprint] = {}
    policies, iterations = [start], []

    judge_model = judge_fingerprint(config, judge, start, initial, digests)
    held = prompts_digest(prompts.heldout)

    def measure(number: int, model: ModelRef) -> None:
        for decoding in DECODINGS:
            fingerprints[measure_name(number, decoding)] = {
                "settings": digest(
                    [
                        general,
                        config.measures.temperature if decoding == "sampled" else 0,
                        config.measures.max_new_tokens,
                        config.sampling.chunk_prompts,
                        *sampler_settings(config),
                    ]
                ),
                "policy": model.fingerprint,
                "prompts": held,
                "seed": seed,
                "code version": CODE["responses"],
            }
            fingerprints[measure_name(number, f"{decoding}-judged")] = {
                "responses": digest(fingerprints[measure_name(number, decoding)]),
                "settings": digest([general, judge, directive_template(config), config.reward.chunk_prompts]),
                "judge": judge_model,
                "code version": CODE["judgements"],
            }

    labels = _file_digest(config.data.labelled_pairs)
    if fits:
        fingerprints[REWARD] = {
            "settings": digest([general, config.reward.kind, config.reward.options]),
            "models": digest([start.fingerprint, initial.fingerprint]),
            "labels": labels,
            "seed": seed,
            "code version": CODE["reward"],
        }
    parts = {
        "fit": digest(fingerprints.get(REWARD, {})),
        "labels": labels,
        "reward files": _part_files(config.reward, digests),
        "pairs files": _part_files(config.pairs, digests),
        "translation": digest(
            [settings_digest(config.translation, "batch_tokens"), _translator_files(config, digests)]
        ),
    }
    measure(0, start)
    for number in range(1, config.iterations + 1):
        reward_reference = initial
        if config.reward.reference == "previous" and number > 1:
            reward_reference = policies[number - 2]
        training_reference = policies[-1] if config.training.reference == "policy" else initial
        iteration = Iteration(
            number, prompts.iterations[number - 1], policies[-1], reward_reference, training_reference
        )
        stages = _iteration_stages(config, iteration, general, seed, parts)
        fingerprints |= {iteration.name(stage): fingerprint for stage, fingerprint in stages.items()}
        iterations.append(iteration)
        trained = (config.run_folder / iteration.name("model")).absolute()
        policies.append(ModelRef(trained, digest(stages["model"])))
        measure(number, policies[-1])
    return Plan(iterations, policies, initial, fingerprints)


def _iteration_stages(
    config: RunConfig,
    iteration: Iteration,
    general: Mapping[str, object],
    seed: str,
    parts: Mapping[str, str],
) -> dict[str, Fingerprint]:
    """The fingerprints of one iteration's stages, each of which names the one before it.

    Args:
        config: Of the run.
        iteration: Which.
        general: Settings that every stage depends on.
        seed: Of the run.
        parts: Hashes of what all iterations share.
    """
    reads = pairing_reads(config)
    stages: dict[str, Fingerprint] = {}
    if "responses" in reads:
        stages["responses"] = {
            "settings": digest(
                [
                    general,
                    settings_digest(config.sampling, "batch_tokens", "server", "vllm"),
                    *sampler_settings(config),
                ]
            ),
            "policy": iteration.policy.fingerprint,
            "prompts": prompts_digest(iteration.prompts),
            "seed": seed,
            "code version": CODE["responses"],
        }
    if "scores" in reads:
        stages["scores"] = {
            "responses": digest(stages["responses"]),
            "settings": digest(
                [general, settings_digest(config.reward, "batch_tokens"), directive_template(config), seed]
            ),
            "policy": iteration.policy.fingerprint,
            "reference": iteration.reward_reference.fingerprint,
            "files": digest([parts["reward files"], parts["fit"], parts["translation"]]),
            "code version": CODE["scores"],
        }
        stages["health"] = {
            "scores": digest(stages["scores"]),
            "labels": parts["labels"],
            "settings": digest(config.pairs.length_control.unit),
            "code version": CODE["health"],
        }
    pairs = {
        "scores": digest([stages.get("scores"), stages.get("responses")]),
        "settings": digest([settings_digest(config.pairs), seed]),
        "files": parts["pairs files"],
        "code version": CODE["pairs"],
    }
    if "labelled" in reads:
        pairs |= {"labels": parts["labels"], "prompts": prompts_digest(iteration.prompts)}
    if "translation" in reads:
        pairs |= {"translation": digest([parts["translation"], general, iteration.policy.fingerprint])}
    stages["pairs"] = pairs
    if config.training.preference_weight > 0:
        stages["reference"] = {
            "pairs": digest(pairs),
            "reference": iteration.training_reference.fingerprint,
            "settings": digest([general, config.training.max_length]),
            "code version": CODE["reference"],
        }
    stages["model"] = {
        "pairs": digest(pairs),
        "reference": digest(stages.get("reference")),
        "settings": digest(
            [
                general,
                settings_digest(
                    config.training,
                    "micro_batch_pairs",
                    "gradient_checkpointing",
                    "save_steps",
                    "report_to",
                    "launch",
                ),
            ]
        ),
        "policy": iteration.policy.fingerprint,
        "seed": seed,
        "code version": CODE["model"],
    }
    return stages


def _part_files(section: RewardConfig | PairsConfig, digests: ModelDigests) -> str:
    """Hashes the files that a part is made of: its own, if it is the user's, and those that options name.

    An option names a model's folder if it is called `model`, and a file if its name ends in `path`.
    """
    found = {}
    if section.kind.endswith(".py"):
        found["kind"] = _file_digest(section.kind)
    for name, value in section.options.items():
        if name == "model" and isinstance(value, str):
            found[name] = digests(resolve_spec(value))
        elif name.endswith("path") and isinstance(value, str):
            found[name] = _file_digest(value)
    return digest(found)


def _translator_files(config: RunConfig, digests: ModelDigests) -> str:
    settings = config.translation
    if settings.kind in ("policy", "model") and settings.model is not None:
        return digests(resolve_spec(settings.model))
    return _file_digest(settings.path) if settings.kind == "file" else ""


def _file_digest(path: str | None) -> str:
    return "" if path is None else hashlib.sha256(user_path(path).read_bytes()).hexdigest()[:16]
