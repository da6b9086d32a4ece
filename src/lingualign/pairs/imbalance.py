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

from lingualign.config import Section
from lingualign.pairs.base import Key, Pairing, PairingResult, Side, Sources, Tally
from lingualign.pairs.filters import Candidate, apply_filters, make_filters
from lingualign.records import Response

READS = frozenset({"responses", "translation"})


class Settings(Section):
    """There is nothing to set."""


def make(settings: Settings) -> Pairing:
    """Makes the pairing; see `lingualign.pairs.base`."""
    return imbalance_pairs


def imbalance_pairs(sources: Sources) -> PairingResult:
    """Makes the pairs from the first response that the filters leave of each prompt and language."""
    tally, source = Tally(sources), sources.source_language
    first = _first_responses(sources, tally)
    answered = {key[0]: response for key, response in first.items() if key[1] == source}
    for language in sources.prompts.by_language:
        if language == source:
            continue
        own = {key: r for key, r in first.items() if key[1] == language and key[0] in answered}
        forth = sources.translations({key: answered[key[0]]["text"] for key in own}, source, language)
        for key, response in own.items():
            chosen = _side(forth[key], answered[key[0]])
            tally.add(sources.prompts.get(*key), chosen, Side.of(response))
        if source not in sources.languages:
            continue
        back = sources.translations({key: r["text"] for key, r in own.items()}, language, source)
        for key, response in own.items():
            prompt = sources.prompts.get(key[0], source)
            tally.add(prompt, Side.of(answered[key[0]], 1.0), _side(back[key], response, 0.0), f"/{language}")
    return tally.result()


def _side(translation: str | None, original: Response, score: float = 1.0) -> Side | None:
    if translation is None:
        return None
    return Side(translation, score, original["index"], original["finish_reason"] == "stop")


def _first_responses(sources: Sources, tally: Tally) -> dict[Key, Response]:
    """The first response to each prompt in each language, of those that the filters leave."""
    filters = make_filters(sources.config, sources.identifier)
    by_prompt: dict[Key, list[Candidate]] = {}
    for response in sorted(sources.responses, key=lambda response: response["index"]):
        key = (response["prompt_id"], response["language"])
        by_prompt.setdefault(key, []).append(Candidate(response, 0.0, len(response["text"])))
    found = {}
    for prompt_id in sources.prompts.ids:
        for language in sources.prompts.by_language:
            candidates = by_prompt.get((prompt_id, language), [])
            kept, removed = apply_filters(filters, candidates)
            if language in sources.languages:
                tally.saw(sources.prompts.get(prompt_id, language), len(candidates), **removed)
            if kept:
                found[prompt_id, language] = kept[0].response
    return found
