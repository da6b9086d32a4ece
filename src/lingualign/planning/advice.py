"""What a planned run needs to use its devices, and what does not fit or is slow: settings and remedies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lingualign.config import LoraConfig, RunConfig
from lingualign.planning.cost import BOUNDS, StageCost, training_cost, training_memory, uses_engine
from lingualign.planning.hardware import Hardware
from lingualign.planning.work import Counts, Work, run_work
from lingualign.setup.findings import size
from lingualign.setup.shape import Shape
from lingualign.setup.suggest import ROOM, changed

HOUR = 3600.0
NOTICED = 0.05  # of the whole time, from which something is worth a word (ours)
UNUSED = (BOUNDS["starting"], BOUNDS["weights"])  # what more rows at a time would not make longer


def settings_for(config: RunConfig, stages: list[StageCost], hardware: Hardware) -> Iterator[tuple[str, Any]]:
    """Settings that make a run use the devices as it was planned, where it has others."""
    if hardware.device.cpu:
        return
    wanted: dict[str, Any] = {}
    sampled = [stage for stage in stages if stage.generated]
    shards = max((stage.shards for stage in sampled), default=1)
    if shards > 1 and config.sampling.backend != "server":
        wanted["sampling.backend"] = "vllm"
        wanted["sampling.vllm.tensor_parallel"] = shards
    chunked = [
        stage for stage in stages if not stage.stage.endswith("/model") and stage.devices > stage.shards
    ]
    if chunked:
        wanted["executor"] = "ray"
        wanted["ray.workers"] = max(stage.devices // stage.shards for stage in chunked)
        wanted["ray.gpus"] = max(stage.shards for stage in chunked)
    processes = max((stage.devices for stage in stages if stage.stage.endswith("/model")), default=1)
    if processes > 1:
        wanted["training.launch.processes"] = processes
        wanted["training.launch.config"] = "fsdp2"
    for key, value in wanted.items():
        found: Any = config
        for part in key.split("."):
            found = getattr(found, part)
        if found != value:
            yield key, value


def advice_on(
    config: RunConfig, counts: Counts, stages: list[StageCost], hardware: Hardware, shape: Shape
) -> Iterator[str]:
    """What does not fit, and what is slow for no good reason."""
    device = hardware.device
    training = [stage for stage in stages if stage.stage.endswith("/model")]
    if any(not stage.fits for stage in training):
        work = next(work for work in run_work(config, counts) if work.stage == training[0].stage)
        yield (
            f"Training does not fit: {size(training[0].memory)} on each of {training[0].devices} GPUs. "
            + _smaller_training(work, config, shape, hardware)
        )
    others = [stage for stage in stages if stage.devices and stage not in training]
    for what, found in (
        ("Sampling", [stage for stage in others if stage.generated]),
        ("Scoring", [stage for stage in others if not stage.generated]),
    ):
        if any(not stage.fits for stage in found):
            worst = max(found, key=lambda stage: stage.memory)
            yield (
                f"{what} does not fit: {size(worst.memory)} on each of {worst.devices} GPUs. It takes "
                "smaller batches (sampling.batch_tokens, reward.batch_tokens), or more or larger GPUs."
            )
    read = [stage for stage in others if not stage.generated]
    if any(stage.shards > 1 for stage in read):
        yield (
            "Policy and reference do not fit on one GPU together. The hours of scoring are those of models "
            f"spread over {max(stage.shards for stage in read)} GPUs, which this version does not do: it "
            "takes larger GPUs."
        )
    total = sum(stage.seconds for stage in stages)
    for stage in others:
        idle = hardware.count - stage.devices
        if stage.seconds > NOTICED * total and idle > hardware.count / 2:
            yield (
                f"{stage.stage} runs in one process: {stage.devices} of {hardware.count} GPUs work, for "
                f"{stage.seconds / HOUR:.1f} h."
            )
    if any(stage.bound == BOUNDS["disk"] and stage.seconds > NOTICED * total for stage in training):
        yield (
            f"Checkpoints of {size(training[0].scratch / 2)}, one every {config.training.save_steps} steps, "
            "take most of the training: set training.save_steps higher."
        )
    slow = [stage for stage in stages if stage.generated and stage.bound in UNUSED]
    if slow and not device.cpu and not uses_engine(config):
        yield (
            f"{slow[0].stage} is bound by {slow[0].bound}: batches are small. sampling.backend=vllm, or "
            f"sampling.batch_tokens above {config.sampling.batch_tokens}, makes better use of the GPU."
        )


def _smaller_training(work: Work, config: RunConfig, shape: Shape, hardware: Hardware) -> str:
    """The first change that makes training fit."""
    tries: list[Mapping[str, Any]] = [
        {"training.gradient_checkpointing": True},
        {"training.gradient_checkpointing": True, "training.micro_batch_pairs": 1},
        {"training.lora": LoraConfig().model_dump()},
        {"training.lora": LoraConfig().model_dump(), "training.gradient_checkpointing": True},
        {
            "training.lora": LoraConfig().model_dump(),
            "training.gradient_checkpointing": True,
            "training.micro_batch_pairs": 1,
        },
    ]
    for values in tries:
        *_, fits = training_cost(work, changed(config, values), shape, hardware)
        if fits:
            said = [
                f"{key}={'{r: 16}' if key == 'training.lora' else str(value).lower()}"
                for key, value in values.items()
            ]
            return f"Set {' '.join(said)}."
    small = changed(config, tries[1])
    for count in range(hardware.count + 1, config.training.batch_pairs + 1):
        if config.training.batch_pairs % count:
            continue
        if training_memory(work, small, shape, hardware.device, count) <= ROOM * hardware.device.memory:
            return (
                f"It takes {count} of these GPUs, with training.gradient_checkpointing=true "
                "training.micro_batch_pairs=1."
            )
    return "It takes larger GPUs."
