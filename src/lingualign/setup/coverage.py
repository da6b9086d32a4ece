"""How well a tokenizer knows the languages of a run.

The same prompts are counted in every language. Where a language takes many times the tokens of the source
language, answers are cut early, cost more, and the model has seen little of it (Petrov et al. 2023, arXiv
2305.15425).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from lingualign.setup.findings import Finding

if TYPE_CHECKING:
    from lingualign.prompts import ChatFormat, ParallelPrompts

SAMPLE = 200  # prompts a language
HIGH_PREMIUM = 3.0  # tokens for each token that the source language takes
MANY_PIECES = 0.3  # of the tokens are no whole character
MANY_UNKNOWN = 0.001  # of the tokens stand for what the tokenizer cannot write


@dataclass(frozen=True)
class Coverage:
    """What a tokenizer makes of some texts.

    Attributes:
        characters: Of the texts.
        tokens: Of the texts.
        pieces: Of the tokens, those that hold a part of a character (bytes).
        unknown: Of the tokens, those that stand for something the vocabulary does not have.
        changed: Of the texts, those that do not come back from their tokens, but for spaces at the ends.
        texts: How many.
    """

    characters: int
    tokens: int
    pieces: int
    unknown: int
    changed: int
    texts: int


def measure_coverage(chat: ChatFormat, texts: list[str]) -> Coverage:
    """Encodes and decodes texts as responses are."""
    tokenizer = chat.tokenizer

    @cache
    def is_piece(token: int) -> bool:
        return "\ufffd" in tokenizer.decode([token], clean_up_tokenization_spaces=False)

    ids = [chat.response_ids(text, finished=False) for text in texts]
    unknown = tokenizer.unk_token_id
    return Coverage(
        characters=sum(map(len, texts)),
        tokens=sum(map(len, ids)),
        pieces=sum(is_piece(token) for tokens in ids for token in tokens),
        unknown=sum(tokens.count(unknown) for tokens in ids) if unknown is not None else 0,
        changed=sum(
            chat.decode(tokens).strip() != text.strip() for tokens, text in zip(ids, texts, strict=True)
        ),
        texts=len(texts),
    )


def check_coverage(chat: ChatFormat, prompts: ParallelPrompts, source_language: str) -> list[Finding]:
    """A finding for each language, from its held-out prompts."""
    found = {
        language: measure_coverage(
            chat, [message["content"] for prompt in asked[:SAMPLE] for message in prompt.messages]
        )
        for language, asked in prompts.by_language.items()
    }
    return [check_language(language, found[language], found[source_language]) for language in found]


def check_language(language: str, found: Coverage, source: Coverage) -> Finding:
    """Whether a tokenizer writes a language, and at what price."""
    premium = found.tokens / max(1, source.tokens)
    text = (
        f"{found.tokens / max(1, found.characters):.2f} tokens a character, {premium:.1f} times the tokens "
        f"of the source language"
    )
    subject = f"tokens of {language}"
    if found.unknown > MANY_UNKNOWN * found.tokens:
        return Finding(
            subject,
            "problem",
            f"{text}; {found.unknown / found.tokens:.1%} are unknown: the model cannot write them",
            f"Take {language} out of `languages`, or use a model whose tokenizer has its letters.",
        )
    if found.changed:
        return Finding(
            subject,
            "warning",
            f"{text}; {found.changed} of {found.texts} texts do not come back from their tokens unchanged",
            "Scores are of the text as the tokenizer gives it back: look at what it changes.",
        )
    if found.pieces > MANY_PIECES * found.tokens:
        return Finding(
            subject,
            "warning",
            f"{text}; {found.pieces / found.tokens:.0%} are parts of a character",
            "The tokenizer hardly knows the script: expect slow sampling and broken characters.",
        )
    if premium > HIGH_PREMIUM:
        return Finding(
            subject,
            "warning",
            text,
            "Responses are cut early: raise sampling.max_new_tokens and measures.max_new_tokens.",
        )
    return Finding(subject, "ok", text)
