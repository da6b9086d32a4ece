"""Which prompts a run uses: those of each iteration, and those held out to measure with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from lingualign.config import RunConfig
from lingualign.errors import InputError
from lingualign.pipeline.progress import Reporter
from lingualign.prompts import ChatFormat, ParallelPrompts, Prompt, read_prompts, with_directive
from lingualign.records import Message

LAB = "lab"  # what `prompts` and `measures.prompts` say for the lab's own
LAB_PROMPTS = 800  # prompts a language in an iteration in the lab, where data.limit is not set


@dataclass(frozen=True)
class RunPrompts:
    """The prompts of a run.

    Attributes:
        iterations: Those of each iteration.
        heldout: Those to measure with, none of them in an iteration.
        too_long: Prompts that were left out for their length, in any language.
        missing: Ids that were left out because some language lacks them.
        untranslated: A target language -> how many of the prompts in use read as in the source language.
        left_out_rows: Rows of the prompt files that are no prompts of the run, by the reason.
    """

    iterations: list[ParallelPrompts]
    heldout: ParallelPrompts
    too_long: int
    missing: int
    untranslated: dict[str, int]
    left_out_rows: Mapping[str, int] = field(default_factory=dict)


def prompts_from_lab(config: RunConfig) -> bool:
    """Whether the prompts to train on are the lab's."""
    return config.prompts == LAB


def heldout_from_lab(config: RunConfig) -> bool:
    """Whether the prompts to measure with are the lab's, so that its judge can judge."""
    return (config.measures.prompts or config.prompts) == LAB


def directive_template(config: RunConfig) -> str:
    """The directive that the policy understands: the lab's small models know one sentence."""
    if config.policy.startswith("lab:"):
        from lingualign.lab import DIRECTIVE

        return DIRECTIVE
    from lingualign.prompts.directives import DEFAULT

    return DEFAULT


def scoring_messages(config: RunConfig, prompt: Prompt, source: Prompt) -> tuple[Message, ...]:
    """The longest conversation that a response is scored under: the source's, with its directive."""
    return with_directive(
        source.messages, prompt.language, config.source_language, directive_template(config)
    )


def load_prompts(config: RunConfig, chat: ChatFormat, positions: int | None = None) -> RunPrompts:
    """Reads the prompts of a run, leaves out those that are too long, and sets those to measure with apart.

    Args:
        config: Of the run.
        chat: Of the policy; it counts tokens, and refuses conversations that its chat template cannot render.
        positions: Most tokens that the models take, prompt and response together; None where they do not say.

    Raises:
        InputError: A prompt file is wrong, or has too few prompts.
    """
    room = _prompt_tokens(config, positions)
    training, heldout = _read(config)
    kept = _short_enough(config, chat, training, room)
    held = _short_enough(config, chat, heldout, room)
    too_long = len(training) - len(kept) + len(heldout) - len(held)
    iterations = [_slice(config, kept, iteration) for iteration in range(config.iterations)]
    untranslated = {
        language: len(
            {
                i
                for prompts in [*iterations, held]
                for i in prompts.untranslated(language, config.source_language)
            }
        )
        for language in config.target_languages
    }
    apart = config.measures.prompts is not None and not heldout_from_lab(config)
    sources = [training, heldout] if apart else [training]  # else both are of the same files
    missing = sum(len(source.left_out) for source in sources)
    rows = sum((Counter(source.left_out_rows) for source in sources), Counter[str]())
    return RunPrompts(iterations, held, too_long, missing, untranslated, rows)


def tell_left_out(reporter: Reporter, too_long: int, rows: Mapping[str, int]) -> None:
    """Warns of what prompt files hold and a run does not use; says nothing where it uses all.

    Args:
        reporter: Who is told.
        too_long: Prompts that the model has no room for.
        rows: Rows of the files that are no prompts of the run, by the reason.
    """
    told = [f"{too_long} prompts that are too long"] if too_long else []
    told += [f"{count} rows {reason}" for reason, count in rows.items() if count]
    if told:
        reporter.warn(f"prompts: left out are {', '.join(told)}.")


def all_prompts(config: RunConfig) -> ParallelPrompts:
    """All of a run's prompts, none held out and none left out for its length: for one stage alone."""
    if prompts_from_lab(config):
        return _lab(config, "train", config.data.limit or LAB_PROMPTS)
    return read_prompts(config.prompts, config.languages, config.source_language, config.data)


def short_prompts(
    config: RunConfig, chat: ChatFormat, positions: int | None, reporter: Reporter
) -> ParallelPrompts:
    """Those of `all_prompts` that the model has room for; the reporter is told of the others."""
    return _told(config, chat, all_prompts(config), positions, reporter)


def load_heldout(
    config: RunConfig, chat: ChatFormat, positions: int | None, reporter: Reporter
) -> ParallelPrompts:
    """The prompts to measure with: `measures.prompts`, the lab's, or the last of the run's.

    The reporter is told of those that the model has no room for.
    """
    return _told(config, chat, _read(config)[1], positions, reporter)


def _told(
    config: RunConfig, chat: ChatFormat, found: ParallelPrompts, positions: int | None, reporter: Reporter
) -> ParallelPrompts:
    kept = _short_enough(config, chat, found, _prompt_tokens(config, positions))
    tell_left_out(reporter, len(found) - len(kept), found.left_out_rows)
    return kept


def _read(config: RunConfig) -> tuple[ParallelPrompts, ParallelPrompts]:
    """All prompts to train on and all to measure with, whatever their length."""
    n = config.measures.n
    if prompts_from_lab(config):
        wanted = (config.data.limit or LAB_PROMPTS) * (config.iterations if config.data.fresh else 1)
        training = _lab(config, "train", wanted)
    else:
        training = read_prompts(config.prompts, config.languages, config.source_language, config.data)
    if heldout_from_lab(config):
        return training, _lab(config, "heldout", n)
    if config.measures.prompts is None:
        if len(training) <= n:
            raise InputError(
                f"{config.prompts} has {len(training)} prompts a language, and measures.n={n} are held "
                "out to measure with: none would be left to train on.",
                "Set measures.n lower, or name other prompts to measure with: measures.prompts=PATH.",
            )
        return training.slice(0, -n), training.slice(len(training) - n)
    heldout = read_prompts(
        config.measures.prompts, config.languages, config.source_language, config.data
    ).slice(0, n)
    _check_apart(config, training, heldout)
    return training, heldout


def _lab(config: RunConfig, split: str, n: int) -> ParallelPrompts:
    from lingualign.lab import prompts as lab

    found = lab.prompts("train" if split == "train" else "heldout", n, config.languages)
    if len(found) < n:
        raise InputError(
            f"The lab has {len(found)} {split} prompts, not {n}.",
            "Set data.limit lower." if split == "train" else "Set measures.n lower.",
        )
    return found


def _check_apart(config: RunConfig, training: ParallelPrompts, heldout: ParallelPrompts) -> None:
    """Nobody may measure on what the model was trained on, under whatever id it goes."""

    def contents(prompts: ParallelPrompts) -> Iterator[tuple[str, str]]:
        for prompt in prompts.by_language[config.source_language]:
            yield prompt.id, "\n".join(message["content"] for message in prompt.messages)

    trained = {content: prompt_id for prompt_id, content in contents(training)}
    both = [prompt_id for prompt_id, content in contents(heldout) if content in trained]
    if both:
        raise InputError(
            f"measures.prompts: {len(both)} of its prompts are in {config.prompts} too, {both[0]} for one.",
            "Take them out of one of the two.",
        )


def _prompt_tokens(config: RunConfig, positions: int | None) -> int:
    """Most tokens of a prompt: the setting's, or what the model has room for before the longest response."""
    if positions is None:
        return config.data.max_prompt_tokens
    response = max(config.sampling.max_new_tokens, config.measures.max_new_tokens)
    if response >= positions:
        raise InputError(
            f"sampling.max_new_tokens and measures.max_new_tokens: the models take {positions} tokens, "
            f"and {response} for the response leave none for the prompt.",
            "Set both lower.",
        )
    return min(config.data.max_prompt_tokens, positions - response)


def _short_enough(
    config: RunConfig, chat: ChatFormat, prompts: ParallelPrompts, room: int
) -> ParallelPrompts:
    """The prompts that fit in every language."""
    kept = prompts.select(
        [prompt_id for prompt_id in prompts.ids if _fits(config, chat, prompts, prompt_id, room)]
    )
    if not len(kept):
        raise InputError(
            f"prompts: every one of {len(prompts)} has more than {room} tokens in some language.",
            "Raise data.max_prompt_tokens, or lower sampling.max_new_tokens to leave the model room.",
        )
    return kept


def _fits(config: RunConfig, chat: ChatFormat, prompts: ParallelPrompts, prompt_id: str, room: int) -> bool:
    """Whether a prompt is short enough in every language, with and without a directive."""
    source = prompts.get(prompt_id, config.source_language)
    conversations = [prompts.get(prompt_id, language).messages for language in config.languages]
    conversations += [
        scoring_messages(config, prompts.get(prompt_id, language), source)
        for language in config.target_languages
    ]
    try:
        return all(len(chat.prompt_ids(messages)) <= room for messages in conversations)
    except InputError as error:
        raise InputError(f"Prompt {prompt_id}: {error.message}", error.remedy) from None


def _slice(config: RunConfig, prompts: ParallelPrompts, iteration: int) -> ParallelPrompts:
    """The prompts of one iteration, counted from 0."""
    limit = config.data.limit or (LAB_PROMPTS if prompts_from_lab(config) else None)
    if not config.data.fresh:
        return prompts.slice(0, limit)
    if limit is None:
        raise InputError("data.fresh needs data.limit.", "Set data.limit to the prompts of one iteration.")
    if len(prompts) < limit * config.iterations:
        raise InputError(
            f"prompts: {len(prompts)} are left to train on, and data.fresh with data.limit={limit} needs "
            f"{limit * config.iterations} for {config.iterations} iterations.",
            "Set data.limit or iterations lower, or leave data.fresh off.",
        )
    return prompts.slice(iteration * limit, (iteration + 1) * limit)
