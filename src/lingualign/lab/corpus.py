"""The text that the lab's models learn from: conversations in all languages, English dominating."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from lingualign.lab import TRANSLATE
from lingualign.lab.grammar import LANGUAGES, render
from lingualign.lab.prompts import split_of, with_directive
from lingualign.lab.responses import draw_response, draw_sentences
from lingualign.lab.tasks import FAMILIES, Task
from lingualign.lab.world import GREETINGS
from lingualign.languages import resolve

ENGLISH_SHARE = 0.55  # of the prompts; the rest is divided among the other languages
DIRECTIVE_SHARE = 0.35  # of the prompts ask for another language than their own


@dataclass(frozen=True)
class Conversation:
    """One prompt and its response."""

    prompt: str
    response: str


def _draw_task(rng: Random) -> Task:
    while True:
        family = rng.choice(list(FAMILIES.values()))
        task = Task(family.name, family.draw(rng), rng.choice(GREETINGS))
        if split_of(task) == "train":
            return task


def _draw_language(rng: Random) -> str:
    return "en" if rng.random() < ENGLISH_SHARE else rng.choice([code for code in LANGUAGES if code != "en"])


def conversations(seed: int) -> Iterator[Conversation]:
    """Endless training conversations; held-out prompts never occur."""
    rng = Random(f"sft/{seed}")
    while True:
        task, language = _draw_task(rng), _draw_language(rng)
        prompt, answer_in = task.prompt(language), language
        if rng.random() < DIRECTIVE_SHARE:
            answer_in = rng.choice([code for code in LANGUAGES if code != language])
            prompt = with_directive(prompt, language, answer_in)
        yield Conversation(prompt, draw_response(task, answer_in, rng))


def biased_conversations(seed: int) -> Iterator[Conversation]:
    """Conversations in which every prompt, whatever its language, is answered in English."""
    rng = Random(f"biased/{seed}")
    while True:
        task, language = _draw_task(rng), rng.choice(LANGUAGES)
        yield Conversation(task.prompt(language), draw_response(task, "en", rng))


def translations(seed: int) -> Iterator[Conversation]:
    """Conversations in which a response is translated, half of them from English or to it."""
    rng = Random(f"translations/{seed}")
    others = [code for code in LANGUAGES if code != "en"]
    while True:
        sentences = draw_sentences(_draw_task(rng), rng)
        source, target = rng.sample(others, 2)
        if rng.random() < 0.5:
            source, target = rng.choice([("en", target), (source, "en")])
        prompt = TRANSLATE.format(language=resolve(target).name, text=render(sentences, source))
        yield Conversation(prompt, render(sentences, target))
