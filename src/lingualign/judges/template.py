"""The wording of a judge's prompt: text with fields, ours or a user's file."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from lingualign.errors import InputError
from lingualign.records import Message

_TURN = re.compile(r"<\|im_start\|>(\w+)\n(.*?)<\|im_end\|>", re.DOTALL)
_FIELD = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Template:
    """A conversation with `{fields}` in it.

    Attributes:
        turns: Role and wording of each message.
    """

    turns: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, text: str, required: Collection[str], place: str = "The judge's template") -> Template:
        """Reads a template.

        Args:
            text: The user's message; or several messages, each between `<|im_start|>ROLE` and `<|im_end|>`,
                which is how alpaca_eval writes its templates, so that those can be used as they are.
            required: Fields that have to be there.
            place: Where the text stands, for errors.

        Raises:
            InputError: A field is missing.
        """
        turns = tuple((role, wording.strip()) for role, wording in _TURN.findall(text))
        template = cls(turns or (("user", text.strip()),))
        missing = sorted(set(required) - template.fields)
        if missing:
            names = " and ".join(f"{{{name}}}" for name in missing)
            raise InputError(f"{place} has no {names}.", f"Put {names} where the text belongs.")
        return template

    @classmethod
    def read(cls, path: Path, required: Collection[str]) -> Template:
        """Reads a template from a file; see `parse`.

        Raises:
            InputError: The file cannot be read, or a field is missing.
        """
        return cls.parse(read_text(path), required, str(path))

    @property
    def fields(self) -> set[str]:
        """Names of the fields in it."""
        return {name for _, wording in self.turns for name in _FIELD.findall(wording)}

    def messages(self, **values: str) -> list[Message]:
        """The conversation with the fields filled in; other braces stay, also those in the values."""

        def value(match: re.Match[str]) -> str:
            return values.get(match[1], match[0])

        return [Message(role=role, content=_FIELD.sub(value, wording)) for role, wording in self.turns]


def read_text(path: Path) -> str:
    """Reads a file that a user wrote.

    Raises:
        InputError: There is none, or it is not UTF-8 text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8 text.", "Convert the file to UTF-8.") from None
