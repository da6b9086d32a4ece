"""Cross-lingual consistency with the source language's most self-consistent response: CM-Align's reward.

With y_en,1..K the source-language responses to a prompt, E_i their embeddings, and y_l,k one of language l:

    Cons(i)  = mean of cos(E_i, E_j) over j != i          self-consistency of the source responses
    y_ref    = y_en,i* with i* = argmax Cons
    R(y_l,k) = cos(embedding of y_l,k, E_i*)              cross-lingual consistency

Where responses have final answers that can be read, answers decide (ours; the paper's way is not known):

    share(i) = share of the source responses whose answer is that of i
    y_ref    = of those with the largest share the one with the largest Cons
    R(y_l,k) = 1 if it has the answer of y_ref, else 0, plus eps * its cosine with y_ref

and nothing is said of a prompt whose largest share is below `tau_en`, nor of a prompt in a language where all
responses match or none does. A response without an answer does not match.

The cosine alone does not mind the language: a response in the source language is usually the closest to the
reference, so leave the filter of other languages on (`pairs.wrong_language`).

References:
    - CM-Align: https://arxiv.org/abs/2509.08541; details after a re-implementation
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import cached_property
from random import Random
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from lingualign.answers import AnswerKind, extractor
from lingualign.config import Section
from lingualign.embedders import Embedder, NgramEmbedder, PolicyEmbedder, SentenceEmbedder, cosines
from lingualign.records import Message, Response, Score
from lingualign.rewards.base import Candidates, Tools, score_of

Context = Literal["source", "target"]


READS = "source"


class Settings(Section):
    """Options of cross-lingual consistency."""

    embedder: Literal["policy", "sentence"] = "policy"
    """What compares responses. policy: its own hidden states (ours: nothing more to download). sentence: a
    sentence encoder (paper: Alibaba-NLP/gte-multilingual-base)."""

    model: str | None = None
    """Folder of the sentence encoder. gte-multilingual-base needs trust_remote_code=true."""

    layer: float = Field(0.75, ge=0, le=1)
    """policy: which layer, as a share of the depth (ours, chosen in the lab)."""

    context: Context = "source"
    """policy: the prompt that responses are read behind, in the source language for all (source) or the one
    that they answer (target). Ours, chosen in the lab."""

    shift: bool = False
    """Move a language's responses to a prompt by the difference between the two languages' means (ours), so
    that the language itself does not count. With the lab's policy this finds the response that says the same
    more surely, and the better one less: there style is most of what is better."""

    self_consistency: Literal["embedder", "ngrams"] = "embedder"
    """What source responses are compared by for the choice of the reference: the embedder (paper), or shared
    character n-grams."""

    answers: Literal["none"] | AnswerKind = "none"
    """Which final answers decide: none, or the last number, the letter of an option, what \\boxed{} holds,
    the lab's answer statement. Prompts without an answer in any source response go by the embedder."""

    tau_en: float = Field(0.5, ge=0, le=1)
    """answers: least share of the source responses that agree with the reference (ours)."""

    eps: float = Field(1e-3, ge=0, lt=0.5)
    """answers: weight of the cosine, which only orders responses that match alike (ours)."""

    reference: Literal["consistent", "random"] = "consistent"
    """consistent: the most self-consistent source response. random: any, or any with an answer whatever its
    share: what the choice of the reference is worth."""

    @model_validator(mode="after")
    def _has_model(self) -> Settings:
        if self.embedder == "sentence" and self.model is None:
            raise ValueError("embedder=sentence needs the folder of a sentence encoder (model)")
        return self


def reads_reference(settings: Settings) -> bool:
    """Whether it asks for the reference; see `lingualign.rewards.base`."""
    return False


def make(settings: Settings, tools: Tools) -> ConsistencyReward:
    """Makes the reward; see `lingualign.rewards.base`."""

    def embedder() -> Embedder:
        from lingualign.hidden import layer_index

        config = tools.config
        if settings.model is not None and settings.embedder == "sentence":
            return SentenceEmbedder(settings.model, config.device, config.trust_remote_code)
        policy = tools.policy()
        layer = layer_index(policy, settings.layer)
        return PolicyEmbedder(policy, tools.chat, layer, config.reward.batch_tokens)

    return ConsistencyReward(embedder, settings, tools.config.seed)


def self_consistency(embeddings: np.ndarray) -> np.ndarray:
    """Mean cosine of each vector with all others.

    Args:
        embeddings: [K, width].

    Returns:
        [K]; 0 where there is no other.
    """
    alike = cosines(embeddings, embeddings)
    return (alike.sum(axis=1) - np.diag(alike)) / max(len(embeddings) - 1, 1)


def choose_reference(consistency: np.ndarray, shares: np.ndarray) -> int:
    """The position of the reference: of the largest share, there the most consistent, there the first.

    Args:
        consistency: Self-consistency of each response [K]; equal to nine decimals is equal.
        shares: Share of each response's answer [K], likewise; all equal where answers do not decide.
    """
    ranked = list(zip(shares.round(9).tolist(), consistency.round(9).tolist(), strict=True))
    return ranked.index(max(ranked))


def cl_consistency(embeddings: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Cosine [n] of each vector [n, width] with the reference [width]."""
    return cosines(embeddings, reference[None])[:, 0]


def answer_shares(answers: Sequence[str | None]) -> np.ndarray:
    """Share [K] of all responses that have each response's answer; 0 where it has none."""
    votes = Counter(answers)
    return np.array(
        [0 if answer is None else votes[answer] / len(answers) for answer in answers], dtype=float
    )


def answer_rewards(
    matches: Sequence[bool], similarities: Sequence[float], eps: float
) -> Sequence[float | None]:
    """Rewards of responses that have the reference's answer or have not; None where all have it, or none.

    Args:
        matches: Whether each response has the reference's answer.
        similarities: Cosine of each with the reference.
        eps: Weight of the cosine.
    """
    if all(matches) or not any(matches):
        return [None] * len(matches)
    return [match + eps * similarity for match, similarity in zip(matches, similarities, strict=True)]


def context_of(candidates: Candidates, context: Context) -> Sequence[Message]:
    """The prompt that candidates are read behind: in the source language, or the one that they answer."""
    return (candidates.source_prompt if context == "source" else candidates.prompt).messages


def by_index(responses: Sequence[Response], values: np.ndarray) -> dict[int, float]:
    """The value [K] of each response, by its index."""
    return {response["index"]: value for response, value in zip(responses, values.tolist(), strict=True)}


class ConsistencyReward:
    """Consistency of each response with a reference chosen among those of the source language.

    A source-language response has its self-consistency as its reward; where answers decide, the same reward
    as any other response. Components of a score: `similarity`, the cosine with the reference; `reference`,
    its index among the source responses; `consistency`, its self-consistency; and, where answers decide,
    `vote_share` of its answer.

    Args:
        embedder: Loads the embedder, when it is first needed.
        settings: How.
        seed: Of the draws of random references.
    """

    name = "consistency"
    columns = ("source_prompt", "source_responses")

    def __init__(self, embedder: Callable[[], Embedder], settings: Settings, seed: int) -> None:
        self._load = embedder
        self.settings = settings
        self.seed = seed
        self._read = extractor(settings.answers) if settings.answers != "none" else lambda response: None

    @property
    def alone(self) -> str:
        """Votes and shifts take all responses; in the source language these are what it compares with."""
        return "never" if self.settings.answers != "none" or self.settings.shift else "targets"

    @cached_property
    def embedder(self) -> Embedder:
        """What compares responses."""
        return self._load()

    def score(self, batch: Sequence[Candidates]) -> list[list[Score]]:
        """Scores all responses of some prompts; see `lingualign.rewards.Reward`."""
        groups = []
        for candidates in batch:
            groups.append((context_of(candidates, self.settings.context), candidates.responses))
            groups.append((candidates.source_prompt.messages, _in_order(candidates.source_responses)))
        vectors = iter(self.embedder.embed(groups))
        return [self._score(candidates, next(vectors), next(vectors)) for candidates in batch]

    def _score(self, candidates: Candidates, vectors: np.ndarray, source: np.ndarray) -> list[Score]:
        responses, source_responses = candidates.responses, _in_order(candidates.source_responses)
        if not source_responses:
            return [score_of(response, None) for response in responses]
        compared = source
        if self.settings.self_consistency == "ngrams":
            compared = NgramEmbedder().embed([((), source_responses)])[0]
        consistency = self_consistency(compared)
        answers = [self._read(response) for response in source_responses]
        shares = answer_shares(answers)
        place = self._reference(candidates.prompt.id, consistency, shares)
        if self.settings.shift:
            vectors = vectors - vectors.mean(axis=0) + source.mean(axis=0)
        similarities = cl_consistency(vectors, source[place]).tolist()
        rewards: Sequence[float | None] = similarities
        common = {"reference": source_responses[place]["index"], "consistency": consistency[place]}
        if answers[place] is not None:
            common["vote_share"] = shares[place]
            matches = [self._read(response) == answers[place] for response in responses]
            rewards = answer_rewards(matches, similarities, self.settings.eps)
            if self.settings.reference == "consistent" and shares[place] < self.settings.tau_en:
                rewards = [None] * len(responses)
        elif candidates.prompt.language == candidates.source_prompt.language:
            own = by_index(source_responses, consistency)
            rewards = [own[response["index"]] for response in responses]
        return [
            score_of(response, reward, similarity=similarity, **common)
            for response, reward, similarity in zip(responses, rewards, similarities, strict=True)
        ]

    def _reference(self, prompt_id: str, consistency: np.ndarray, shares: np.ndarray) -> int:
        if self.settings.reference == "consistent":
            return choose_reference(consistency, shares)
        eligible = np.flatnonzero(shares) if shares.any() else np.arange(len(shares))
        return int(Random(f"{self.seed}/{prompt_id}").choice(eligible.tolist()))


def _in_order(responses: Sequence[Response]) -> list[Response]:
    return sorted(responses, key=lambda response: response["index"])
