"""What an iteration's policy is worth on held-out prompts, next to the policy the run started from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lingualign.measures.answers.compare import Reader, Side, describe, look
from lingualign.measures.answers.length_controlled import (
    FOLDS,
    Comparison,
    answer_lengths,
    length_controlled_by_language,
)
from lingualign.measures.intervals import MEAN, Interval, bootstrap
from lingualign.measures.win_rate import outcome
from lingualign.records import Response, Score

LANGUAGE_TRAIT = "language"  # what the lab's judge calls "in the right language"


@dataclass(frozen=True)
class JudgedAnswers:
    """One policy's answers to the held-out prompts, one a prompt, with their scores.

    Attributes:
        responses: A language -> responses in the order of the prompts.
        scores: A language -> their scores, in the same order.
        pairwise: Each score is already the share of a win against the start, by a judge of pairs, and is None
            where that judge has failed.
    """

    responses: Mapping[str, Sequence[Response]]
    scores: Mapping[str, Sequence[Score]]
    pairwise: bool = False


@dataclass(frozen=True)
class LanguageMeasure:
    """One language in one decoding.

    Attributes:
        n: Prompts.
        win_rate: Against the start, ties half; None for the start itself.
        lc_win_rate: The same with the advantage of length removed (AlpacaEval 2, without difficulties); None
            for the start itself, and where fewer than 5 judgements succeeded.
        failed: Judgements that failed and take no part.
        reward: Mean score of the judge: the gold reward in the lab, [0, 1]; None for a judge of pairs.
        traits: Mean of each of the judge's components over the responses that have it.
        right_language: Share of the prompt's language among the responses whose language can be told; None
            where it can be told of none.
        undecided: Share of responses whose language cannot be told.
        mean_length: Characters a response.
        cut: Share of responses that reached the length limit.
        switching: Responses, lines and words in another language or script; see
            `lingualign.measures.language.code_switching`.
        confusion: Pass rates of lines and words; see `lingualign.measures.language.language_confusion`.
    """

    n: int
    win_rate: Interval | None
    lc_win_rate: Interval | None
    failed: int
    reward: float | None
    traits: dict[str, float]
    right_language: float | None
    undecided: float
    mean_length: float
    cut: float
    switching: dict[str, Any]
    confusion: dict[str, Any]


@dataclass(frozen=True)
class DecodingMeasure:
    """All languages in one decoding.

    Attributes:
        languages: By code.
        target_win_rate: Mean over the target languages; None for the start.
        target_lc_win_rate: The same, length-controlled.
    """

    languages: dict[str, LanguageMeasure]
    target_win_rate: Interval | None
    target_lc_win_rate: Interval | None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def measure_answers(
    answers: JudgedAnswers,
    start: JudgedAnswers | None,
    source_language: str,
    reader: Reader,
    resamples: int,
    seed: int,
) -> DecodingMeasure:
    """Measures one policy's answers, against the start's if they are given.

    Args:
        answers: Of the policy.
        start: Of the starting policy, to the same prompts in the same order.
        source_language: Not counted in the mean over the target languages.
        reader: How texts are looked at; tells the language of responses where the judge does not.
        resamples: Bootstrap resamples.
        seed: Of the bootstrap.
    """
    texts = {code: [row["text"] for row in rows] for code, rows in answers.responses.items()}
    prompts = {code: [row["prompt_id"] for row in rows] for code, rows in answers.responses.items()}
    looked = {code: look(found, code, reader) for code, found in texts.items()}
    described = describe(looked, prompts, reader, resamples)
    win_rates: dict[str, Interval] = {}
    controlled: dict[str, Interval] = {}
    failed: dict[str, int] = {}
    if start is not None:
        outcomes = {language: outcomes_against(answers, start, language) for language in texts}
        failed = {language: found.count(None) for language, found in outcomes.items()}
        win_rates = _win_rates(outcomes, prompts, source_language, resamples, seed)
        controlled = _controlled(outcomes, prompts, start, looked, reader, source_language, resamples, seed)
    languages = {}
    for language, responses in answers.responses.items():
        scores = answers.scores[language]
        right = [
            _in_language(score, switches.off_target)
            for score, switches in zip(scores, looked[language].switches, strict=True)
        ]
        told = [value for value in right if value is not None]
        languages[language] = LanguageMeasure(
            n=len(responses),
            win_rate=win_rates.get(language),
            lc_win_rate=controlled.get(language),
            failed=failed.get(language, 0),
            reward=None if answers.pairwise else _mean([_reward(score) for score in scores]),
            traits=_mean_components(scores),
            right_language=_mean(told) if told else None,
            undecided=1 - len(told) / len(right),
            mean_length=_mean([len(response["text"]) for response in responses]),
            cut=_mean([response["finish_reason"] == "length" for response in responses]),
            switching=described[language]["language"],
            confusion=described[language]["confusion"],
        )
    return DecodingMeasure(languages, win_rates.get(MEAN), controlled.get(MEAN))


def _win_rates(
    outcomes: Mapping[str, Sequence[float | None]],
    prompts: Mapping[str, Sequence[str]],
    source_language: str,
    resamples: int,
    seed: int,
) -> dict[str, Interval]:
    """Win rates by language, and under "mean" over the target languages, of the judgements that succeeded."""
    values, clusters = {}, {}
    for code, found in outcomes.items():
        told = [(value, key) for value, key in zip(found, prompts[code], strict=True) if value is not None]
        if told:
            values[code] = [value for value, _ in told]
            clusters[code] = [key for _, key in told]
    return _by_language(values, clusters, source_language, resamples, seed)


def _controlled(
    outcomes: Mapping[str, Sequence[float | None]],
    prompts: Mapping[str, Sequence[str]],
    start: JudgedAnswers,
    looked: Mapping[str, Side],
    reader: Reader,
    source_language: str,
    resamples: int,
    seed: int,
) -> dict[str, Interval]:
    """Length-controlled win rates by language, and under "mean" over the target languages."""
    comparisons = {}
    for code, found in outcomes.items():
        if sum(value is not None for value in found) >= FOLDS:
            base = [row["text"] for row in start.responses[code]]
            comparisons[code] = Comparison(
                [None if value is None else 1 + value for value in found],
                answer_lengths(base, reader.unit, reader.tokenizer),
                looked[code].lengths,
            )
    fitted = length_controlled_by_language(comparisons)
    values = {code: found.values.tolist() for code, found in fitted.items()}
    return _by_language(values, {code: prompts[code] for code in values}, source_language, resamples, seed)


def _by_language(
    values: Mapping[str, Sequence[float]],
    clusters: Mapping[str, Sequence[str]],
    source_language: str,
    resamples: int,
    seed: int,
) -> dict[str, Interval]:
    if not values:
        return {}
    intervals = bootstrap(values, resamples, seed, clusters)
    targets = {code: found for code, found in values.items() if code != source_language}
    del intervals[MEAN]
    return intervals | ({MEAN: bootstrap(targets, resamples, seed, clusters)[MEAN]} if targets else {})


def outcomes_against(answers: JudgedAnswers, start: JudgedAnswers, language: str) -> list[float | None]:
    """Whether each answer in a language wins against the start's to the same prompt: 1, 1/2 or 0.

    Of a judge of pairs it is the share of a win, and None where the judge failed.
    """
    if answers.pairwise:
        return [score["reward"] for score in answers.scores[language]]
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


def _in_language(score: Score, off_target: bool | None) -> bool | None:
    """Whether a response is in its prompt's language: by the judge if it says, else by identification."""
    for component in score["components"]:
        if component["name"] == LANGUAGE_TRAIT:
            return component["value"] > 0
    return None if off_target is None else not off_target


def _mean_components(scores: Sequence[Score]) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for score in scores:
        for component in score["components"]:
            values.setdefault(component["name"], []).append(component["value"])
    return {name: _mean(found) for name, found in values.items()}


def _mean(values: Sequence[float]) -> float:
    return float(sum(values) / len(values))
