"""Settings that fit a model and a machine, each with its reason: what `init` changes in a recipe.

A recipe is made for models of billions of parameters on one large GPU. Here is what has to change for others.
Nothing that a method depends on is touched, but for the adapter where training all weights has no room.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lingualign.config import LoraConfig, RunConfig
from lingualign.setup.findings import size
from lingualign.setup.machine import Machine
from lingualign.setup.memory import Footprint, footprint
from lingualign.setup.shape import Shape

ROOM = 0.9  # of the memory that is free: the estimate leaves out fragmentation
PROMPT_TOKENS = 512  # of a prompt, where nobody has counted yet
SMALL_MODEL = 50e6  # parameters, below which a recipe's learning rate moves nothing
SMALL_MODEL_RATE = 2.4e-5  # as in the lab, whose models have a million
LORA_RATE = 1e-5  # an adapter starts at zero and takes larger steps than weights
HELD_OUT_SHARE = 5  # one prompt in so many is held out, where there are few


@dataclass(frozen=True)
class Suggestion:
    """A setting that differs from the recipe's.

    Attributes:
        key: Dotted key.
        value: To write.
        reason: Why, as a phrase.
    """

    key: str
    value: Any
    reason: str


@dataclass(frozen=True)
class Room:
    """Where a run computes, and the memory there.

    Attributes:
        cpu: Whether that is main memory.
        width: Bytes of a weight in forward passes.
        free: Bytes that are free now.
    """

    cpu: bool
    width: int
    free: int


def room_of(machine: Machine, device: str, dtype: str) -> Room:
    """Where a run computes on a machine, and with how much memory."""
    gpu = machine.gpus[0] if machine.gpus and device != "cpu" else None
    half = gpu.bfloat16 if gpu is not None else machine.amx
    narrow = dtype == "bfloat16" or (dtype == "auto" and half)
    return Room(gpu is None, 2 if narrow else 4, gpu.free if gpu is not None else machine.available)


def suggest(
    config: RunConfig, policy: Shape, reference: Shape, room: Room, prompts: int | None
) -> list[Suggestion]:
    """What to change in a run.

    Args:
        config: Of the recipe with the user's models.
        policy: Its shape.
        reference: Shape of the reference.
        room: Where the run computes.
        prompts: Prompts a language that the user has; None where those to measure with are apart.
    """
    found = list(_lengths(config, policy))
    if prompts is not None and prompts < config.measures.n * HELD_OUT_SHARE:
        held_out = max(2, prompts // HELD_OUT_SHARE)
        found.append(Suggestion("measures.n", held_out, f"a fifth of {prompts} prompts"))
    config = changed(config, {item.key: item.value for item in found})
    found += _training(config, policy, reference, room)
    found += _batches(config, policy, reference, room)
    return found


def changed(config: RunConfig, values: Mapping[str, Any]) -> RunConfig:
    """A configuration with other values at dotted keys."""
    plain = config.model_dump()
    for key, value in values.items():
        section, *rest = key.split(".")
        place = plain
        while rest:
            place, section = place[section], rest.pop(0)
        place[section] = value
    return RunConfig.model_validate(plain)


def needed(config: RunConfig, policy: Shape, reference: Shape, room: Room) -> Footprint:
    """The memory that a run needs, with responses as long as they may be."""
    tokens = PROMPT_TOKENS + config.sampling.max_new_tokens
    return footprint(config, policy, reference, room.width, room.cpu, tokens)


def _lengths(config: RunConfig, policy: Shape) -> Iterator[Suggestion]:
    """Responses that leave the model room for a prompt."""
    if policy.positions is None:
        return
    longest = policy.positions // 2
    for key, value in (
        ("sampling.max_new_tokens", config.sampling.max_new_tokens),
        ("measures.max_new_tokens", config.measures.max_new_tokens),
    ):
        if value > longest:
            yield Suggestion(key, longest, f"half of the {policy.positions} tokens that the model takes")


def _training(config: RunConfig, policy: Shape, reference: Shape, room: Room) -> list[Suggestion]:
    """The first way of training that has room, from what changes least to what needs least."""
    rate = config.training.learning_rate
    if policy.parameters < SMALL_MODEL and rate < SMALL_MODEL_RATE:
        rate = SMALL_MODEL_RATE
    full = needed(config, policy, reference, room).training
    reason = f"all weights at once would take {size(full)}, and {size(room.free)} are free"
    micro = config.training.micro_batch_pairs
    for lora in (None, LoraConfig()):
        for checkpointing in (False, True):
            for pairs in sorted({micro, max(1, micro // 2), 1}, reverse=True):
                values: dict[str, Any] = {"training.micro_batch_pairs": pairs}
                values["training.gradient_checkpointing"] = checkpointing
                values["training.lora"] = lora.model_dump() if lora else None
                tried = changed(config, values)
                last = lora is not None and checkpointing and pairs == 1
                if last or needed(tried, policy, reference, room).training < ROOM * room.free:
                    return list(_differing(config, values, reason, rate))
    raise AssertionError("the last way is always taken")


def _differing(config: RunConfig, values: dict[str, Any], reason: str, rate: float) -> Iterator[Suggestion]:
    training = config.training
    if values["training.micro_batch_pairs"] != training.micro_batch_pairs:
        yield Suggestion("training.micro_batch_pairs", values["training.micro_batch_pairs"], reason)
    if values["training.gradient_checkpointing"] != training.gradient_checkpointing:
        yield Suggestion("training.gradient_checkpointing", True, reason)
    if values["training.lora"] is not None and training.lora is None:
        yield Suggestion("training.lora", values["training.lora"], reason)
        yield Suggestion("training.learning_rate", max(rate, LORA_RATE), "an adapter takes larger steps")
    elif rate != training.learning_rate:
        yield Suggestion("training.learning_rate", rate, "small models take larger steps")


def _batches(config: RunConfig, policy: Shape, reference: Shape, room: Room) -> Iterator[Suggestion]:
    """Batches of sampling whose keys and values have room."""
    tokens = config.sampling.batch_tokens
    least = policy.positions or config.sampling.max_new_tokens
    while tokens > least:
        tried = changed(config, {"sampling.batch_tokens": tokens})
        if needed(tried, policy, reference, room).sampling < ROOM * room.free:
            break
        tokens //= 2
    if tokens != config.sampling.batch_tokens:
        yield Suggestion("sampling.batch_tokens", tokens, f"{size(room.free)} of memory are free")
