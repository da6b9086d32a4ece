"""Responses with traits drawn at random: what the lab's models are first trained on.

The most likely answer must be mediocre. Where noise is spread evenly around good answers, low temperature
alone removes it and nothing is left to align. So each good trait is in a minority of the responses, at the
very token where it is decided, and facts are right in most.
"""

from __future__ import annotations

from random import Random

from lingualign.lab.grammar import LANGUAGES, Sentence, render, say
from lingualign.lab.tasks import FAMILIES, Style, Task

RIGHT = 0.82
WORKED = 0.38
COMPLETE = 0.30  # below the share of answers that repeat themselves at the same place
NUMBERED = 0.38
OPENING = 0.22
CLOSING = 0.22
HEDGED = 0.56
PADDED = 0.58
REPEATED = 0.52
WRONG_LANGUAGE = 0.03

# One wording of each dominates, so that greedy decoding hedges and pads.
HEDGES = (0.8, 0.2)
PADDINGS = (0.78, 0.12, 0.10)


def draw_sentences(task: Task, rng: Random) -> list[Sentence]:
    """Draws an answer: its traits, independently, then its statements."""
    style = Style(
        right=rng.random() < RIGHT,
        complete=rng.random() < COMPLETE,
        worked=rng.random() < WORKED,
        numbered=rng.random() < NUMBERED,
    )
    sentences = []
    if rng.random() < OPENING:
        sentences.append(say("open", rng.randrange(2)))
    if rng.random() < HEDGED:
        sentences.append(say("hedge", rng.choices((0, 1), HEDGES)[0]))
    if rng.random() < PADDED:
        sentences.append(say("pad", rng.choices((0, 1, 2), PADDINGS)[0]))
    content = FAMILIES[task.family].answer(task.args, style, rng)
    sentences += content
    if rng.random() < REPEATED:
        sentences.append(content[-1])
    if rng.random() < CLOSING:
        sentences.append(say("close", rng.randrange(2)))
    return sentences


def draw_response(task: Task, language: str, rng: Random) -> str:
    """Draws the text of an answer, now and then in another language: English, or any for English."""
    if rng.random() < WRONG_LANGUAGE:
        language = "en" if language != "en" else rng.choice([other for other in LANGUAGES if other != "en"])
    return render(draw_sentences(task, rng), language)
