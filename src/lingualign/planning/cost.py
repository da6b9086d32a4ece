"""What a stage costs on some devices: seconds, memory, and who computes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from lingualign.config import RunConfig
from lingualign.planning.hardware import Device, Hardware
from lingualign.planning.operations import (
    Seconds,
    decode_step,
    forward,
    forward_flops,
    mean_context,
    optimiser_step,
    training_pass,
    training_pass_flops,
)
from lingualign.planning.work import Work
from lingualign.setup.memory import PASS_CPU, pass_bytes, sampling_bytes, scoring_bytes, training_bytes
from lingualign.setup.shape import Shape, trained_parameters
from lingualign.setup.suggest import ROOM

TENSOR_PARALLEL = 0.8  # of the speed of as many devices, where they share one model (ours)
ENGINE_ROWS = 256  # responses that vLLM decodes at a time (its max_num_seqs, by default)
# Seconds of work on the text of a response: telling its language, choosing pairs (ours, measured).
HOST_ROW = 5e-4
LONGEST = 2.0  # times the mean: lengths are taken to lie evenly between nothing and that (ours)


@dataclass(frozen=True)
class StageCost:
    """What a stage costs.

    Attributes:
        stage: Its name.
        read: Tokens that forward passes read.
        generated: Tokens that are sampled.
        flops: Floating-point operations.
        seconds: From its start to its end.
        devices: That work for it.
        shards: Of them, those that share one model.
        memory: Bytes a device at the peak.
        fits: Whether a device has that much.
        bound: What takes most of the time.
        disk: Bytes that it leaves behind.
        scratch: Bytes that it takes meanwhile, beside.
    """

    stage: str
    read: float
    generated: float
    flops: float
    seconds: float
    devices: int
    shards: int
    memory: float
    fits: bool
    bound: str
    disk: float = 0.0
    scratch: float = 0.0


BOUNDS = {
    "compute": "compute",
    "weights": "reading weights",
    "keys": "KV cache",
    "activations": "activations",
    "starting": "starting kernels",
    "link": "links",
    "disk": "disk",
    "host": "CPU",
    "nothing": "-",
}


def shared(device: Device, shards: int) -> Device:
    """Some devices that share one model as one that is so much faster and larger."""
    if shards == 1:
        return device
    faster = shards * TENSOR_PARALLEL
    return replace(
        device,
        memory=device.memory * shards,
        bandwidth=device.bandwidth * faster,
        flops=device.flops * faster,
        decoding_flops=device.decoding_flops * faster,
        training_flops=device.training_flops * faster,
    )


def shards_for(hardware: Hardware, needed: Callable[[int], float]) -> tuple[int, bool]:
    """The fewest devices, a power of two, on which a model has room, and whether it has.

    Args:
        hardware: That there is.
        needed: From a number of devices to the bytes that each of them needs.
    """
    shards = 1
    while needed(shards) > ROOM * hardware.device.memory and 2 * shards <= hardware.count:
        shards *= 2
    return shards, needed(shards) <= ROOM * hardware.device.memory


def uses_engine(config: RunConfig, shards: int = 1) -> bool:
    """Whether an engine for sampling decodes; Transformers has no tensor parallelism here."""
    return config.sampling.backend != "transformers" or shards > 1


def sampling_cost(
    work: Work, config: RunConfig, shape: Shape, hardware: Hardware, models: float
) -> tuple[Seconds, int, int, float, bool]:
    """Sampling: prompts once, then step by step.

    Args:
        work: Of the stage.
        config: Of the run.
        shape: Of the policy.
        hardware: That computes.
        models: Bytes of all models that are in memory.

    Returns:
        Where the time goes, devices, shards, bytes a device, and whether that fits.
    """
    device = hardware.device
    longest = min(float(work.limit or math.inf), LONGEST * work.response_tokens)
    most = (
        work.sequences / work.languages
        if not work.chunk
        else min(work.chunk * work.n, work.sequences / work.languages)
    )

    def rows(shards: int) -> float:
        if not uses_engine(config, shards):
            return max(1.0, config.sampling.batch_tokens // (work.prompt_tokens + work.limit))
        free = ROOM * device.memory * shards - models
        a_row = sampling_bytes(shape, device.width, work.prompt_tokens + longest, 1)
        return max(1.0, min(ENGINE_ROWS, free / a_row))

    def needed(shards: int) -> float:
        at_once = min(rows(shards), most)
        prompts = math.ceil(at_once / work.n)
        cells = at_once * (work.prompt_tokens + longest)
        reading = pass_bytes(shape, device.width, prompts * work.prompt_tokens)
        return (models + max(sampling_bytes(shape, device.width, cells, at_once), reading)) / shards

    def piece(shards: int, prompts: float) -> Seconds:
        group, engine = shared(device, shards), uses_engine(config, shards)
        answers = prompts * work.n
        batches = max(1.0, math.ceil(answers / rows(shards)))
        steps = longest * batches
        if engine:  # rows that end make room for others
            steps = max(longest, answers * work.response_tokens / rows(shards))
        going = answers * work.response_tokens / steps if steps else 0.0
        context = work.prompt_tokens + longest / 2 * work.response_tokens / max(longest, 1e-9)
        read = forward(group, shape, prompts * work.prompt_tokens, prompts, work.prompt_tokens / 2, batches)
        return decode_step(group, shape, going, context, engine).times(steps).plus(read)

    fewest, fits = shards_for(hardware, needed)
    choices = [fewest]
    while uses_engine(config) and fits and 2 * choices[-1] <= hardware.count:
        choices.append(2 * choices[-1])  # more room for keys and values may be worth it
    spreads = {shards: spread(work, hardware.count // shards, partial(piece, shards)) for shards in choices}
    shards = min(choices, key=lambda shards: spreads[shards][0].total)
    seconds, used = spreads[shards]
    return seconds, used * shards, shards, needed(shards), fits


def reading_cost(
    work: Work, config: RunConfig, shape: Shape, hardware: Hardware, models: float
) -> tuple[Seconds, int, int, float, bool]:
    """Forward passes over prompts and responses; see `sampling_cost`."""
    device = hardware.device
    budget = min(config.reward.batch_tokens, PASS_CPU) if device.cpu else config.reward.batch_tokens

    def needed(shards: int) -> float:
        return (models + scoring_bytes(shape, device.width, budget, device.cpu)) / shards

    shards, fits = shards_for(hardware, needed)
    group = shared(device, shards)
    context = mean_context(work.prompt_tokens, work.response_tokens, work.n)

    def piece(prompts: float) -> Seconds:
        tokens = prompts * (work.prompt_tokens + work.n * work.response_tokens)
        scored = prompts * work.n * work.response_tokens
        passes = math.ceil(tokens / budget) or 1
        return forward(group, shape, tokens, scored, context, passes).times(work.passes)

    seconds, used = spread(work, hardware.count // shards, piece)
    return seconds, used * shards, shards, needed(shards), fits


def training_cost(
    work: Work, config: RunConfig, shape: Shape, hardware: Hardware
) -> tuple[Seconds, int, int, float, bool]:
    """Forward, backward and the optimiser, by as many devices as make it fastest.

    The pairs of a step are shared out evenly, so these are divisors of `training.batch_pairs`. Weights,
    gradients and moments are sharded over all of them (FSDP2).
    """
    settings, device = config.training, hardware.device
    found = []
    for count in range(1, min(hardware.count, settings.batch_pairs) + 1):
        if settings.batch_pairs % count == 0:
            memory = training_memory(work, config, shape, device, count)
            fits = memory <= ROOM * device.memory
            found.append((training_seconds(work, config, shape, hardware, count), count, memory, fits))
    fitting = [option for option in found if option[3]]
    if fitting:
        seconds, count, memory, fits = min(fitting, key=lambda option: (option[0].total, option[1]))
    else:
        seconds, count, memory, fits = min(found, key=lambda option: option[2])
    return seconds, count, count, memory, fits


def training_memory(work: Work, config: RunConfig, shape: Shape, device: Device, count: int) -> float:
    """Bytes a device at the peak of training on some devices."""
    micro = micro_pairs(config, count)
    longest = work.prompt_tokens + min(LONGEST * work.response_tokens, config.sampling.max_new_tokens)
    settings = config.training.model_copy(update={"micro_batch_pairs": micro})
    config = config.model_copy(update={"training": settings})
    return training_bytes(config, shape, device.width, math.ceil(longest), count)


def micro_pairs(config: RunConfig, count: int) -> int:
    """Pairs of a pass on one of some devices, as the trainer cuts them (`lingualign.training.arguments`)."""
    each = max(1, config.training.batch_pairs // count)
    most = min(config.training.micro_batch_pairs, each)
    return next(micro for micro in range(most, 0, -1) if each % micro == 0)


def training_seconds(work: Work, config: RunConfig, shape: Shape, hardware: Hardware, count: int) -> Seconds:
    """Seconds of a training by some devices."""
    settings, device = config.training, hardware.device
    frozen, recomputes = settings.lora is not None, settings.gradient_checkpointing
    pairs = work.prompts * work.passes
    steps = work.passes * math.ceil(work.prompts / settings.batch_pairs)
    passes = math.ceil(pairs / count / micro_pairs(config, count))
    tokens = pairs / count * (work.prompt_tokens + work.n * work.response_tokens)
    scored = pairs / count * work.n * work.response_tokens
    context = mean_context(work.prompt_tokens, work.response_tokens, work.n)
    seconds = training_pass(device, shape, tokens, scored, context, passes, frozen, recomputes)
    if settings.objective == "kto-pair":  # reads the whole step before
        seconds = seconds.plus(forward(device, shape, tokens, scored, context, passes))
    trained = trained_parameters(shape, settings)
    seconds = seconds.plus(optimiser_step(device, trained / count).times(steps))
    if count > 1:
        # Weights are gathered forward and backward, gradients of what is trained are summed in float32.
        moved = (2 * shape.parameters * device.width + 4 * trained) * (count - 1) / count
        seconds = seconds.plus(Seconds(link=passes * moved / hardware.link(count)))
    return seconds


def training_flops(work: Work, config: RunConfig, shape: Shape) -> float:
    """Floating-point operations of a training."""
    tokens = work.prompts * (work.prompt_tokens + work.n * work.response_tokens) * work.passes
    context = mean_context(work.prompt_tokens, work.response_tokens, work.n)
    settings = config.training
    return training_pass_flops(
        shape, tokens, work.scored, context, settings.lora is not None, settings.gradient_checkpointing
    )


def stage_flops(work: Work, config: RunConfig, shape: Shape) -> float:
    """Floating-point operations of a stage."""
    if work.kind == "train":
        own = training_flops(work, config, shape)
    elif work.kind == "sample":
        context = work.prompt_tokens + work.response_tokens / 2
        own = forward_flops(shape, work.prompts * work.prompt_tokens, work.prompts, work.prompt_tokens / 2)
        own += forward_flops(
            shape, work.sequences * work.response_tokens, work.sequences * work.response_tokens, context
        )
    elif work.kind == "read":
        context = mean_context(work.prompt_tokens, work.response_tokens, work.n)
        tokens = work.passes * work.prompts * (work.prompt_tokens + work.n * work.response_tokens)
        own = forward_flops(shape, tokens, work.scored, context)
    else:
        own = 0.0
    return own + sum(stage_flops(further, config, shape) for further in work.also)


def spread(work: Work, replicas: int, piece: Callable[[float], Seconds]) -> tuple[Seconds, int]:
    """Pieces of a stage over models that work side by side.

    A stage is done when all pieces are, and no sooner than the largest of them.

    Args:
        work: Of the stage.
        replicas: Models that work side by side.
        piece: From prompts to where the time goes.

    Returns:
        Where the time goes from start to end, and how many models work.
    """
    if not work.prompts:
        return Seconds(), 1
    if not work.chunk:
        return piece(work.prompts), 1
    prompts = work.prompts / work.languages
    full, rest = divmod(prompts, work.chunk)
    whole = piece(work.chunk if full else rest)
    total = whole.times(work.languages * (full or 1))
    if full and rest:
        total = total.plus(piece(rest).times(work.languages))
    pieces = work.languages * (full + (1 if rest else 0))
    used = int(min(replicas, pieces))
    share = max(1 / used, whole.total / total.total) if total.total else 1.0
    return total.times(share), used
