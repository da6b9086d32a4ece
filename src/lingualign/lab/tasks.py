"""Families of tasks: what is asked, what a right answer says, and what a given answer got right.

A family is one class with three duties: draw a task, write the statements of an answer, check the statements
of one. A new family is one more class, its templates in `grammar/*.yaml`, and its name in `FAMILIES`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import ClassVar

from lingualign.lab.grammar import Sentence, Value, grammar, say
from lingualign.lab.world import ANIMALS, CATEGORIES, COUNTRIES, GREETINGS, ITEMS, NAMES


@dataclass(frozen=True)
class Style:
    """The traits of the content of an answer."""

    right: bool
    complete: bool
    worked: bool
    numbered: bool


@dataclass(frozen=True)
class Checked:
    """Which traits the content of an answer has; None where the family has no such trait."""

    right: bool
    complete: bool | None = None
    worked: bool | None = None
    numbered: bool | None = None


@dataclass(frozen=True)
class Task:
    """A question of the world, without a language. Its id says it all: "sum.anna.apple.3.5.hello"."""

    family: str
    args: tuple[str, ...]
    greeting: str = "none"

    @property
    def id(self) -> str:
        """The prompt's id, the same in every language."""
        return ".".join((self.family, *self.args, self.greeting))

    @staticmethod
    def from_id(prompt_id: str) -> Task:
        """Reads a task from a prompt's id.

        Raises:
            ValueError: The id is not one of the lab's.
        """
        parts = prompt_id.split(".")
        if len(parts) < 3 or parts[0] not in FAMILIES or parts[-1] not in GREETINGS:
            raise ValueError(f"{prompt_id!r} is not the id of a prompt of the lab")
        return Task(parts[0], tuple(parts[1:-1]), parts[-1])

    def prompt(self, language: str) -> str:
        """Asks the task in a language."""
        words = grammar(language)
        question = FAMILIES[self.family].ask(self.args, language)
        greeting = words.data["greetings"][self.greeting]
        return words.space.join(part for part in (greeting, question) if part)


class Family(ABC):
    """A kind of task."""

    name: ClassVar[str]
    kinds: ClassVar[tuple[str, ...]]  # the statements that its answers are made of

    @abstractmethod
    def draw(self, rng: Random) -> tuple[str, ...]:
        """Draws the arguments of a task."""

    @abstractmethod
    def slots(self, args: tuple[str, ...]) -> tuple[str | None, dict[str, Value]]:
        """The prompt's variant, if there are several, and its slots."""

    @abstractmethod
    def answer(self, args: tuple[str, ...], style: Style, rng: Random) -> list[Sentence]:
        """Writes the statements of an answer with these traits; the last one is worth repeating."""

    @abstractmethod
    def check(self, args: tuple[str, ...], said: Sequence[Sentence]) -> Checked:
        """Checks the statements of an answer, each once, in order."""

    def ask(self, args: tuple[str, ...], language: str) -> str:
        """Renders the prompt."""
        variant, slots = self.slots(args)
        template = grammar(language).data["prompts"][self.name]
        types = {"first": "category", "second": "category"} if self.name == "list" else None
        return grammar(language).fill(template[variant] if variant else template, slots, types)


def _other(rng: Random, options: Sequence[str], right: str) -> str:
    return rng.choice([option for option in dict.fromkeys(options) if option != right])


def _only(said: Sequence[Sentence], kind: str) -> list[Sentence]:
    return [sentence for sentence in said if sentence.kind == kind]


class _Calculation(Family):
    """One work line and one answer line; subclasses say which numbers belong together."""

    low: ClassVar[int]
    high: ClassVar[int]
    off: ClassVar[tuple[int, ...]]

    @staticmethod
    @abstractmethod
    def result(a: int, b: int) -> int: ...

    @abstractmethod
    def say_answer(self, args: tuple[str, ...], c: int) -> Sentence: ...

    @abstractmethod
    def numbers(self, args: tuple[str, ...]) -> tuple[int, int]: ...

    def answer(self, args: tuple[str, ...], style: Style, rng: Random) -> list[Sentence]:
        a, b = self.numbers(args)
        c = self.result(a, b)
        if not style.right:
            c = rng.choice([c + off for off in self.off if c + off > 0])
        work = [say(f"{self.name}.work", a=a, b=b, c=c)] if style.worked else []
        return [*work, self.say_answer(args, c)]

    def check(self, args: tuple[str, ...], said: Sequence[Sentence]) -> Checked:
        a, b = self.numbers(args)
        c = self.result(a, b)
        truth = {say(f"{self.name}.work", a=a, b=b, c=c).meaning, self.say_answer(args, c).meaning}
        answered = bool(_only(said, f"{self.name}.answer"))
        worked = bool(_only(said, f"{self.name}.work"))
        return Checked(right=answered and all(s.meaning in truth for s in said), worked=worked)


class Sum(_Calculation):
    """Anna has 3 apples and buys 5 more."""

    name = "sum"
    kinds = ("sum.work", "sum.answer")
    off = (-3, -2, -1, 1, 2, 3)

    @staticmethod
    def result(a: int, b: int) -> int:
        return a + b

    def draw(self, rng: Random) -> tuple[str, ...]:
        return rng.choice(NAMES), rng.choice(ITEMS), str(rng.randint(2, 12)), str(rng.randint(2, 12))

    def slots(self, args: tuple[str, ...]) -> tuple[str | None, dict[str, Value]]:
        return None, {"name": args[0], "item": args[1], "a": int(args[2]), "b": int(args[3])}

    def numbers(self, args: tuple[str, ...]) -> tuple[int, int]:
        return int(args[2]), int(args[3])

    def say_answer(self, args: tuple[str, ...], c: int) -> Sentence:
        return say("sum.answer", name=args[0], c=c, item=args[1])


class Price(_Calculation):
    """A book costs 3 euros. How much do 4 cost?"""

    name = "price"
    kinds = ("price.work", "price.answer")
    off = (-4, -3, -2, -1, 1, 2, 3, 4)

    @staticmethod
    def result(a: int, b: int) -> int:
        return a * b

    def draw(self, rng: Random) -> tuple[str, ...]:
        return rng.choice(ITEMS), str(rng.randint(2, 9)), str(rng.randint(2, 9))

    def slots(self, args: tuple[str, ...]) -> tuple[str | None, dict[str, Value]]:
        return None, {"item": args[0], "a": int(args[1]), "b": int(args[2])}

    def numbers(self, args: tuple[str, ...]) -> tuple[int, int]:
        return int(args[1]), int(args[2])

    def say_answer(self, args: tuple[str, ...], c: int) -> Sentence:
        return say("price.answer", b=int(args[2]), item=args[0], c=c)


class _TwoFacts(Family):
    """Two facts about one thing: complete answers give both, numbered ones count them."""

    attributes: ClassVar[tuple[str, ...]]

    @property
    @abstractmethod
    def subjects(self) -> Sequence[str]: ...

    @abstractmethod
    def fact(self, subject: str, attribute: str) -> str: ...

    def draw(self, rng: Random) -> tuple[str, ...]:
        return rng.choice(self.subjects), *rng.sample(self.attributes, 2)

    def slots(self, args: tuple[str, ...]) -> tuple[str | None, dict[str, Value]]:
        return f"{args[1]}+{args[2]}", {self.name: args[0]}

    def answer(self, args: tuple[str, ...], style: Style, rng: Random) -> list[Sentence]:
        subject, *asked = args
        asked = asked if style.complete else asked[:1]
        wrong = None if style.right else rng.choice(asked)
        said = []
        for i, attribute in enumerate(asked):
            value = self.fact(subject, attribute)
            if attribute == wrong:
                value = _other(rng, [self.fact(other, attribute) for other in self.subjects], value)
            slots: dict[str, Value] = {self.name: subject, attribute: value} if i == 0 else {attribute: value}
            said.append(
                say(f"{self.name}.{attribute}", min(i, 1), i + 1 if style.numbered else None, **slots)
            )
        return said

    def check(self, args: tuple[str, ...], said: Sequence[Sentence]) -> Checked:
        subject, *asked = args
        given = set()
        right = bool(said)
        for sentence in said:
            attribute = sentence.kind.split(".")[1]
            slots = dict(sentence.slots)
            about = slots.get(self.name, subject) == subject
            right = right and about and slots[attribute] == self.fact(subject, attribute)
            given.add(attribute)
        numbered = bool(said) and all(sentence.position is not None for sentence in said)
        return Checked(right=right, complete=set(asked) <= given, numbered=numbered)


class AnimalFacts(_TwoFacts):
    """Where does the lion live and what does it eat?"""

    name = "animal"
    attributes = ("habitat", "food", "class")
    kinds = ("animal.habitat", "animal.food", "animal.class")

    @property
    def subjects(self) -> Sequence[str]:
        return tuple(ANIMALS)

    def fact(self, subject: str, attribute: str) -> str:
        return str(getattr(ANIMALS[subject], {"class": "kind"}.get(attribute, attribute)))


class CountryFacts(_TwoFacts):
    """What is the capital of Kenya, and on which continent is the country?"""

    name = "country"
    attributes = ("capital", "continent", "speech")
    kinds = ("country.capital", "country.continent", "country.speech")

    @property
    def subjects(self) -> Sequence[str]:
        return tuple(COUNTRIES)

    def fact(self, subject: str, attribute: str) -> str:
        return str(getattr(COUNTRIES[subject], attribute))


class Compare(Family):
    """Which animal is heavier, the lion or the elephant?"""

    name = "compare"
    kinds = ("compare.work", "compare.answer")

    def draw(self, rng: Random) -> tuple[str, ...]:
        return tuple(rng.sample(tuple(ANIMALS), 2))

    def slots(self, args: tuple[str, ...]) -> tuple[str | None, dict[str, Value]]:
        return None, {"first": args[0], "second": args[1]}

    def answer(self, args: tuple[str, ...], style: Style, rng: Random) -> list[Sentence]:
        heavy, light = sorted(args, key=lambda animal: -ANIMALS[animal].weight)
        a, b = ANIMALS[heavy].weight, ANIMALS[light].weight
        first, second = (heavy, light) if style.right else (light, heavy)
        work = [say("compare.work", first=first, a=a, second=second, b=b)] if style.worked else []
        return [*work, say("compare.answer", first=first, second=second)]

    def check(self, args: tuple[str, ...], said: Sequence[Sentence]) -> Checked:
        right = bool(_only(said, "compare.answer"))
        for sentence in said:
            first, second = sentence["first"], sentence["second"]
            right = right and {first, second} == set(args)
            if sentence.kind == "compare.answer":
                right = right and ANIMALS[first].weight > ANIMALS[second].weight
            else:
                right = right and (sentence["a"], sentence["b"]) == (
                    ANIMALS[first].weight,
                    ANIMALS[second].weight,
                )
        return Checked(right=right, worked=bool(_only(said, "compare.work")))


class Lists(Family):
    """Name 3 fruits and 2 colours."""

    name = "list"
    kinds = ("list.part",)

    def draw(self, rng: Random) -> tuple[str, ...]:
        first, second = rng.sample(tuple(CATEGORIES), 2)
        return first, str(rng.randint(2, 4)), second, str(rng.randint(2, 4))

    def slots(self, args: tuple[str, ...]) -> tuple[str | None, dict[str, Value]]:
        return None, {"first": args[0], "m": int(args[1]), "second": args[2], "n": int(args[3])}

    def answer(self, args: tuple[str, ...], style: Style, rng: Random) -> list[Sentence]:
        parts = [(args[0], int(args[1])), (args[2], int(args[3]))]
        parts = parts if style.complete else parts[:1]
        wrong = None if style.right else rng.randrange(len(parts))
        said = []
        for i, (category, count) in enumerate(parts):
            things = rng.sample(CATEGORIES[category], count)
            if i == wrong:
                things[rng.randrange(count)] = rng.choice(
                    CATEGORIES[_other(rng, tuple(CATEGORIES), category)]
                )
            said.append(
                say("list.part", 0, 0 if style.numbered else None, category=category, things=tuple(things))
            )
        return said

    def check(self, args: tuple[str, ...], said: Sequence[Sentence]) -> Checked:
        asked = {args[0]: int(args[1]), args[2]: int(args[3])}
        given = {}
        right = bool(said)
        for sentence in said:
            category, things = sentence["category"], sentence["things"]
            right = right and category in asked and all(thing in CATEGORIES[category] for thing in things)
            given[category] = len(set(things))
        numbered = bool(said) and all(sentence.position is not None for sentence in said)
        return Checked(right=right, complete=given == asked, numbered=numbered)


class Sort(Family):
    """Put the numbers 7, 2, 9 in order."""

    name = "sort"
    kinds = ("sort.work", "sort.answer")

    def draw(self, rng: Random) -> tuple[str, ...]:
        return rng.choice(("up", "down")), *map(str, rng.sample(range(1, 21), 3))

    def slots(self, args: tuple[str, ...]) -> tuple[str | None, dict[str, Value]]:
        return args[0], {"numbers": tuple(map(int, args[1:]))}

    def answer(self, args: tuple[str, ...], style: Style, rng: Random) -> list[Sentence]:
        numbers = sorted(map(int, args[1:]), reverse=args[0] == "down")
        if not style.right:
            i, j = rng.sample(range(len(numbers)), 2)
            numbers[i], numbers[j] = numbers[j], numbers[i]
        work = [say("sort.work", a=min(numbers), b=max(numbers))] if style.worked else []
        return [*work, say("sort.answer", numbers=tuple(numbers))]

    def check(self, args: tuple[str, ...], said: Sequence[Sentence]) -> Checked:
        numbers = sorted(map(int, args[1:]), reverse=args[0] == "down")
        truth = {
            say("sort.work", a=min(numbers), b=max(numbers)).meaning,
            say("sort.answer", numbers=tuple(numbers)).meaning,
        }
        right = bool(_only(said, "sort.answer")) and all(s.meaning in truth for s in said)
        return Checked(right=right, worked=bool(_only(said, "sort.work")))


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (Sum(), Price(), AnimalFacts(), CountryFacts(), Compare(), Lists(), Sort())
}
