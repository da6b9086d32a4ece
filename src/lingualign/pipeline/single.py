"""One stage alone, on files: what `lingualign sample`, `score`, `pair`, `train` and `measure` do.

The output folder is a small run folder of its own, with its configuration, manifest and lock: the same
command resumes in it, and another configuration is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lingualign.config import NO_REWARD, RunConfig
from lingualign.errors import InputError
from lingualign.measures.judges import judge_kind
from lingualign.models import check_compatible, load_tokenizer, resolve_spec
from lingualign.pipeline.bench import Bench
from lingualign.pipeline.files import write_json
from lingualign.pipeline.fingerprints import ModelDigests, digest, prompts_digest
from lingualign.pipeline.folder import RunFolder, Stage, open_run_folder, part_files
from lingualign.pipeline.inputs import (
    LAB_PROMPTS,
    all_prompts,
    load_heldout,
    prompts_from_lab,
    short_prompts,
    tell_left_out,
)
from lingualign.pipeline.integrity import sha256
from lingualign.pipeline.judging import check_judge
from lingualign.pipeline.labelled import labelled_files, labelled_sources
from lingualign.pipeline.manifest import Manifest
from lingualign.pipeline.measuring import (
    answer_and_judge,
    describe_measures,
    measure_against_start,
    measure_all,
)
from lingualign.pipeline.pairing import choose_pairs
from lingualign.pipeline.plan import DECODINGS, ModelRef, judge_fingerprint, measure_name
from lingualign.pipeline.progress import Reporter
from lingualign.pipeline.rewarding import (
    fit_reward,
    make_reward,
    needs_fit,
    policy_and_reference,
    reward_reads,
    reward_reads_reference,
)
from lingualign.pipeline.sampling import Decoding, check_sampler, sample_responses
from lingualign.pipeline.scoring import score_responses
from lingualign.pipeline.tables import read_keys
from lingualign.pipeline.training import read_pairs, reference_logprobs, train_policy
from lingualign.pipeline.validate import check_run_folder, positions
from lingualign.prompts import ChatFormat, ParallelPrompts
from lingualign.records import RESPONSES
from lingualign.settings import dump_config, pairing_reads


def sample(config: RunConfig, output: Path, reporter: Reporter) -> Path:
    """Samples responses of the policy to the run's prompts, those of one iteration.

    Returns:
        Folder of RESPONSES parts.
    """
    config = _placed(config, output)
    check_sampler(config)
    policy, chat = resolve_spec(config.policy), _chat(config)
    prompts = short_prompts(config, chat, positions(policy), reporter)
    prompts = prompts.slice(0, config.data.limit or (LAB_PROMPTS if prompts_from_lab(config) else None))
    with _bench(config, chat, reporter) as (bench, digests):
        stage = _stage(
            "responses", policy=digests(policy), prompts=prompts_digest(prompts), seed=str(config.seed)
        )
        settings = config.sampling
        decoding = Decoding(settings.n, settings.temperature, settings.top_p, settings.max_new_tokens)
        draw = "iteration-1/responses"
        return sample_responses(bench, stage, policy, prompts, decoding, draw, iteration=0)


def score(config: RunConfig, responses: Path, output: Path, reporter: Reporter) -> Path:
    """Scores responses to prompts of the run.

    Returns:
        Folder of SCORES parts.

    Raises:
        InputError: The recipe scores nothing, among others.
    """
    config = _placed(config, output)
    if config.reward.kind == NO_REWARD:
        raise InputError("reward.kind is none: there is nothing to score.", "Choose a reward.")
    policy, reference = policy_and_reference(config, reward_reads_reference(config))
    chat = _chat(config)
    prompts = _answered(config, responses, reporter)
    with _bench(config, chat, reporter) as (bench, digests):
        stage = _stage(
            "scores",
            responses=table_digest(responses),
            prompts=prompts_digest(prompts),
            policy=digests(policy),
            reference=digests(reference),
        )
        fitted = None
        if needs_fit(config):
            fitting = _stage("reward", policy=digests(policy), reference=digests(reference))
            fitted = fit_reward(bench, fitting, policy, reference)
        return score_responses(
            bench,
            stage,
            partial(make_reward, policy=policy, reference=reference, fitted=fitted),
            prompts,
            responses,
            reads=reward_reads(config),
        )


def pair(
    config: RunConfig, responses: Path | None, scores: Path | None, output: Path, reporter: Reporter
) -> Path:
    """Makes pairs: from scored responses to prompts of the run, or from what else the recipe's pairs read.

    Returns:
        The file of PAIRS.

    Raises:
        InputError: What the pairs are made from is not given, among others.
    """
    config = _placed(config, output)
    reads = pairing_reads(config)
    for name, path in (("responses", responses), ("scores", scores)):
        if name in reads and path is None:
            raise InputError(f"pairs.kind={config.pairs.kind} reads {name}.", f"Give them: --{name} PATH.")
    policy, chat = resolve_spec(config.policy), _chat(config)
    if responses is not None and "responses" in reads:
        prompts = _answered(config, responses, reporter)
    else:
        prompts = short_prompts(config, chat, positions(policy), reporter)
    with _bench(config, chat, reporter) as (bench, digests):
        stage = _stage(
            "pairs",
            responses="" if responses is None else table_digest(responses),
            scores="" if scores is None else table_digest(scores),
            prompts=prompts_digest(prompts),
            policy=digests(policy) if "translation" in reads else "",
        )
        return choose_pairs(bench, stage, policy, prompts, responses, scores)


def train(config: RunConfig, pairs: Path, output: Path, reporter: Reporter) -> Path:
    """Trains the policy on pairs.

    Returns:
        The model folder.
    """
    config = _placed(config, output)
    chat = _chat(config)
    policy, frozen = policy_and_reference(config, config.training.reference == "initial")
    read_pairs(pairs)
    with _bench(config, chat, reporter) as (bench, digests):
        reference = None
        if config.training.preference_weight > 0:
            stage = _stage("reference", pairs=table_digest(pairs), reference=digests(frozen))
            reference = reference_logprobs(bench, stage, frozen, pairs)
        stage = _stage("model", pairs=table_digest(pairs), policy=digests(policy), seed=str(config.seed))
        return train_policy(bench, stage, policy, pairs, reference)


def measure(config: RunConfig, model: Path, output: Path, reporter: Reporter) -> dict[str, Any]:
    """Measures a model against the policy on held-out prompts.

    Returns:
        The content of `measures.json`, the model as iteration 1.
    """
    config = _placed(config, output)
    start, initial = policy_and_reference(config, judge_kind(config) == "implicit")
    measured = resolve_spec(model)
    check_compatible(config.policy, str(model), trust_remote_code=config.trust_remote_code)
    chat, kind = _chat(config), judge_kind(config)
    check_judge(config, kind)
    check_sampler(config)
    heldout = load_heldout(config, chat, positions(start, measured), reporter)
    with _bench(config, chat, reporter) as (bench, digests):
        refs = [ModelRef(folder, digests(folder)) for folder in (start, measured, initial)]
        judge = judge_fingerprint(config, kind, refs[0], refs[2], digests)
        for number, ref in enumerate(refs[:2]):
            for decoding in DECODINGS:
                common = {
                    "policy": ref.fingerprint,
                    "prompts": prompts_digest(heldout),
                    "seed": str(config.seed),
                }
                answering = _stage(measure_name(number, decoding), **common)
                judging = _stage(measure_name(number, f"{decoding}-judged"), judge=judge, **common)
                answer_and_judge(
                    bench,
                    answering,
                    judging,
                    ref.path,
                    heldout,
                    decoding,
                    number,
                    start=refs[0],
                    reference=refs[2],
                    starting=output / measure_name(0, decoding),
                )
        measures = describe_measures(config, heldout)
        measures["start"] = measure_all(config, output, heldout, 0)
        found = measure_against_start(config, output, heldout, 1, measures["start"])
        measures["iterations"] = [{"iteration": 1, **found}]
        write_json(output / "measures.json", measures)
    return measures


def measure_rewards(config: RunConfig, pairs: Path, output: Path, reporter: Reporter) -> dict[str, Any]:
    """Measures the run's reward on labelled pairs, in the languages that have a file of them.

    Args:
        config: Of the run.
        pairs: A file in the source language, or a folder with a file a language.
        output: Folder for what a reward leaves that is trained first.
        reporter: Who is told of progress.

    Returns:
        Plain values for JSON: `reward`, and by language what `reward_accuracy` finds.

    Raises:
        InputError: There are no pairs, or a file is wrong.
    """
    from lingualign.measures.reward_accuracy import pair_rewards_of_file, reward_accuracy

    config = _placed(config, output)
    if config.reward.kind == NO_REWARD:
        raise InputError("reward.kind is none: there is nothing to measure.", "Choose a reward.")
    files = labelled_files(pairs, config.languages, config.source_language)
    source = files.get(config.source_language)
    sources = {
        code: labelled_sources(path, source, config.source_language) if source else None
        for code, path in files.items()
    }
    policy, reference = policy_and_reference(config, reward_reads_reference(config))
    with _bench(config, _chat(config), reporter) as (bench, digests):
        fitted = None
        if needs_fit(config):
            fitting = _stage("reward", policy=digests(policy), reference=digests(reference))
            fitted = fit_reward(bench, fitting, policy, reference)
        reward = make_reward(bench, policy, reference, fitted)
        scored = {}
        with reporter.stage("pairs scored", len(files), unit="languages") as task:
            for number, (code, path) in enumerate(files.items(), 1):
                scored[code] = pair_rewards_of_file(path, code, reward, sources[code])
                task.update(number)
    found = reward_accuracy(scored, config.source_language)
    return {
        "reward": reward.name,
        "pairs": str(pairs),
        "source_language": config.source_language,
        "languages": {code: asdict(one) for code, one in found.items()},
    }


def table_digest(path: Path) -> str:
    """Hashes a Parquet file, or the part files of a folder, by content.

    Raises:
        InputError: There is no such file.
    """
    files = part_files(path) if path.is_dir() else [path]
    if not files or not all(file.is_file() for file in files):
        raise InputError(f"{path}: no such file, or a folder without part-*.parquet files.")
    return digest([sha256(file) for file in files])


def _placed(config: RunConfig, output: Path) -> RunConfig:
    """The configuration with its output folder, which must be free or of the same configuration."""
    config = config.model_copy(update={"output": output})
    check_run_folder(output, config)
    return config


def _chat(config: RunConfig) -> ChatFormat:
    tokenizer = load_tokenizer(config.policy, trust_remote_code=config.trust_remote_code)
    return ChatFormat(tokenizer, config.base_model_prompts)


def _answered(config: RunConfig, responses: Path, reporter: Reporter) -> ParallelPrompts:
    """The run's prompts that responses answer, every one of them in every language of the run."""
    keys = read_keys(responses, RESPONSES)
    asked = np.array([language in config.languages for language in keys.languages], bool)[keys.language]
    numbers, rows = np.unique(keys.prompt[asked], return_index=True)
    ids = [keys.ids[number] for number in numbers[np.argsort(rows)]]
    others = np.bincount(keys.language[~asked], minlength=len(keys.languages)).tolist()
    left_out = [f"{n} responses in {code}" for code, n in zip(keys.languages, others, strict=True) if n]
    if left_out:
        reporter.warn(f"{responses}: left out are {', '.join(left_out)}; the run has no such language.")
    prompts = all_prompts(config)
    tell_left_out(reporter, 0, prompts.left_out_rows)
    known = set(prompts.ids)
    unknown = [prompt_id for prompt_id in ids if prompt_id not in known]
    if unknown:
        raise InputError(
            f"{responses}: {len(unknown)} prompts are not in {config.prompts}, {unknown[0]!r} for one.",
            "Give the prompts that were answered: prompts=PATH.",
        )
    lacking = []
    for language in config.languages:
        number = keys.languages.index(language) if language in keys.languages else -1
        there = {keys.ids[found] for found in np.unique(keys.prompt[keys.language == number])}
        lacking += [(language, prompt_id) for prompt_id in ids if prompt_id not in there]
    if lacking or not ids:
        example = f", {lacking[0][1]!r} in {lacking[0][0]} for one" if lacking else ""
        raise InputError(
            f"{responses}: {len(lacking)} prompts of the run's languages have no response{example}.",
            "Set languages= to those that were sampled.",
        )
    return prompts.select(ids)


def _stage(name: str, **parts: str) -> Stage:
    """A stage of a folder that holds one configuration: settings are compared with config.yaml."""
    return Stage(name, dict(parts))


@contextmanager
def _opened(config: RunConfig, reporter: Reporter) -> Iterator[tuple[RunFolder, ModelDigests]]:
    """Opens the output folder, and closes it with the hashes of the models that were used."""
    folder = config.run_folder
    digests = ModelDigests(Manifest.read(folder / "manifest.json").inputs)
    with open_run_folder(folder, dump_config(config), config.seed, digests.cache, reporter) as opened:
        yield opened, digests
        opened.manifest.inputs = digests.cache
        opened.save_manifest()


@contextmanager
def _bench(config: RunConfig, chat: ChatFormat, reporter: Reporter) -> Iterator[tuple[Bench, ModelDigests]]:
    """The tools of a stage in the opened output folder."""
    with _opened(config, reporter) as (folder, digests):
        yield Bench(config, folder, chat), digests
