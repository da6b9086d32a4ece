"""A run's models and data, each looked at by itself, so that all that is wrong is seen at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lingualign.config import RunConfig
from lingualign.errors import InputError
from lingualign.models import load_tokenizer
from lingualign.pipeline.judging import make_reader
from lingualign.pipeline.rewarding import policy_and_reference, run_reads_reference
from lingualign.pipeline.validate import CheckedRun, describe, validate
from lingualign.prompts import ChatFormat
from lingualign.records import Message
from lingualign.setup.coverage import check_coverage
from lingualign.setup.findings import Finding, size
from lingualign.setup.machine import Machine, check_disk, free_disk
from lingualign.setup.memory import Footprint, footprint
from lingualign.setup.shape import Shape, describe_shape, read_shape, run_shapes
from lingualign.setup.suggest import Room, room_of

CAUSAL = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")  # endings of classes that generate
SLOW_ON_CPU = 500e6  # parameters; above, a run without a GPU takes days
MANY_UNTRANSLATED = 0.2  # of a language's prompts
FULL = 0.9  # of memory or disk: the estimates leave things out
ANSWER = "SentinelAnswer"


def check_run(config: RunConfig, machine: Machine) -> tuple[list[Finding], CheckedRun | None]:
    """All checks of a run; and the run as `validate` has checked it, if it can start.

    Args:
        config: Of the run.
        machine: Where it will run.
    """
    findings = [check_model("policy", config.policy)]
    if findings[0].status != "problem":
        findings.append(check_chat(config))
    findings += [check_reference(config), check_measuring(config), check_disk(config.run_folder)]
    checked: CheckedRun | None = None
    if "problem" not in {finding.status for finding in findings}:
        try:
            checked = validate(config)
        except InputError as error:
            findings.append(Finding("run", "problem", error.message, error.remedy))
    if checked is None:
        return findings, None
    policy, reference = run_shapes(config)
    room = room_of(machine, config.device, config.dtype)
    findings += [
        check_prompts(checked),
        *check_coverage(checked.chat, checked.prompts.heldout, config.source_language),
        check_judge(config, checked.judge),
        check_memory_fits(config, needed_memory(checked, policy, reference, room), room),
        check_disk_fits(checked.disk_bytes, free_disk(config.run_folder)),
        check_device(policy, room),
    ]
    return findings, checked


def check_model(subject: str, spec: str) -> Finding:
    """Whether a model's files are there and whole, and it is one that generates."""

    def look() -> Finding:
        shape = read_shape(spec)
        if not shape.architecture.endswith(CAUSAL):
            return Finding(
                subject,
                "problem",
                f"{spec}: {describe_shape(shape)}: not a causal language model",
                "Give the folder of a model that writes answers.",
            )
        return Finding(subject, "ok", f"{spec}: {describe_shape(shape)}")

    return _tried(subject, look)


def check_chat(config: RunConfig) -> Finding:
    """Whether the chat template renders a conversation, and puts an end token behind an answer."""

    def look() -> Finding:
        tokenizer = load_tokenizer(config.policy, trust_remote_code=config.trust_remote_code)
        chat = ChatFormat(tokenizer, config.base_model_prompts)
        end = tokenizer.convert_ids_to_tokens(chat.end_id)
        if not tokenizer.chat_template:
            return Finding(
                "chat template",
                "warning",
                f"none: prompts are plain text, answers end with {end}",
                "Right for a base model; an instruction-tuned one needs its chat template.",
            )
        if not _writes_end(tokenizer, str(end)):
            return Finding(
                "chat template",
                "warning",
                f"it writes no end token behind an answer; {end}, the tokenizer's EOS, is taken",
                "See whether the model ends its answers with that: else every answer is cut.",
            )
        return Finding("chat template", "ok", f"renders; an answer ends with {end}")

    return _tried("chat template", look)


def _writes_end(tokenizer: Any, end: str) -> bool:
    """Whether the chat template puts the end token behind an answer."""
    conversation = [Message(role="user", content="Question"), Message(role="assistant", content=ANSWER)]
    text = str(tokenizer.apply_chat_template([dict(m) for m in conversation], tokenize=False))
    return end in text.rpartition(ANSWER)[2]


def check_reference(config: RunConfig) -> Finding:
    """Whether the reference is a model that reads the same tokens as the policy, if anything asks for it."""

    def look() -> Finding:
        if not run_reads_reference(config):
            return Finding("reference", "ok", "none: nothing in this run asks for it")
        found = check_model("reference", config.reference)
        if found.status != "problem":
            policy_and_reference(config, True)
            return Finding("reference", "ok", f"{found.found}; the policy's vocabulary")
        return found

    return _tried("reference", look)


def check_measuring(config: RunConfig) -> Finding:
    """Whether the packages and files that measuring names are there: they are needed at the very end."""

    def look() -> Finding:
        make_reader(config, config.languages)
        return Finding("measuring", "ok", f"languages are told by {config.measures.identifier}")

    return _tried("measuring", look, "Install it, or correct the setting under `measures`.")


def check_prompts(checked: CheckedRun) -> Finding:
    """Whether the prompts that are used are what they should be."""
    seen, prompts, config = describe(checked), checked.prompts, checked.config
    found = (
        f"{seen['prompts']} a language to train on, {seen['held_out_prompts']} to measure with, in "
        f"{len(config.languages)} languages"
    )
    number = len({i for used in [*prompts.iterations, prompts.heldout] for i in used.ids})
    alike = {
        code: count for code, count in prompts.untranslated.items() if count > MANY_UNTRANSLATED * number
    }
    if alike:
        worst = max(alike, key=lambda code: alike[code])
        return Finding(
            "prompts",
            "warning",
            f"{found}; {alike[worst]} of {number} in {worst} read as in {config.source_language}",
            f"See whether the file for {worst} is the right one, and translated.",
        )
    if prompts.too_long or prompts.left_out_rows:
        rows = "".join(f", {count} rows {why}" for why, count in prompts.left_out_rows.items())
        return Finding(
            "prompts",
            "warning",
            f"{found}; left out: {prompts.too_long} too long{rows}",
            "data.max_prompt_tokens and sampling.max_new_tokens say what is too long.",
        )
    return Finding("prompts", "ok", found)


def check_judge(config: RunConfig, judge: str) -> Finding:
    """Whether somebody independent says what is better."""
    if judge != "implicit":
        return Finding("judge", "ok", judge)
    if config.policy == config.reference:
        return Finding(
            "judge",
            "warning",
            "implicit, and policy and reference are the same model: every answer gets the same score",
            "Set measures.judge=server or reward-model, or give the reference.",
        )
    return Finding(
        "judge",
        "warning",
        "implicit: the signal that is trained on, not an independent judge",
        "Set measures.judge=server (a language model) or reward-model to know whether answers got better.",
    )


def needed_memory(checked: CheckedRun, policy: Shape, reference: Shape, room: Room) -> Footprint:
    """The memory of a run whose longest prompt gets the longest response."""
    config, chat = checked.config, checked.chat
    longest = max(
        len(chat.prompt_ids(prompt.messages))
        for prompts in checked.prompts.iterations
        for asked in prompts.by_language.values()
        for prompt in asked
    )
    tokens = longest + config.sampling.max_new_tokens
    return footprint(config, policy, reference, room.width, room.cpu, tokens)


def check_memory_fits(config: RunConfig, needs: Footprint, room: Room) -> Finding:
    """Whether the run fits into the memory where it computes."""
    where = "main memory" if room.cpu else "the GPU"
    found = (
        f"up to {size(needs.peak)} while {needs.largest}, with the longest responses; "
        f"{size(room.free)} free in {where}"
    )
    remedies = {
        "sampling": "Lower sampling.batch_tokens.",
        "scoring": "Lower reward.batch_tokens.",
        "training": "Lower training.micro_batch_pairs, set training.gradient_checkpointing=true"
        + ("." if config.training.lora is not None else ", or train an adapter: training.lora.r=16."),
    }
    if needs.peak > room.free:
        return Finding("fits in memory", "problem", found, remedies[needs.largest])
    if needs.peak > FULL * room.free:
        return Finding("fits in memory", "warning", found, remedies[needs.largest])
    return Finding("fits in memory", "ok", found)


def check_disk_fits(needed: int, free: int) -> Finding:
    """Whether the run leaves room on the disk; where it has none, `validate` refuses it before."""
    found = f"at most {size(needed)} to write, {size(free)} free"
    if needed > FULL * free:
        return Finding("fits on disk", "warning", found, "Choose a folder on another disk with output=.")
    return Finding("fits on disk", "ok", found)


def check_device(policy: Shape, room: Room) -> Finding:
    """Whether the model is not too large for a CPU."""
    if room.cpu and policy.parameters > SLOW_ON_CPU:
        return Finding(
            "device",
            "warning",
            f"CPU, for {policy.parameters / 1e9:.1f} billion parameters: this takes days",
            "Use a GPU, or a smaller model; `lingualign doctor --estimate` says how long.",
        )
    return Finding("device", "ok", f"{'CPU' if room.cpu else 'GPU'}, weights of {8 * room.width} bits")


def _tried(subject: str, look: Callable[[], Finding], remedy: str = "Give another folder.") -> Finding:
    """A check whose wrong input is its finding; the remedy is for input that says none."""
    try:
        return look()
    except InputError as error:
        return Finding(subject, "problem", error.message, error.remedy or remedy)
