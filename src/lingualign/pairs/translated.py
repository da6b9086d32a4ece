"""Labelled pairs of the source language, translated: what people do today, as an honest baseline.

With `training.preference_weight=0` only the chosen answers are learned: supervised tuning on translated data.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from lingualign.config import RunConfig, Section
from lingualign.errors import InputError
from lingualign.pairs.base import Pairing, Side, Tally
from lingualign.pairs.sources import Sources
from lingualign.records import Pair

READS = frozenset({"labelled", "translation"})


class Settings(Section):
    """Options of translated pairs."""

    sides: Literal["both", "chosen"] = "both"
    """chosen: only the chosen answers are translated, for supervised tuning; the rejected ones are empty."""


def check(settings: Settings, config: RunConfig) -> None:
    """Checks a run with these pairs; see `lingualign.pairs.base`."""
    if settings.sides == "chosen" and config.training.preference_weight > 0:
        raise InputError(
            "pairs.options.sides is chosen, and training.preference_weight is not 0: there is nothing to "
            "prefer the chosen answers over.",
            "Set training.preference_weight=0, or pairs.options.sides=both.",
        )


def make(settings: Settings) -> Pairing:
    """Makes the pairing; see `lingualign.pairs.base`."""
    return lambda sources, tally: translated_pairs(sources, tally, rejected=settings.sides == "both")


def translated_pairs(sources: Sources, tally: Tally, rejected: bool = True) -> Iterator[Pair]:
    """Makes a pair of each labelled one in every language; it is dropped where either side fails.

    Args:
        sources: Labelled pairs and a translator.
        tally: Counts what is left out.
        rejected: Translate the rejected answers too; they are empty otherwise.
    """
    source = sources.source_language
    sides = {
        side: {
            (pair["prompt_id"], source): pair[side][-1]["content"] if side == "chosen" or rejected else ""
            for pair in sources.labelled
        }
        for side in ("chosen", "rejected")
    }
    for language in sources.languages:
        better, worse = (sources.translations(sides[side], source, language) for side in sides)
        for prompt_id, _ in sides["chosen"]:
            prompt, key = sources.prompts.get(prompt_id, language), (prompt_id, source)
            tally.saw(prompt)
            ours, theirs = better[key], worse[key]
            yield from tally.pairs(
                prompt,
                None if ours is None else Side(ours, 1.0),
                None if theirs is None else Side(theirs, 0.0, 1),
            )
