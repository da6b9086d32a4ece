"""Those who disagree with the winning vote against one who voted for it: CALM's pairs.

    chosen   = the explanation of the winning answer, translated into the prompt's language
    rejected = every answer of the model's own, in that language, that differs from the winner

Who wins and who explains is in the scores of `reward.kind=votes`: reward 0 disagrees, and the component
`explains` marks the one response that speaks for the winner. The paper puts a translated explanation and the
winning option's text together; here the whole response is translated (ours).

References:
    - CALM: https://arxiv.org/abs/2501.18457
"""

from __future__ import annotations

from pydantic import Field

from lingualign.config import Section
from lingualign.errors import InputError
from lingualign.pairs.base import Key, Pairing, PairingResult, Side, Sources, Tally
from lingualign.pairs.filters import apply_filters, make_filters
from lingualign.pairs.scored import join_scores
from lingualign.records import Response, Score

READS = frozenset({"responses", "scores", "translation"})


class Settings(Section):
    """Options of pairs from disagreement."""

    max_pairs: int | None = Field(None, ge=1)
    """Most pairs a prompt and language, drawn at random (ours). Unset: all who disagree, as in the paper."""


def make(settings: Settings) -> Pairing:
    """Makes the pairing; see `lingualign.pairs.base`."""

    def pair(sources: Sources) -> PairingResult:
        joined = join_scores(sources.responses, sources.scores, sources.config.length_control)
        explained = explanations(sources)
        filters = make_filters(sources.config, sources.identifier)
        tally = Tally(sources)
        for language in sources.languages:
            chosen = _in_language(sources, explained, language)
            for prompt in sources.prompts.by_language[language]:
                voted = joined.get((prompt.id, language), [])
                disagreeing = [candidate for candidate in voted if candidate.reward == 0]
                kept, removed = apply_filters(filters, disagreeing)
                tally.saw(prompt, len(voted), **removed)
                if (prompt.id, language) not in chosen:
                    tally.drop(prompt, "no winner")
                elif not kept:
                    tally.drop(prompt, "agreed")
                if settings.max_pairs is not None and len(kept) > settings.max_pairs:
                    kept = sources.draw(prompt.id, language).sample(kept, settings.max_pairs)
                for candidate in kept if (prompt.id, language) in chosen else []:
                    text = chosen[prompt.id, language]
                    side = None if text is None else Side(text, score=1.0, index=-1)
                    rejected = Side.of(candidate.response, 0.0)
                    tally.add(prompt, side, rejected, f"/{rejected.index}")
        return tally.result()

    return pair


def explanations(sources: Sources) -> dict[str, Response]:
    """The response that speaks for the winner of each prompt, by prompt id.

    Raises:
        InputError: The scores are not those of votes.
    """
    speakers = {
        (score["prompt_id"], score["language"], score["index"])
        for score in sources.scores
        if any(part["name"] == "explains" and part["value"] == 1 for part in score["components"])
    }
    if not speakers and not any(map(_has_votes, sources.scores)):
        raise InputError(
            "pairs.kind is disagreement, and the scores do not say who explains the winning answer.",
            "Score with reward.kind=votes.",
        )
    return {
        response["prompt_id"]: response
        for response in sources.responses
        if (response["prompt_id"], response["language"], response["index"]) in speakers
    }


def _has_votes(score: Score) -> bool:
    return score["reward"] is None or any(part["name"] == "explains" for part in score["components"])


def _in_language(sources: Sources, explained: dict[str, Response], language: str) -> dict[Key, str | None]:
    """The explanations in a language, by prompt id and language; None where the translator failed."""
    found: dict[Key, str | None] = {}
    for spoken in sources.prompts.by_language:
        texts = {
            (prompt_id, language): response["text"]
            for prompt_id, response in explained.items()
            if response["language"] == spoken
        }
        found |= sources.translations(texts, spoken, language)
    return found
