"""The source language's answer against the target language's own: LIDR's pairs.

    to x_l:  chosen y_en translated to l,  rejected y_l
    to x_en: chosen y_en,                  rejected y_l translated to the source language

The reward is an assumption: what a model says in the language that it knows best is better. The paper samples
one answer a prompt, greedily, translates with the model itself, and in its code keeps the second kind of
pair for the last target language alone; here all are kept.

References:
    - Language Imbalance Driven Rewarding: https://arxiv.org/abs/2410.08964
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lingualign.config import Section
from lingualign.pairs.base import Pairing, Side, Tally
from lingualign.pairs.filters import Candidate, apply_filters, make_filters
from lingualign.pairs.sources import Key, Sources
from lingualign.records import Pair, Response

READS = frozenset({"responses", "translation"})


class Settings(Section):
    """There is nothing to set."""


def make(settings: Settings) -> Pairing:
    """Makes the pairing; see `lingualign.pairs.base`."""
    return imbalance_pairs


def imbalance_pairs(sources: Sources, tally: Tally) -> Iterator[Pair]:
    """Makes the pairs from the first response that the filters leave of each prompt and language."""
    source = sources.source_language
    first = {language: _first_indices(sources, tally, language) for language in sources.prompts.by_language}
    targets = [language for language in first if language != source]
    answered = _first_responses(sources, source, first[source])
    for language in sources.languages:
        for target in targets if language == source else [language]:
            found = _first_responses(sources, target, first[target])
            own = {prompt_id: response for prompt_id, response in found.items() if prompt_id in answered}
            if language == source:
                back = sources.translations(_texts(own), target, source)
                for key, response in own.items():
                    rejected = _side(back[key, target], response, 0.0)
                    prompt = sources.prompts.get(key, source)
                    yield from tally.pairs(prompt, Side.of(answered[key], 1.0), rejected, f"/{target}")
            else:
                forth = sources.translations(_texts({key: answered[key] for key in own}), source, target)
                for key, response in own.items():
                    chosen = _side(forth[key, source], answered[key], 1.0)
                    yield from tally.pairs(sources.prompts.get(key, target), chosen, Side.of(response))


def _texts(responses: Mapping[str, Response]) -> dict[Key, str]:
    return {(prompt_id, row["language"]): row["text"] for prompt_id, row in responses.items()}


def _side(translation: str | None, original: Response, score: float) -> Side | None:
    if translation is None:
        return None
    return Side(translation, score, original["index"], original["finish_reason"] == "stop")


def _first_indices(sources: Sources, tally: Tally, language: str) -> dict[str, int]:
    """The index of the first response to each prompt, of those that the filters leave."""
    filters, found = make_filters(sources.config, sources.identifier), {}
    for prompt, responses in sources.answers(language):
        candidates = [Candidate(response, 0.0, len(response["text"])) for response in responses]
        kept, removed = apply_filters(filters, candidates)
        if language in sources.languages:
            tally.saw(prompt, len(candidates), removed)
        if kept:
            found[prompt.id] = kept[0].response["index"]
    return found


def _first_responses(sources: Sources, language: str, first: Mapping[str, int]) -> dict[str, Response]:
    """The responses of some indices, by prompt id."""
    return {
        prompt.id: response
        for prompt, responses in sources.answers(language)
        for response in responses
        if first.get(prompt.id) == response["index"]
    }
