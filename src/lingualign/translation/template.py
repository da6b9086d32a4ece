"""How a language model is asked for a translation, and how its answer is read.

LIDR asks for the translation of the text between <sentence> tags, to be written between <translated> tags,
puts the opening tag there before the model writes, and gives a text up that comes back without the closing
tag: https://arxiv.org/abs/2410.08964. The wording below is ours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lingualign.errors import InputError
from lingualign.languages import resolve
from lingualign.records import Message

TAGGED = (
    "Translate the text between the <sentence> tags into {language}. Write the translation between "
    "<translated> and </translated>, and nothing else.\n\n<sentence>{text}</sentence>"
)
"""Default template, for instruction-tuned models."""

OPENING, CLOSING = "<translated>", "</translated>"
_FIELD = re.compile(r"\{(language|text)\}")


@dataclass(frozen=True)
class Template:
    """A translation prompt with `{language}` and `{text}` in it.

    Where it speaks of <translated>, the answer has to have the tags, and what stands between them is the
    translation. Any other template is for a model that was trained to answer it with the translation alone.

    Attributes:
        wording: The prompt. `{language}` stands for the English name of the language to translate to.

    Raises:
        InputError: The wording lacks one of the two fields.
    """

    wording: str = TAGGED

    def __post_init__(self) -> None:
        missing = {"language", "text"} - set(_FIELD.findall(self.wording))
        if missing:
            fields = " and ".join(f"{{{name}}}" for name in sorted(missing))
            raise InputError(
                f"The translation template {self.wording!r} has no {fields}.", f"Put {fields} into it."
            )

    @property
    def opening(self) -> str:
        """What stands before the translation in an answer."""
        return OPENING if OPENING in self.wording else ""

    @property
    def closing(self) -> str:
        """What stands behind the translation in an answer."""
        return CLOSING if self.opening else ""

    def messages(self, text: str, target: str) -> tuple[Message, ...]:
        """The conversation that asks for a text in a language, by its BCP-47 code."""
        fields = {"language": resolve(target).name, "text": text}
        content = _FIELD.sub(lambda match: fields[match[1]], self.wording)
        return (Message(role="user", content=content),)

    def read(self, answer: str, finished: bool) -> str | None:
        """The translation in an answer, without whitespace around it.

        Args:
            answer: What the model wrote, the opening tag that it was given included.
            finished: The model ended it, and no limit of length did.

        Returns:
            None where there is none: a tag is missing, the answer was cut before the translation ended, or
            nothing stands there.
        """
        if self.opening:
            before, closed, _ = answer.partition(self.closing)
            _, opened, answer = before.rpartition(self.opening)
            finished = bool(closed and opened)
        return (answer.strip() or None) if finished else None
