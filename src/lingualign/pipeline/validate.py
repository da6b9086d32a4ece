"""Everything that can be wrong with a run, found before a model is loaded and before anything is written."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from lingualign.accidents import free_bytes, nearest_folder, writing
from lingualign.config import NO_REWARD, RunConfig
from lingualign.errors import InputError
from lingualign.languages import resolve
from lingualign.launching.processes import check_launch
from lingualign.measures.judges import LABELS, judge_kind
from lingualign.models import base_folder, load_tokenizer, parameters_in, read_object
from lingualign.pipeline.fingerprints import ModelDigests
from lingualign.pipeline.folder import check_fingerprint, other_configuration
from lingualign.pipeline.inputs import RunPrompts, load_prompts
from lingualign.pipeline.integrity import find_corrupt
from lingualign.pipeline.judging import check_judge, make_reader
from lingualign.pipeline.labelled import labelled_prompts, load_labelled
from lingualign.pipeline.manifest import Manifest
from lingualign.pipeline.plan import EXECUTION, EXECUTION_SECTIONS, Plan, make_plan
from lingualign.pipeline.ray_cluster import check_cluster
from lingualign.pipeline.rewarding import needs_fit, policy_and_reference, run_reads_reference
from lingualign.pipeline.sampling import check_sampler
from lingualign.pipeline.translating import check_translation
from lingualign.prompts import ChatFormat
from lingualign.settings import (
    complete_options,
    load_config,
    load_pairing,
    load_reward,
    pairing_reads,
    part_options,
)
from lingualign.tracking import check_trackers

BYTES_PER_TOKEN = 4  # of text, before compression
CHECKPOINT_COPIES = 3  # the weights and two moments of Adam


@dataclass(frozen=True)
class CheckedRun:
    """A run that can start.

    Attributes:
        config: Of the run.
        prompts: Of each iteration, and held out.
        plan: Its stages and their fingerprints.
        chat: Chat format of the policy, which the reference shares.
        judge: Which judge measures.
        model_hashes: Of model files, for the manifest.
        corrupt: Damaged files of the run folder, to be made again.
        disk_bytes: Upper estimate of what the run will still write.
        done: Stages that are complete from an earlier start.
    """

    config: RunConfig
    prompts: RunPrompts
    plan: Plan
    chat: ChatFormat
    judge: str
    model_hashes: dict[str, list[object]]
    corrupt: list[Path]
    disk_bytes: int
    done: list[str]


def validate(
    config: RunConfig,
    recompute_corrupt: bool = False,
    twin: CheckedRun | None = None,
    deep: bool = False,
) -> CheckedRun:
    """Checks a run. Reads files and tokenizers; loads no model and writes nothing.

    Args:
        config: Of the run.
        recompute_corrupt: Damaged files in the run folder are to be made again instead of an error. They are
            looked for as with `deep`.
        twin: A checked run that differs in its seed and its folder alone: its prompts are taken, and its
            hashes of models.
        deep: Read large files of the run folder too that look unchanged.

    Raises:
        InputError: Something is wrong: languages, models, chat template, prompts, the run folder, or the
        disk.
    """
    for code in config.languages:
        resolve(code)
    check_run_folder(config.run_folder, config)
    policy, reference = policy_and_reference(config, run_reads_reference(config))
    chat = ChatFormat(
        load_tokenizer(config.policy, trust_remote_code=config.trust_remote_code), config.base_model_prompts
    )
    judge = judge_kind(config)
    check_judge(config, judge)
    check_sampler(config)
    check_cluster(config)
    make_reader(config, config.languages)  # what measuring reads answers with may be missing
    check_trackers(config.training.report_to)
    check_launch(config.training, config.device)
    if config.training.lora is not None:
        from lingualign.training.adapter import check_adapter  # imports torch

        check_adapter(policy, config.training, config.trust_remote_code)
    config = complete_options(config)
    prompts = twin.prompts if twin else load_prompts(config, chat, positions(policy, reference))
    check_parts(config, prompts)

    manifest = Manifest.read(config.run_folder / "manifest.json")
    digests = ModelDigests({**manifest.inputs, **twin.model_hashes} if twin else manifest.inputs)
    plan = make_plan(
        config,
        prompts,
        policy,
        reference,
        judge,
        digests,
        fits=needs_fit(config) and "scores" in pairing_reads(config),
    )
    for name in plan.fingerprints:
        check_fingerprint(config.run_folder, manifest.stages.get(name), plan.stage(name))
    corrupt = find_corrupt(config.run_folder, deep or recompute_corrupt)
    if corrupt and not recompute_corrupt:
        raise InputError(
            "\n".join(f"{path}: damaged, it is not what the run wrote." for path in corrupt),
            "Run the same command with --recompute-corrupt to make it again.",
        )
    done = [name for name, record in manifest.stages.items() if record.status == "done"]
    disk = estimate_disk(config, prompts, policy, done)
    check_disk(config.run_folder, disk)
    return CheckedRun(config, prompts, plan, chat, judge, digests.cache, corrupt, disk, done)


def check_parts(config: RunConfig, prompts: RunPrompts) -> None:
    """Checks what the run's reward and pairs need beyond their own options.

    Raises:
        InputError: Something is missing: scores, labelled pairs, a translator, or what a part itself asks
        for.
    """
    reads = pairing_reads(config)
    if "scores" in reads and config.reward.kind == NO_REWARD:
        raise InputError(
            f"pairs.kind={config.pairs.kind} chooses by scores, and reward.kind is none.", "Choose a reward."
        )
    if "labelled" in reads:
        for iteration in prompts.iterations:
            labelled_prompts(config, iteration)
    fits = needs_fit(config)
    # A file of the user's is read whether or not the run needs it: what is wrong in it is said now.
    labelled = load_labelled(config) if fits or config.data.labelled_pairs is not None else []
    if fits and not labelled:
        raise InputError(
            f"reward.kind={config.reward.kind} is trained on labelled pairs, and there are none.",
            "Give them: data.labelled_pairs=FILE.",
        )
    contexts = {config.reward.context, *getattr(part_options(config, "reward"), "also", ())}
    check_translation(config, needed="translation" in reads or "translated" in contexts)
    modules = {"pairs": load_pairing(config)}
    if config.reward.kind != NO_REWARD:
        modules["reward"] = load_reward(config)
    for section, module in modules.items():
        if hasattr(module, "check"):
            module.check(part_options(config, section), config)


def positions(*folders: Path) -> int | None:
    """Most tokens that all the models take, read from their configurations; None where none of them says."""
    limits = []
    for folder in folders:
        config = read_object(base_folder(folder) / "config.json")
        inner = config.get("text_config", config)
        limit = inner.get("max_position_embeddings") if isinstance(inner, dict) else None
        limits += [limit] if isinstance(limit, int) else []
    return min(limits, default=None)


def describe(checked: CheckedRun) -> dict[str, object]:
    """What a run will do, in a few words each."""
    config, prompts = checked.config, checked.prompts
    used = {prompt_id for iteration in prompts.iterations for prompt_id in iteration.ids}
    return {
        "run_folder": str(config.run_folder),
        "policy": config.policy,
        "reference": config.reference if run_reads_reference(config) else "none is read",
        "languages": ", ".join(config.languages),
        "iterations": config.iterations,
        "prompts": len(used),
        "held_out_prompts": len(prompts.heldout),
        "left_out_too_long": prompts.too_long,
        "left_out_missing": prompts.missing,
        "left_out_rows": ", ".join(f"{count} {why}" for why, count in prompts.left_out_rows.items())
        or "none",
        "untranslated": sum(prompts.untranslated.values()),
        "responses": sum(
            len(used) * len(config.languages) * config.sampling.n
            for number, used in enumerate(prompts.iterations, start=1)
            if checked.plan.has(f"iteration-{number}/responses")
        ),
        "judge": LABELS[checked.judge],
        "disk_at_most": f"{checked.disk_bytes / 1e9:.2f} GB",
        "stages_done": f"{len(checked.done)} of {len(checked.plan.fingerprints)}",
        "damaged_files": len(checked.corrupt),
    }


def check_run_folder(folder: Path, config: RunConfig) -> None:
    """Refuses a folder that is something else than a run of this configuration.

    Raises:
        InputError: It is a file, holds other things, or was made with other settings, which are named.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"{folder} is a file.", "Choose a folder with output=.")
    recorded = folder / "config.yaml"
    if not recorded.exists():
        if any(path.name != ".lock" for path in folder.iterdir()):
            raise InputError(
                f"{folder} is not empty, and not a run folder: it has no config.yaml.",
                "Choose another folder with output=.",
            )
        return
    try:
        before, now = flat_settings(load_config(str(recorded), [])), flat_settings(config)
    except InputError as error:
        raise other_configuration(folder, f"this version cannot read it ({error.message})") from None
    different = [
        key
        for key in now
        if before.get(key) != now[key] and key not in EXECUTION and not key.startswith(EXECUTION_SECTIONS)
    ]
    if different:
        shown = "; ".join(f"{key} was {before.get(key)!r}, now {now[key]!r}" for key in different[:5])
        more = f"; and {len(different) - 5} more" if len(different) > 5 else ""
        raise other_configuration(folder, shown + more)


def flat_settings(config: RunConfig) -> dict[str, object]:
    """The settings by dotted key; an optional section that is unset is one None."""
    flat: dict[str, object] = {}

    def walk(values: dict[str, object], prefix: str) -> None:
        for key, value in values.items():
            if isinstance(value, dict):
                walk(value, f"{prefix}{key}.")
            else:
                flat[f"{prefix}{key}"] = value

    walk(config.model_dump(mode="json"), "")
    return flat


def estimate_disk(config: RunConfig, prompts: RunPrompts, policy: Path, done: list[str]) -> int:
    """An upper estimate of the bytes that a run will still write."""
    # In float32, as checkpoints hold them whatever the files do.
    weights = 4 * sum(parameters_in(path) for path in policy.glob("*.safetensors"))
    trained = weights // 10 if config.training.lora is not None else weights
    total = 0
    for number, used in enumerate(prompts.iterations, start=1):
        if f"iteration-{number}/model" not in done:
            responses = len(used) * len(config.languages) * config.sampling.n
            total += responses * config.sampling.max_new_tokens * BYTES_PER_TOKEN + trained
    if total:
        total += 2 * CHECKPOINT_COPIES * trained
    return total


def check_disk(folder: Path, needed: int) -> None:
    """Refuses to start where nothing can be written, or where the estimate does not fit.

    Raises:
        InputError: The folder cannot be written, or the disk under it has less free space than needed.
    """
    with writing(folder), tempfile.TemporaryFile(dir=nearest_folder(folder)):  # has no name: nothing is left
        pass
    free = free_bytes(folder)
    if free < needed:
        raise InputError(
            f"{folder}: the run may need {needed / 1e9:.1f} GB, and the disk has {free / 1e9:.1f} GB free.",
            "Choose a folder on another disk with output=, or lower sampling.n, sampling.max_new_tokens, "
            "data.limit or iterations.",
        )
