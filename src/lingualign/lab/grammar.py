"""Sentences of the world in each language, both ways: from meaning to text and from text to meaning.

A `Sentence` is a meaning. One template a language (`grammar/*.yaml`) renders it and, compiled to a regular
expression, parses it, so that rendering, judging and translating can never disagree.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import resources
from typing import Any

import yaml

LANGUAGES = ("en", "de", "es", "sw", "zh")

Value = str | int | tuple[str | int, ...]

SLOT = re.compile(r"\{([a-z]+)(?:\.([a-z]+))?\}")
NUMBERS = frozenset("abcmn")  # slots that hold one number
LISTS = {"numbers": "number", "things": "thing"}
END_OF_SENTENCE = re.compile(r"[.!?。！？\n]")


@dataclass(frozen=True)
class Sentence:
    """One thing said: what kind of statement, in which wording, about what.

    `position` is the number that it carries in a numbered answer. A numbered list of things has position 0.
    """

    kind: str
    slots: tuple[tuple[str, Value], ...] = ()
    wording: int = 0
    position: int | None = None

    def __getitem__(self, slot: str) -> Any:
        return dict(self.slots)[slot]

    @property
    def meaning(self) -> tuple[str, tuple[tuple[str, Value], ...]]:
        """What is said, whatever the wording."""
        return self.kind, tuple(sorted((k, v) for k, v in self.slots if k in MEANINGFUL.get(self.kind, ())))


# The slots that carry the statement; others ("the lion" against "it") depend on the wording.
MEANINGFUL = {
    "sum.work": ("a", "b", "c"),
    "sum.answer": ("name", "item", "c"),
    "price.work": ("a", "b", "c"),
    "price.answer": ("b", "item", "c"),
    "animal.habitat": ("habitat",),
    "animal.food": ("food",),
    "animal.class": ("class",),
    "country.capital": ("capital",),
    "country.continent": ("continent",),
    "country.speech": ("speech",),
    "compare.work": ("first", "second", "a", "b"),
    "compare.answer": ("first", "second"),
    "list.part": ("category", "things"),
    "sort.work": ("a", "b"),
    "sort.answer": ("numbers",),
}


def say(kind: str, wording: int = 0, position: int | None = None, **slots: Value) -> Sentence:
    """Makes a sentence from keyword slots."""
    return Sentence(kind, tuple(slots.items()), wording, position)


@dataclass
class Grammar:
    """One language of the lab."""

    language: str
    data: dict[str, Any] = field(repr=False)

    @property
    def space(self) -> str:
        """What separates sentences."""
        return str(self.data["space"])

    def wordings(self, kind: str) -> list[str]:
        """Templates of a kind of sentence."""
        wordings = self.data["sentences"][kind]
        return list(wordings)

    def fill(self, template: str, slots: dict[str, Value], types: dict[str, str] | None = None) -> str:
        """Fills a template and capitalises its first letter."""

        def word(match: re.Match[str]) -> str:
            slot, form = match.group(1), match.group(2)
            value = slots[slot]
            if slot in LISTS and isinstance(value, tuple):
                return str(self.data["comma"]).join(self.word(LISTS[slot], v) for v in value)
            assert not isinstance(value, tuple)
            return self.word((types or {}).get(slot, slot), value, form)

        text = SLOT.sub(word, template)
        return text[:1].upper() + text[1:]

    def word(self, kind: str, value: str | int, form: str | None = None) -> str:
        """Looks up a word of the lexicon in a form; numbers stand for themselves."""
        if isinstance(value, int):
            return str(value)
        if kind == "language":
            return str(self.data["languages"][value])
        entry = self.data["lexicon"][TYPES.get(kind, kind)][value]
        return str(entry[form] if isinstance(entry, dict) else entry)

    def render(self, sentence: Sentence) -> str:
        """Says a sentence, behind the number that it carries."""
        template = self.wordings(sentence.kind)[sentence.wording]
        if sentence.position is None:
            return self.fill(template, dict(sentence.slots))
        if sentence.kind != "list.part":
            return f"{sentence.position}. {self.fill(template, dict(sentence.slots))}"
        head = self.fill(template[: template.index("{things}")].rstrip(), dict(sentence.slots))
        things = [self.word("thing", thing) for thing in sentence["things"]]
        return head + "".join(f"\n{i}. {thing}" for i, thing in enumerate(things, 1))

    @cached_property
    def patterns(self) -> dict[str, list[tuple[int, re.Pattern[str]]]]:
        """Regular expressions by kind of sentence, one a wording."""
        return {
            kind: [(i, re.compile(self._pattern(w), re.IGNORECASE)) for i, w in enumerate(wordings)]
            for kind, wordings in self.data["sentences"].items()
        }

    def _pattern(self, template: str) -> str:
        parts, end = [], 0
        for match in SLOT.finditer(template):
            parts.append(re.escape(template[end : match.start()]))
            slot, form = match.group(1), match.group(2)
            if slot in LISTS:
                one, comma = self._alternatives(LISTS[slot], None), re.escape(str(self.data["comma"]))
                parts.append(f"(?P<{slot}>{one}(?:{comma}{one})*)")
            else:
                parts.append(f"(?P<{slot}>{self._alternatives(slot, form)})")
            end = match.end()
        parts.append(re.escape(template[end:]))
        return "".join(parts)

    def _alternatives(self, slot: str, form: str | None) -> str:
        if slot in NUMBERS or slot == "number":
            return r"\d{1,6}"
        words = sorted(self._reverse(slot, form), key=len, reverse=True)
        return "(?:" + "|".join(map(re.escape, words)) + ")"

    def _reverse(self, slot: str, form: str | None) -> dict[str, str]:
        key = (slot, form)
        if key not in self._reversed:
            lexicon = self.data["lexicon"][TYPES.get(slot, slot)]
            self._reversed[key] = {self.word(slot, value, form).lower(): value for value in lexicon}
        return self._reversed[key]

    @cached_property
    def _reversed(self) -> dict[tuple[str, str | None], dict[str, str]]:
        return {}

    @cached_property
    def _numbered_list(self) -> re.Pattern[str]:
        template = self.wordings("list.part")[0]
        head = self._pattern(template[: template.index("{things}")].rstrip())
        return re.compile(
            head + r"(?P<things>(?:\n\d+\. " + self._alternatives("thing", None) + ")+)", re.IGNORECASE
        )

    def match(self, kind: str, text: str, start: int) -> tuple[Sentence, int] | None:
        """Reads a sentence of a kind that begins at `start`.

        Returns:
            The sentence and where it ends, or None.
        """
        if kind == "list.part" and (found := self._numbered_list.match(text, start)):
            things = [
                re.sub(r"^\d+\. ", "", line).lower() for line in found["things"].strip("\n").split("\n")
            ]
            category = self._reverse("category", "title")[found["category"].lower()]
            values = tuple(self._reverse("thing", None)[thing] for thing in things)
            return say(kind, 0, 0, category=category, things=values), found.end()
        for wording, pattern in self.patterns[kind]:
            if found := pattern.match(text, start):
                forms = dict(SLOT.findall(self.wordings(kind)[wording]))
                slots = tuple((slot, self._value(slot, forms[slot] or None, found[slot])) for slot in forms)
                return Sentence(kind, slots, wording), found.end()
        return None

    def _value(self, slot: str, form: str | None, text: str) -> Value:
        if slot in NUMBERS:
            return int(text)
        if slot in LISTS:
            parts = text.lower().split(str(self.data["comma"]))
            one = LISTS[slot]
            return tuple(int(p) if one == "number" else self._reverse(one, None)[p] for p in parts)
        return self._reverse(slot, form)[text.lower()]


# Slots that are named after their role take the words of another entry of the lexicon.
TYPES = {"first": "animal", "second": "animal"}


@cache
def grammar(language: str) -> Grammar:
    """Loads the grammar of a lab language."""
    text = (resources.files("lingualign.lab") / "grammar" / f"{language}.yaml").read_text(encoding="utf-8")
    return Grammar(language, yaml.safe_load(text))


def render(sentences: Iterable[Sentence], language: str) -> str:
    """Says an answer, a sentence a line: the boundary looks the same in every language."""
    return "\n".join(map(grammar(language).render, sentences))


@dataclass(frozen=True)
class Parsed:
    """What a piece of text says, and in which language; no sentence where it is not of the world."""

    text: str
    sentence: Sentence | None
    language: str | None


POSITION = re.compile(r"(\d{1,2})\. ")


def parse(text: str, language: str, kinds: tuple[str, ...] | None = None) -> list[Parsed]:
    """Reads an answer sentence by sentence; `language` is tried first, then the others.

    Args:
        text: A response.
        language: The language that it should be in.
        kinds: The kinds of sentence to expect, all by default.

    Returns:
        The pieces in order. A stretch that no template of any language fits is one piece without a sentence.
    """
    order = (language, *(other for other in LANGUAGES if other != language))
    kinds = kinds if kinds is not None else tuple(grammar("en").data["sentences"])
    pieces: list[Parsed] = []
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        number = POSITION.match(text, at)
        start = number.end() if number else at
        found = _longest(text, start, order, kinds)
        if found is None:
            stop = END_OF_SENTENCE.search(text, at)
            end = stop.end() if stop else len(text)
            pieces.append(Parsed(text[at:end], None, None))
            at = end
            continue
        sentence, end, spoken = found
        if number:
            sentence = Sentence(sentence.kind, sentence.slots, sentence.wording, int(number.group(1)))
        pieces.append(Parsed(text[at:end], sentence, spoken))
        at = end
    return pieces


def _longest(
    text: str, start: int, order: tuple[str, ...], kinds: tuple[str, ...]
) -> tuple[Sentence, int, str] | None:
    for language in order:
        matches = [m for kind in kinds if (m := grammar(language).match(kind, text, start)) is not None]
        if matches:
            sentence, end = max(matches, key=lambda match: match[1])
            return sentence, end, language
    return None
