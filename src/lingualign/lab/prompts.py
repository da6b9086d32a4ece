"""Prompts of the lab, training and held-out kept apart by a hash of the prompt.

A held-out prompt never occurs in training, in any language; the fact that it asks for may, in other words.
What is unknown to a model cannot be aligned.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import islice
from random import Random
from typing import TYPE_CHECKING, Literal

from lingualign.lab.grammar import grammar
from lingualign.lab.tasks import FAMILIES, Task
from lingualign.lab.world import GREETINGS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lingualign.prompts import ParallelPrompts

Split = Literal["train", "heldout"]
HELDOUT = 0.2


def split_of(task: Task) -> Split:
    """Which side a prompt is on, in every language."""
    digest = hashlib.sha256(task.id.encode()).digest()
    return "heldout" if digest[0] < 256 * HELDOUT else "train"


def tasks(split: Split, seed: int = 0) -> Iterator[Task]:
    """Endless distinct tasks of a split, the families in turn, in an order that the seed sets."""
    rng = Random(f"{split}/{seed}")
    seen: set[Task] = set()
    stuck = 0
    while stuck < 10_000:
        for family in FAMILIES.values():
            for _ in range(200):
                task = Task(family.name, family.draw(rng), rng.choice(GREETINGS))
                if task not in seen and split_of(task) == split:
                    seen.add(task)
                    stuck = 0
                    yield task
                    break
                stuck += 1


def prompts(split: Split, n: int, languages: Sequence[str], start: int = 0) -> ParallelPrompts:
    """The prompts `start` to `start + n` of a split in several languages, parallel by id.

    Raises:
        InputError: A language is not one of the lab's.
    """
    from lingualign.errors import InputError
    from lingualign.lab.grammar import LANGUAGES
    from lingualign.prompts import ParallelPrompts, Prompt

    foreign = [language for language in languages if language not in LANGUAGES]
    if foreign:
        raise InputError(
            f"languages: the lab has no {', '.join(foreign)}.", f"Choose from {', '.join(LANGUAGES)}."
        )
    chosen = list(islice(tasks(split), start, start + n))
    return ParallelPrompts(
        ids=[task.id for task in chosen],
        by_language={
            language: [
                Prompt(task.id, language, ({"role": "user", "content": task.prompt(language)},))
                for task in chosen
            ]
            for language in languages
        },
    )


def with_directive(prompt: str, prompt_language: str, language: str) -> str:
    """Puts a request for another language, in the prompt's own, before a prompt."""
    words = grammar(prompt_language)
    name = words.data["languages"][language]
    return words.data["directive"].replace("{language}", name) + "\n\n" + prompt
