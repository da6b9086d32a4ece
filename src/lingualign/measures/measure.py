"""What an iteration's policy is worth on held-out prompts, next to the policy the run started from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lingualign.languages import LanguageIdentifier
from lingualign.measures.intervals import Interval, bootstrap
from lingualign.measures.win_rate import outcome
from lingualign.records import Response, Score

LANGUAGE_TRAIT = "language"  # what the lab's judge calls "in the right language"


@dataclass(frozen=True)
class JudgedAnswers:
    """One policy's answers to the held-out prompts, one a prompt, with their scores.

    Attributes:
        responses: A language -> responses in the order of the prompts.
        scores: A language -> their scores, in the same order.
    """

    responses: Mapping[str, Sequence[Response]]
    scores: Mapping[str, Sequence[Score]]


@dataclass(frozen=True)
class LanguageMeasure:
    """One language in one decoding.

    Attributes:
        n: Prompts.
        win_rate: Against the start, ties half; None for the start itself.
        reward: Mean score of the judge: the gold reward in the lab, [0, 1].
        traits: Mean of each of the judge's components over the responses that have it.
        right_language: Share of the prompt's language among the responses whose language can be told; None
            where it can be told of none.
        undecided: Share of responses whose language cannot be told.
        mean_length: Characters a response.
        cut: Share of responses that reached the length limit.
    """

    n: int
    win_rate: Interval | None
    reward: float
    traits: dict[str, float]
    right_language: float | None
    undecided: float
    mean_length: float
    cut: float


@dataclass(frozen=True)
class DecodingMeasure:
    """All languages in one decoding.

    Attributes:
        languages: By code.
        target_win_rate: Mean over the target languages; None for the start.
    """

    languages: dict[str, LanguageMeasure]
    target_win_rate: Interval | None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def measure_answers(
    answers: JudgedAnswers,
    start: JudgedAnswers | None,
    source_language: str,
    identifier: LanguageIdentifier,
    resamples: int,
    seed: int,
) -> DecodingMeasure:
    """Measures one policy's answers, against the start's if they are given.

    Args:
        answers: Of the policy.
        start: Of the starting policy, to the same prompts in the same order.
        source_language: Not counted in the mean over the target languages.
        identifier: Tells the language of responses, where the judge does not.
        resamples: Bootstrap resamples.
        seed: Of the bootstrap.
    """
    win_rates: dict[str, Interval] = {}
    target: Interval | None = None
    if start is not None:
        outcomes = {language: outcomes_against(answers, start, language) for language in answers.responses}
        win_rates = bootstrap(outcomes, resamples, seed)
        targets = {language: values for language, values in outcomes.items() if language != source_language}
        target = bootstrap(targets, resamples, seed)["mean"]
    languages = {}
    for language, responses in answers.responses.items():
        scores = answers.scores[language]
        right = [_in_language(r, s, identifier) for r, s in zip(responses, scores, strict=True)]
        told = [value for value in right if value is not None]
        languages[language] = LanguageMeasure(
            n=len(responses),
            win_rate=win_rates.get(language),
            reward=_mean([_reward(score) for score in scores]),
            traits=_mean_components(scores),
            right_language=_mean(told) if told else None,
            undecided=1 - len(told) / len(right),
            mean_length=_mean([len(response["text"]) for response in responses]),
            cut=_mean([response["finish_reason"] == "length" for response in responses]),
        )
    return DecodingMeasure(languages, target)


def outcomes_against(answers: JudgedAnswers, start: JudgedAnswers, language: str) -> list[float]:
    """Whether each answer in a language wins against the start's to the same prompt: 1, 1/2 or 0."""
    return [
        outcome(_reward(score), _reward(base_score), response["text"], base["text"])
        for response, score, base, base_score in zip(
            answers.responses[language],
            answers.scores[language],
            start.responses[language],
            start.scores[language],
            strict=True,
        )
    ]


def _reward(score: Score) -> float:
    """What the judge says: a judge has something to say of every response."""
    assert score["reward"] is not None
    return score["reward"]


def _in_language(response: Response, score: Score, identifier: LanguageIdentifier) -> bool | None:
    """Whether a response is in its prompt's language: by the judge if it says, else by identification."""
    for component in score["components"]:
        if component["name"] == LANGUAGE_TRAIT:
            return component["value"] > 0
    found = identifier.identify(response["text"])
    return None if found is None else found == response["language"]


def _mean_components(scores: Sequence[Score]) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for score in scores:
        for component in score["components"]:
            values.setdefault(component["name"], []).append(component["value"])
    return {name: _mean(found) for name, found in values.items()}


def _mean(values: Sequence[float]) -> float:
    return float(sum(values) / len(values))
