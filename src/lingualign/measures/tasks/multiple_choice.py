"""Multiple choice by log-likelihood: which answer does a language model find likeliest?

Every choice of a question is scored as a continuation of its context, by the rules of lm-evaluation-harness
0.4.13 (`Task.construct_requests` and `process_results`, `TemplateLM._encode_pair`,
`HFLM._loglikelihood_tokens`; https://github.com/EleutherAI/lm-evaluation-harness). So its numbers come out on
a machine without it, from a local file, with the log-probabilities of `lingualign.logprobs`.

- The continuation of a context is a delimiter and the choice. White space at the end of the context is moved
  to the continuation; both are encoded together, once, and cut behind the tokens of the context alone.
- A text behind an empty context is encoded without special tokens, behind the BOS token (the EOS token, where
  there is no BOS). So is a text that begins with that token: a chat template has written it already.
- A sequence longer than the model's context, counted without its last token, loses its first tokens.
- Of choices with equal values the first wins.

A question is right under

    acc              argmax_i  log p(c_i | x)
    acc_norm         argmax_i  log p(c_i | x) / characters of c_i
    acc_bytes        argmax_i  log p(c_i | x) / UTF-8 bytes of c_i
    acc_mutual_info  argmax_i  log p(c_i | x) - log p(c_i)

where c_i is with the delimiter in probabilities and without it in lengths. Choices that mix scripts have
lengths that compare better in bytes than in characters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lingualign.errors import InputError
from lingualign.prompts.files import Row, read_rows

if TYPE_CHECKING:
    from torch import nn

    from lingualign.logprobs import ScoredSequence

METRICS = ("acc", "acc_norm", "acc_bytes", "acc_mutual_info")
DELIMITER = " "  # between context and choice; "" where the context is a rendered chat
EXAMPLE_DELIMITER = "\n\n"  # behind each example of a few-shot context
DEFAULT_CONTEXT = 2048  # tokens, of a model and tokenizer that do not say how many they take
CONTEXT_NAMES = ("n_positions", "max_position_embeddings", "n_ctx")
NO_LENGTH = 10**29  # a tokenizer's `model_max_length` above this is Transformers' way to say that none is set


@dataclass(frozen=True)
class Question:
    """One item.

    Attributes:
        context: What stands before a choice, as the model reads it.
        choices: Two or more, none empty.
        answer: Index of the right one.
    """

    context: str
    choices: tuple[str, ...]
    answer: int


@dataclass(frozen=True)
class Answers:
    """A model's log-likelihoods of all choices of some questions, in nats.

    Attributes:
        conditional: Of each question's choices behind its context.
        unconditional: Of the same choices behind nothing; None where nobody asked.
    """

    conditional: list[list[float]]
    unconditional: list[list[float]] | None = None


def answer_questions(
    model: nn.Module,
    tokenizer: Any,
    questions: Sequence[Question],
    *,
    delimiter: str = DELIMITER,
    mutual_information: bool = False,
    max_length: int | None = None,
    batch_tokens: int = 16384,
) -> Answers:
    """Scores all choices of some questions.

    Args:
        model: A causal language model in eval mode.
        tokenizer: Of the model.
        questions: One or more.
        delimiter: Between context and choice.
        mutual_information: Also score the choices behind nothing, for acc_mutual_info.
        max_length: Most tokens that the model reads; by default `context_length`.
        batch_tokens: Most tokens in one forward pass.

    Raises:
        InputError: A continuation has no token of its own, or is longer than the model's context.

    Example:
        >>> answers = answer_questions(model, tokenizer, read_questions(Path("sw.jsonl")))
        >>> np.mean(outcomes(questions, answers)["acc_bytes"])
    """
    contexts = [question.context for question in questions for _ in question.choices]
    continuations = [delimiter + choice for question in questions for choice in question.choices]

    def score(contexts: Sequence[str]) -> list[list[float]]:
        requests = list(zip(contexts, continuations, strict=True))
        values = iter(log_likelihoods(model, tokenizer, requests, max_length, batch_tokens).tolist())
        return [[next(values) for _ in question.choices] for question in questions]

    return Answers(score(contexts), score([""] * len(contexts)) if mutual_information else None)


def outcomes(questions: Sequence[Question], answers: Answers) -> dict[str, list[float]]:
    """Whether each question is right, 1 or 0, under each metric.

    Returns:
        The metrics `acc`, `acc_norm`, `acc_bytes`, and `acc_mutual_info` where choices were scored behind
        nothing too; a value a question. A mean is an accuracy, `lingualign.measures.intervals.exact_share`
        gives its interval, and `compare_paired` compares two models.

    Example:
        >>> found = outcomes([Question("x", ("long answer", "no"), 1)], Answers([[-4.0, -1.0]]))
        >>> found["acc"], found["acc_norm"]
        ([1.0], [0.0])
    """
    found: dict[str, list[float]] = {}
    for place, question in enumerate(questions):
        unconditional = None if answers.unconditional is None else answers.unconditional[place]
        for metric, values in choice_values(question, answers.conditional[place], unconditional).items():
            found.setdefault(metric, []).append(float(np.argmax(values) == question.answer))
    return found


def choice_values(
    question: Question, conditional: Sequence[float], unconditional: Sequence[float] | None = None
) -> dict[str, np.ndarray]:
    """What each metric ranks the choices of a question by.

    Args:
        question: For the lengths of its choices.
        conditional: Log-likelihood of each choice behind the context, in nats.
        unconditional: Of each choice behind nothing.
    """
    likelihoods = np.asarray(conditional, dtype=np.float64)
    values = {
        "acc": likelihoods,
        "acc_norm": likelihoods / [len(choice) for choice in question.choices],
        "acc_bytes": likelihoods / [len(choice.encode()) for choice in question.choices],
    }
    if unconditional is not None:
        values["acc_mutual_info"] = likelihoods - np.asarray(unconditional)
    return values


def log_likelihoods(
    model: nn.Module,
    tokenizer: Any,
    requests: Sequence[tuple[str, str]],
    max_length: int | None = None,
    batch_tokens: int = 16384,
) -> np.ndarray:
    """Log-likelihoods of continuations behind contexts.

    Args:
        model: A causal language model in eval mode.
        tokenizer: Of the model.
        requests: Pairs of context and continuation.
        max_length: Most tokens that the model reads; by default `context_length`.
        batch_tokens: Most tokens in one forward pass.

    Returns:
        float64 [requests], in nats.

    Raises:
        InputError: A continuation has no token of its own, or is longer than the model's context.
    """
    from lingualign.logprobs import sequence_logprobs

    longest = context_length(model, tokenizer) if max_length is None else max_length
    sequences = [encode_request(tokenizer, *request, longest) for request in requests]
    return sequence_logprobs(model, sequences, batch_tokens)


def encode_request(tokenizer: Any, context: str, continuation: str, max_length: int) -> ScoredSequence:
    """The tokens of a context and of its continuation.

    Args:
        tokenizer: Of the model.
        context: May be empty.
        continuation: What is scored.
        max_length: Most tokens that the model reads; the last token is scored and not read.

    Raises:
        InputError: The context or the continuation has no token of its own, or the continuation is longer
            than `max_length`.
    """
    from lingualign.logprobs import ScoredSequence

    first = _first_token(tokenizer)
    if context:
        text = context.rstrip()
        whole = _encode(tokenizer, context + continuation, first)
        cut = len(_encode(tokenizer, text, first))
    else:
        whole, cut = tokenizer.encode(continuation, add_special_tokens=False), 1
        if whole[:1] != [first]:
            whole = [first, *whole]
    scored = len(whole) - cut
    if cut == 0 or not 0 < scored <= max_length:
        problem = (
            "the context has no token of its own"
            if cut == 0
            else f"the continuation has {max(0, scored)} tokens of its own, the model reads {max_length}"
        )
        raise InputError(
            f"{context[-40:]!r} + {continuation[:40]!r}: {problem}.",
            "Every choice needs at least one token behind its context, and room in the model's context.",
        )
    kept = whole[-(max_length + 1) :]
    return ScoredSequence(kept[:-scored], kept[-scored:])


def _first_token(tokenizer: Any) -> int:
    """The token that an empty context is replaced by."""
    return int(tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id)


def _encode(tokenizer: Any, text: str, first: int) -> list[int]:
    if text.startswith(tokenizer.decode(first)):
        return list(tokenizer.encode(text, add_special_tokens=False))
    return list(tokenizer.encode(text))


def context_length(model: nn.Module, tokenizer: Any) -> int:
    """Most tokens that a model reads: from its configuration, else its tokenizer, else 2048."""
    from lingualign.logprobs.head import text_config

    config = text_config(model)
    for name in CONTEXT_NAMES:
        if getattr(config, name, None) is not None:
            return int(getattr(config, name))
    stated = getattr(tokenizer, "model_max_length", None)
    return DEFAULT_CONTEXT if stated is None or stated > NO_LENGTH else int(stated)


def with_examples(
    questions: Sequence[Question], examples: Sequence[Question], delimiter: str = DELIMITER
) -> list[Question]:
    """Few-shot questions: solved examples before each context, the same for all.

    Args:
        questions: To be answered.
        examples: Other questions, in the order they stand in.
        delimiter: Between an example's context and its answer.
    """
    shown = "".join(
        f"{example.context}{delimiter}{example.choices[example.answer]}{EXAMPLE_DELIMITER}"
        for example in examples
    )
    return [Question(shown + question.context, question.choices, question.answer) for question in questions]


def read_questions(path: Path) -> list[Question]:
    """Reads rows with `context` (or `question`), `choices` and `answer`.

    The answer is the index of the right choice, or its text.

    Args:
        path: A file of any kind that prompts may have.

    Raises:
        InputError: The file is wrong, or a row lacks a field.
    """
    return [_question(row) for row in read_rows(path)]


def text_field(row: Row) -> str:
    """The name of the field that a row's context stands in."""
    return "context" if "context" in row.fields else "question"


def _question(row: Row) -> Question:
    context, choices, answer = (row.fields.get(name) for name in (text_field(row), "choices", "answer"))
    if not isinstance(context, str):
        raise _wrong(row, "context", "is not text")
    if not (
        isinstance(choices, list) and len(choices) > 1 and all(isinstance(c, str) and c for c in choices)
    ):
        raise _wrong(row, "choices", "is not a list of two or more texts")
    if isinstance(answer, str) and answer in choices:
        answer = choices.index(answer)
    if not isinstance(answer, int) or isinstance(answer, bool) or not 0 <= answer < len(choices):
        raise _wrong(row, "answer", "is neither the index of a choice nor its text")
    return Question(context, tuple(choices), answer)


def _wrong(row: Row, field: str, problem: str) -> InputError:
    return InputError(
        f"{row.place}: field {field!r} {problem}.",
        "Give rows with context (or question), choices, and answer: an index from 0, or a choice's text.",
    )
