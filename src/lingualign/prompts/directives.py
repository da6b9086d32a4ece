"""The sentence that asks for a language.

ICR (https://arxiv.org/abs/2503.04647) scores a response in another language under the source-language
instruction. Without a word about the language, that context says "answer in English", and the log-ratio would
hold it against every response that it is not. The directive removes this.
"""

from __future__ import annotations

from collections.abc import Sequence

from lingualign.errors import InputError
from lingualign.languages import resolve
from lingualign.records import Message

DEFAULT = "Respond to the instruction below in {language} only, unless it calls for another language itself."
"""Template of the directive; `{language}` stands for the language's English name."""


def directive(language: str, template: str = DEFAULT) -> str:
    """The sentence that asks for a response in a language.

    Args:
        language: BCP-47 code.
        template: Sentence with `{language}` in it.

    Raises:
        InputError: The code is unknown, or the template has no `{language}`.
    """
    if "{language}" not in template:
        raise InputError(
            f"The directive {template!r} does not say where the language's name goes.",
            "Put {language} into it.",
        )
    return template.replace("{language}", resolve(language).name)


def with_directive(
    messages: Sequence[Message], language: str, source_language: str, template: str = DEFAULT
) -> tuple[Message, ...]:
    """The messages with a directive and an empty line before the content of the last user message.

    Args:
        messages: A conversation in the source language.
        language: The language to ask for. The source language is what the model answers in anyway: nothing is
            put before the message then.
        source_language: The language that the messages are written in.
        template: As for `directive`.
    """
    if language == source_language:
        return tuple(messages)
    last = max(index for index, message in enumerate(messages) if message["role"] == "user")
    asked = Message(role="user", content=f"{directive(language, template)}\n\n{messages[last]['content']}")
    return (*messages[:last], asked, *messages[last + 1 :])
