"""A run on paper: every stage with its tokens, hours, memory and disk, what is assumed, what to change."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from lingualign.config import RunConfig
from lingualign.planning import hardware as numbers
from lingualign.planning.advice import HOUR, advice_on, settings_for
from lingualign.planning.cost import (
    BOUNDS,
    ENGINE_ROWS,
    HOST_ROW,
    TENSOR_PARALLEL,
    StageCost,
    reading_cost,
    sampling_cost,
    stage_flops,
    training_cost,
    uses_engine,
)
from lingualign.planning.hardware import Hardware
from lingualign.planning.operations import Seconds
from lingualign.planning.work import ROW_BYTES, Counts, Work, pairs_a_prompt, run_work
from lingualign.setup.memory import checkpoint_bytes
from lingualign.setup.shape import Shape, trained_parameters

TEXT_BYTES = 4.0  # of a token's text on disk (ours; Parquet's compression is left out)


@dataclass(frozen=True)
class Forecast:
    """What a run will take.

    Attributes:
        hardware: As `--gpus` names it.
        devices: How many there are.
        model: The policy's shape.
        stages: In the order of the run.
        settings: That it takes to use the devices so, and that the run does not have.
        advice: What does not fit or is slow, and what to change.
        assumptions: What this rests on.
    """

    hardware: str
    devices: int
    model: Shape
    stages: list[StageCost]
    settings: dict[str, Any]
    advice: list[str]
    assumptions: list[str]

    @property
    def seconds(self) -> float:
        """From the start of the run to its end."""
        return sum(stage.seconds for stage in self.stages)

    @property
    def gpu_hours(self) -> float:
        """All devices from start to end: they are held, whether they work or not."""
        return self.seconds * self.devices / HOUR

    @property
    def memory(self) -> float:
        """Bytes a device at the peak."""
        return max(stage.memory for stage in self.stages)

    @property
    def disk(self) -> float:
        """Bytes in the run folder at its fullest."""
        kept = most = 0.0
        for stage in self.stages:
            kept += stage.disk
            most = max(most, kept + stage.scratch)
        return most

    @property
    def fits(self) -> bool:
        """Whether every stage has room."""
        return all(stage.fits for stage in self.stages)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        totals = {
            "tokens_read": sum(stage.read for stage in self.stages),
            "tokens_generated": sum(stage.generated for stage in self.stages),
            "flops": sum(stage.flops for stage in self.stages),
            "seconds": self.seconds,
            "gpu_hours": self.gpu_hours,
            "memory_bytes": self.memory,
            "disk_bytes": self.disk,
            "fits": self.fits,
        }
        stages = [
            {
                "stage": stage.stage,
                "tokens_read": stage.read,
                "tokens_generated": stage.generated,
                "flops": stage.flops,
                "seconds": stage.seconds,
                "gpu_hours": stage.seconds * self.devices / HOUR,
                "gpus": stage.devices,
                "gpus_a_model": stage.shards,
                "memory_bytes": stage.memory,
                "disk_bytes": stage.disk,
                "scratch_bytes": stage.scratch,
                "bound": stage.bound,
                "fits": stage.fits,
            }
            for stage in self.stages
        ]
        return {
            "hardware": self.hardware,
            "gpus": self.devices,
            "model": asdict(self.model),
            "stages": stages,
            "total": totals,
            "settings": self.settings,
            "advice": self.advice,
            "assumptions": self.assumptions,
        }


def forecast(
    config: RunConfig,
    counts: Counts,
    hardware: Hardware,
    policy: Shape,
    reference: Shape,
    assumed: list[str] | None = None,
) -> Forecast:
    """Plans a run on some devices.

    Args:
        config: Of the run.
        counts: Of its prompts and tokens.
        hardware: That there will be.
        policy: Shape of the policy.
        reference: Shape of the reference.
        assumed: What was assumed for the counts.
    """
    stages = list(_stages(config, counts, hardware, policy, reference))
    return Forecast(
        hardware.name,
        hardware.count,
        policy,
        stages,
        settings=dict(settings_for(config, stages, hardware)),
        advice=list(advice_on(config, counts, stages, hardware, policy)),
        assumptions=[*(assumed or ()), *_assumptions(config, hardware)],
    )


def _stages(
    config: RunConfig, counts: Counts, hardware: Hardware, policy: Shape, reference: Shape
) -> Iterator[StageCost]:
    """The stages one after the other, with the models that are still in memory from those before."""
    device, loaded = hardware.device, dict[str, float]()
    first = {"models": device.first, "train": device.trainer}  # what is paid once
    for work in run_work(config, counts):
        sizes = {
            name: (reference if name == "reference" else policy).parameters * device.width
            for name in work.models
        }
        new = [name for name in sizes if name not in loaded]
        kept = {} if work.frees else loaded
        loaded = {} if work.kind == "train" else {**kept, **sizes}
        loading = len(new) * device.loading
        if not device.cpu:  # there, files are mapped and read as they are used
            loading += sum(sizes[name] for name in new) / device.disk
        if new:
            loading += first.pop("models", 0.0)
        loading += first.pop(work.kind, 0.0)
        yield _stage(work, config, hardware, policy, sum(loaded.values()), loading)


def _stage(
    work: Work,
    config: RunConfig,
    hardware: Hardware,
    shape: Shape,
    models: float,
    loading: float,
) -> StageCost:
    """The cost of one stage.

    Args:
        work: Of the stage.
        config: Of the run.
        hardware: That computes.
        shape: Of the policy.
        models: Bytes of the models in memory.
        loading: Seconds to load those that are not there yet.
    """
    device = hardware.device
    seconds, devices, shards, memory, fits = Seconds(), 0, 1, models if device.cpu else 0.0, True
    if work.kind == "sample":
        seconds, devices, shards, memory, fits = sampling_cost(work, config, shape, hardware, models)
    elif work.kind == "read":
        seconds, devices, shards, memory, fits = reading_cost(work, config, shape, hardware, models)
    elif work.kind == "train":
        seconds, devices, shards, memory, fits = training_cost(work, config, shape, hardware)
    host = work.sequences if work.kind == "host" else 0.0
    for further in work.also:
        if further.kind == "read":
            seconds = seconds.plus(reading_cost(further, config, shape, hardware, models)[0])
        host += further.sequences if further.kind == "host" else 0.0
    disk, scratch, written = _disk(work, config, shape)
    seconds = seconds.plus(Seconds(disk=loading + written / device.disk, host=host * HOST_ROW))
    return StageCost(
        work.stage,
        work.read,
        work.generated,
        stage_flops(work, config, shape),
        seconds.total,
        devices,
        shards,
        memory + device.libraries,
        fits,
        BOUNDS[seconds.bound],
        disk,
        scratch,
    )


def _disk(work: Work, config: RunConfig, shape: Shape) -> tuple[float, float, float]:
    """Bytes that stay, bytes that are there meanwhile, and bytes that are written."""
    rows = work.sequences
    text = rows * work.response_tokens * TEXT_BYTES
    if work.kind == "sample":
        kept = rows * ROW_BYTES + text
        return kept, 0.0, kept
    if work.kind != "train":
        kept = rows * ROW_BYTES if work.chunk else work.prompts * ROW_BYTES
        return kept, 0.0, kept
    settings = config.training
    trained = trained_parameters(shape, settings)
    model = 4.0 * trained if settings.lora is not None else float(shape.stored * shape.parameters)
    checkpoint = checkpoint_bytes(shape, settings)
    steps = work.passes * math.ceil(work.prompts / settings.batch_pairs)
    times = 1 + steps // settings.save_steps
    return model + text, 2 * checkpoint, model + text + times * checkpoint


def _assumptions(config: RunConfig, hardware: Hardware) -> Iterator[str]:
    """What every plan rests on."""
    device = hardware.device
    yield f"{pairs_a_prompt(config):g} pairs a prompt and language, none of them filtered out"
    yield "a prompt is computed once for all its responses; chosen and rejected share theirs"
    yield "2 FLOPs a weight and token forward, 6 forward and backward (4 under an adapter), and attention"
    yield "lengths of responses spread evenly between nothing and twice their mean"
    if device.cpu:
        yield "rates of this machine as measured just now, as busy as it is"
    else:
        yield (
            f"of the data sheet: {numbers.PREFILL:.0%} of FLOP/s reading, {numbers.DECODING:.0%} decoding, "
            f"{numbers.TRAINING:.0%} training, {numbers.STREAMING:.0%} of bandwidth, {numbers.LINKED:.0%} of "
            "links"
        )
        yield f"GPUs that share a model reach {TENSOR_PARALLEL:.0%} of as many; {numbers.NODE} GPUs a machine"
        if uses_engine(config):
            yield f"an engine decodes {ENGINE_ROWS} responses at a time, or as many as its memory holds"
    yield f"{TEXT_BYTES:g} bytes of text a token on disk, {HOST_ROW * 1e3:g} ms of work on a response's text"
    yield "not counted: starting the program, queues, judges and translators behind servers, the report"
