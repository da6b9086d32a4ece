"""One text in the prompt's language against the same text in another: CLO's pairs.

    row E: prompt x_en, chosen y_en, rejected y_l
    row T: prompt x_l,  chosen y_l,  rejected y_en

Content is the same on both sides, so what is preferred is the language alone. That is the point: these pairs
teach to answer in the language of the question. The paper makes them for one target language; here there is
a row E and a row T for each of several.

References:
    - Cross-Lingual Optimization: https://arxiv.org/abs/2505.14297
"""

from __future__ import annotations

from collections.abc import Iterator

from lingualign.config import Section
from lingualign.pairs.base import Pairing, Side, Tally
from lingualign.pairs.sources import Sources
from lingualign.records import Pair

READS = frozenset({"labelled", "translation"})
TOLD_BY_LANGUAGE = True  # on purpose


class Settings(Section):
    """There is nothing to set."""


def make(settings: Settings) -> Pairing:
    """Makes the pairing; see `lingualign.pairs.base`."""
    return swap_pairs


def swap_pairs(sources: Sources, tally: Tally) -> Iterator[Pair]:
    """Makes two rows of each labelled answer and target language; the rejected labels are not used."""
    source = sources.source_language
    answers = {(pair["prompt_id"], source): pair["chosen"][-1]["content"] for pair in sources.labelled}
    for language in sources.languages:
        for target in sources.prompts.by_language if language == source else [language]:
            if target == source:
                continue
            translated = sources.translations(answers, source, target)
            for key, text in answers.items():
                here, there = Side(text), None if translated[key] is None else Side(str(translated[key]))
                prompt = sources.prompts.get(key[0], language)
                tally.saw(prompt)
                if language == source:
                    yield from tally.pairs(prompt, here, there, f"/{target}")
                else:
                    yield from tally.pairs(prompt, there, here)
