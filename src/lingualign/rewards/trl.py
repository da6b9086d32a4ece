"""Rewards as TRL's online trainers call them: `f(prompts, completions, **columns) -> list[float | None]`.

TRL hands over one batch of completions, of several prompts, cut across processes as it likes. So a reward is
one here that is defined for a response on its own: every completion is scored alone, and what else is in the
batch changes nothing. What a reward reads beside prompt and completion comes from columns of the data set:

====================  ==================================================================================
`language`            BCP-47 code of the language that the answer should be in
`source_prompt`       the same prompt in the source language: text, or a list of messages
`prompt_id`           the prompt's id, to look the source prompt up in parallel prompts
`source_responses`    answers to the same prompt in the source language: a list of texts
====================  ==================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from lingualign.errors import InputError
from lingualign.prompts import ParallelPrompts, Prompt
from lingualign.records import Message, Response
from lingualign.rewards.base import Candidates, Reward

RewardFunction = Callable[..., list[float | None]]

UNKNOWN = "und"  # BCP-47 for a language that nobody has named


def trl_reward(
    reward: Reward,
    *,
    source_language: str = "en",
    language: str | None = None,
    parallel_prompts: ParallelPrompts | None = None,
    stop_ids: Collection[int] | None = None,
    name: str | None = None,
) -> RewardFunction:
    """Makes a reward function for TRL's GRPOTrainer, RLOOTrainer and others that call theirs alike.

    The implicit reward reads the prompt in the source language: from the column `source_prompt`, or by the
    column `prompt_id` from `parallel_prompts`. Under the contexts `source-directive` and `translated` it
    reads the column `language` too; under `target` it needs no column. A reward model needs none. Consistency
    and translation compare with the column `source_responses`, votes asks it for the answer.

    A prompt or completion that is plain text is taken as one message, so standard and conversational data
    sets work alike. A completion of several messages, with calls of tools among them, has no reward (None).

    Args:
        reward: Any reward of the package or of your own that looks at one response at a time. Its models are
            not those that TRL trains: load them apart, or the reward moves with the policy.
        source_language: The well-aligned language.
        language: The language of all prompts, where there is no column `language`.
        parallel_prompts: Where prompts in the source language are looked up by id.
        stop_ids: Tokens that end a completion. A completion is finished where its last id is one of them and
            cut where it is not; the implicit reward scores the end token of finished ones. Unset: the stop
            tokens of the implicit reward's policy, which must then have the vocabulary of the model that is
            trained. Without `completion_ids`, which TRL gives, every completion counts as finished.
        name: Under which TRL logs it. Unset: the reward's own.

    Returns:
        The function. None for a completion that the reward has nothing to say of, which TRL leaves out.

    Raises:
        InputError: The reward compares the responses to a prompt with each other. And, when it is called: a
            column is missing or holds what cannot be read; the message names it.

    Example:
        >>> chat = ChatFormat(load_tokenizer("./policy"))
        >>> reward = ImplicitReward(load_model("./policy"), load_model("./sft"), chat)
        >>> GRPOTrainer("./policy", reward_funcs=trl_reward(reward), train_dataset=dataset, args=args)
    """
    alone = getattr(reward, "alone", "always")
    if alone == "never":
        raise InputError(
            f"The reward {reward.name} needs all responses to a prompt at once; TRL's completions are scored "
            "one at a time.",
            "Take implicit, reward-model, language, translation, votes, or consistency without `answers` and "
            "`shift`.",
        )
    needed: Sequence[str] = getattr(reward, "columns", ())
    silent_in = source_language if alone == "targets" else None
    stops = None if stop_ids is None else frozenset(stop_ids)

    def function(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        nonlocal stops
        ids = columns.get("completion_ids")
        if stops is None and ids is not None:
            stops = reward.stop_ids() if hasattr(reward, "stop_ids") else None
        _check_columns(reward, needed, columns, language, parallel_prompts)
        rewards: list[float | None] = [None] * len(completions)
        places, batch = [], []
        for place, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
            text = _text(completion)
            row = {name: columns[name][place] for name in COLUMNS if columns.get(name) is not None}
            if row.get("language") is None:
                row["language"] = language or UNKNOWN
            if text is not None and row["language"] != silent_in:
                row_ids = None if ids is None else ids[place]
                response = _response(row, text, row_ids, stops)
                batch.append(_candidates(needed, prompt, response, row, source_language, parallel_prompts))
                places.append(place)
        for place, (score,) in zip(places, reward.score(batch), strict=True):
            rewards[place] = score["reward"]
        return rewards

    function.__name__ = name or reward.name.replace("-", "_")
    return function


COLUMNS = ("language", "source_prompt", "prompt_id", "source_responses")


def _check_columns(
    reward: Reward,
    needed: Sequence[str],
    columns: Mapping[str, Any],
    language: str | None,
    parallel_prompts: ParallelPrompts | None,
) -> None:
    for name in needed:
        looked_up = name == "source_prompt" and parallel_prompts is not None
        column = "prompt_id" if looked_up and "source_prompt" not in columns else name
        if column not in columns and not (column == "language" and language is not None):
            raise InputError(
                f"The reward {reward.name} reads the column {column!r}, which the data set does not have.",
                REMEDIES[column],
            )


REMEDIES = {
    "language": "Add it, with the BCP-47 code of every prompt, or give trl_reward(..., language=CODE).",
    "source_prompt": "Add it, with every prompt in the source language, or give trl_reward(..., "
    "parallel_prompts=...) and a column 'prompt_id'.",
    "prompt_id": "Add it, with the id of every prompt.",
    "source_responses": "Add it, with a list of answers in the source language to every prompt.",
}


def _response(
    row: Mapping[str, Any], text: str, ids: Sequence[int] | None, stops: Collection[int] | None
) -> Response:
    # The end is not looked for where no tokens are given, nor for rewards that do not ask for it.
    told = ids is not None and stops is not None
    finished = not told or (len(ids) > 0 and ids[-1] in stops)  # type: ignore[arg-type, index, operator]
    return Response(
        prompt_id=str(row.get("prompt_id", "")),
        language=row["language"],
        index=0,
        text=text,
        finish_reason="stop" if finished else "length",
        num_tokens=len(ids or ()) - (told and finished),
    )


def _candidates(
    needed: Sequence[str],
    prompt: Any,
    response: Response,
    row: Mapping[str, Any],
    source_language: str,
    parallel_prompts: ParallelPrompts | None,
) -> Candidates:
    """One completion as all that was answered to its prompt."""
    prompt_id, language = response["prompt_id"], response["language"]
    asked = Prompt(prompt_id, language, _messages(prompt, "prompt"))
    if language == source_language:
        source = asked
    elif row.get("source_prompt") is not None:
        source = Prompt(prompt_id, source_language, _messages(row["source_prompt"], "source_prompt"))
    elif parallel_prompts is not None and "prompt_id" in row:
        source = _look_up(parallel_prompts, prompt_id, source_language)
    elif "source_prompt" in needed:
        raise InputError(f"Column 'source_prompt' is empty for a prompt in {language}.")
    else:  # the reward asks for no more than the language
        source = Prompt(prompt_id, source_language, asked.messages)
    parallel = {}
    if row.get("source_responses") is not None:
        parallel[source_language] = [
            Response(
                prompt_id=prompt_id,
                language=source_language,
                index=index,
                text=text,
                finish_reason="stop",
                num_tokens=0,  # nobody sampled it
            )
            for index, text in enumerate(row["source_responses"])
        ]
    return Candidates(asked, source, [response], parallel)


def _look_up(prompts: ParallelPrompts, prompt_id: str, language: str) -> Prompt:
    try:
        return prompts.get(prompt_id, language)
    except KeyError:
        raise InputError(
            f"Column 'prompt_id': {prompt_id!r} is not among the parallel prompts in {language}.",
            "Give the prompts that the data set was made from.",
        ) from None


def _messages(value: Any, column: str) -> tuple[Message, ...]:
    """A prompt as messages; plain text is what the user says."""
    if isinstance(value, str):
        return (Message(role="user", content=value),)
    messages = []
    for message in value:
        content = _content(message)
        if content is None:
            raise InputError(f"Column {column!r} has a message whose content is not text.")
        messages.append(Message(role=message["role"], content=content))
    return tuple(messages)


def _text(completion: Any) -> str | None:
    """The text of a completion; None where it is more than one message or not text."""
    if isinstance(completion, str):
        return completion
    return _content(completion[0]) if len(completion) == 1 else None


def _content(message: Mapping[str, Any]) -> str | None:
    content = message.get("content")
    if isinstance(content, list) and all(part.get("type") == "text" for part in content):
        return "".join(part["text"] for part in content)
    return content if isinstance(content, str) else None
