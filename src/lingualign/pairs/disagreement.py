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

from collections.abc import Iterator

from pydantic import Field

from lingualign.config import Section
from lingualign.errors import InputError
from lingualign.pairs.base import Pairing, Side, Tally
from lingualign.pairs.filters import apply_filters, make_filters
from lingualign.pairs.scored import join_scores
from lingualign.pairs.sources import Sources
from lingualign.records import Pair, Response, Score

READS = frozenset({"responses", "scores", "translation"})


class Settings(Section):
    """Options of pairs from disagreement."""

    max_pairs: int | None = Field(None, ge=1)
    """Most pairs a prompt and language, drawn at random (ours). Unset: all who disagree, as in the paper."""


def make(settings: Settings) -> Pairing:
    """Makes the pairing; see `lingualign.pairs.base`."""

    def pair(sources: Sources, tally: Tally) -> Iterator[Pair]:
        explained = explanations(sources)
        filters = make_filters(sources.config, sources.identifier)
        for language in sources.languages:
            chosen = _in_language(sources, explained, language)
            for prompt, responses, scores in sources.scored(language):
                voted = join_scores(responses, scores, sources.config.length_control)
                disagreeing = [candidate for candidate in voted if candidate.reward == 0]
                kept, removed = apply_filters(filters, disagreeing)
                tally.saw(prompt, len(voted), removed)
                if prompt.id not in chosen:
                    tally.drop(prompt, "no winner")
                    continue
                if not kept:
                    tally.drop(prompt, "agreed")
                if settings.max_pairs is not None and len(kept) > settings.max_pairs:
                    kept = sources.draw(prompt.id, language).sample(kept, settings.max_pairs)
                text, finished = chosen[prompt.id], explained[prompt.id]["finish_reason"] == "stop"
                side = None if text is None else Side(text, score=1.0, index=-1, finished=finished)
                for candidate in kept:
                    rejected = Side.of(candidate.response, 0.0)
                    yield from tally.pairs(prompt, side, rejected, f"/{rejected.index}")

    return pair


def explanations(sources: Sources) -> dict[str, Response]:
    """The response that speaks for the winner of each prompt, by prompt id.

    Raises:
        InputError: The scores are not those of votes.
    """
    speakers: dict[str, Response] = {}
    voted = False
    for language in sources.prompts.by_language:
        for prompt, responses, scores in sources.scored(language):
            voted = voted or any(map(_has_votes, scores))
            speaking = {score["index"] for score in scores if _explains(score)}
            for response in responses:
                if response["index"] in speaking:
                    speakers[prompt.id] = response
    if not speakers and not voted:
        raise InputError(
            "pairs.kind is disagreement, and the scores do not say who explains the winning answer.",
            "Score with reward.kind=votes.",
        )
    return speakers


def _explains(score: Score) -> bool:
    return any(part["name"] == "explains" and part["value"] == 1 for part in score["components"])


def _has_votes(score: Score) -> bool:
    return score["reward"] is None or any(part["name"] == "explains" for part in score["components"])


def _in_language(sources: Sources, explained: dict[str, Response], language: str) -> dict[str, str | None]:
    """The explanations in a language, by prompt id; None where the translator failed."""
    found: dict[str, str | None] = {}
    for spoken in sources.prompts.by_language:
        texts = {
            (prompt_id, language): response["text"]
            for prompt_id, response in explained.items()
            if response["language"] == spoken
        }
        translated = sources.translations(texts, spoken, language)
        found |= {prompt_id: text for (prompt_id, _), text in translated.items()}
    return found
