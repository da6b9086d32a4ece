r"""Selective translation: code, formulas and markup are kept out of the translator's reach.

They are replaced by placeholders, the rest is translated, and they are put back. A translation that does not
have every placeholder exactly once, in any order, is thrown away.

After LLM-based selective translation (https://arxiv.org/abs/2507.14304), which asks a language model to leave
such parts alone. Placeholders, so that any translator will do, and the retry with others are ours.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from lingualign.translation.base import Translator

SPELLINGS = ("<<{}>>", "[{}]", "⟦{}⟧")
"""How placeholders are written, in the order in which they are tried."""

# Leftmost wins, then the first of this list.
_KEPT = (
    r"```.*?(?:```|\Z)",  # a code fence; one that is not closed goes on to the end
    r"``[^\n]+?``|`[^`\n]+`",  # inline code
    # LaTeX, from the last of several openings: from each of them to the end, time would be quadratic.
    r"\$\$.+?\$\$|\\\[(?:(?!\\\[).)+?\\\]|\\\((?:(?!\\\().)+?\\\)",
    # A price is no formula: Pandoc's rule. No blank inside at the dollars, no digit after the second.
    r"(?<!\\)\$(?!\s)[^$\n]+(?<![\s\\])\$(?!\d)",
    # Links, without punctuation at their end; the range holds the scripts that put no blank behind a link.
    r"https?://[^\s<>\"'`\u2e80-\uffef]*[^\s<>\"'`\u2e80-\uffef.,;:!?)\]}*]",
    r"<!--(?:(?!<!--).)*?-->|</?[A-Za-z][^<>]*>",  # HTML and XML
)
_JSON_KEY = r"(?P<before>[{,\n][ \t]*)\"(?:\\.|[^\"\\\n])*\"(?=\s*:)"


@cache
def _placeholder(spelling: str) -> re.Pattern[str]:
    before, after = map(re.escape, spelling.split("{}"))
    return re.compile(rf"{before}\s*(\d{{1,6}})\s*{after}")  # translators put blanks there


@cache
def _kept(spelling: str) -> re.Pattern[str]:
    # What looks like a placeholder and is none is masked itself.
    literal = _placeholder(spelling).pattern
    return re.compile("|".join((*_KEPT, _JSON_KEY, literal)), re.DOTALL)


def mask(text: str, spelling: str = SPELLINGS[0]) -> tuple[str, list[str]]:
    r"""Replaces what must not be translated by numbered placeholders.

    That is code fences, inline code, LaTeX, links, HTML and XML tags, and keys of JSON.

    Args:
        text: A response.
        spelling: A placeholder, with `{}` where its number goes.

    Returns:
        The text with placeholders, and what they stand for, by number.

    Example:
        >>> mask("Run `pip install x` and solve $a+b$.")
        ('Run <<0>> and solve <<1>>.', ['`pip install x`', '$a+b$'])
    """
    kept: list[str] = []

    def replace(match: re.Match[str]) -> str:
        before = match["before"] or ""
        kept.append(match[0].removeprefix(before))
        return before + spelling.format(len(kept) - 1)

    return _kept(spelling).sub(replace, text), kept


def unmask(text: str, kept: Sequence[str], spelling: str = SPELLINGS[0]) -> str | None:
    """Puts back what placeholders stand for.

    Args:
        text: A translation of what `mask` returned.
        kept: What the placeholders stand for, by number.
        spelling: As for `mask`.

    Returns:
        None unless every placeholder occurs exactly once, and no other.
    """
    pattern = _placeholder(spelling)
    found = sorted(int(number) for number in pattern.findall(text))
    if found != list(range(len(kept))):
        return None
    return pattern.sub(lambda match: kept[int(match[1])], text)


class MaskingTranslator:
    """Translates what is left when code, formulas and markup are masked.

    A text that comes back without one of its placeholders, or not at all, is tried again with placeholders of
    another spelling: a translator that decodes greedily would fail on the same input in the same way. A text
    in which nothing is masked has one try, and one without letters to translate is its own translation.

    Args:
        inner: Any translator.
        attempts: Tries a text, each with its own spelling.

    Raises:
        ValueError: There are fewer spellings than attempts.
    """

    def __init__(self, inner: Translator, attempts: int = 2) -> None:
        if not 1 <= attempts <= len(SPELLINGS):
            raise ValueError(f"attempts: from 1 to {len(SPELLINGS)}, not {attempts}")
        self.inner = inner
        self.spellings = SPELLINGS[:attempts]

    @property
    def name(self) -> str:
        """That of the translator behind it."""
        return self.inner.name

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str | None]:
        """See `Translator.translate`."""
        results: list[str | None] = list(texts)
        todo = list(range(len(texts)))
        for attempt, spelling in enumerate(self.spellings):
            masked = {place: mask(texts[place], spelling) for place in todo}
            todo = [
                place
                for place, (text, kept) in masked.items()
                if _has_letters(text) and (kept or attempt == 0)
            ]
            translations = self.inner.translate([masked[place][0] for place in todo], source, target)
            for place, translation in zip(todo, translations, strict=True):
                kept = masked[place][1]
                results[place] = None if translation is None else unmask(translation, kept, spelling)
            todo = [place for place in todo if results[place] is None]
        return results


def _has_letters(text: str) -> bool:
    return any(map(str.isalpha, text))
