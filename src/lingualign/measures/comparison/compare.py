"""Which of several methods is better, and what chance alone could have done.

Every method was trained with the same seeds, and every policy answered the same held-out prompts, as did
the start. Wins against the start are compared between methods, and methods with each other head to head.

Intervals and p-values come from one bootstrap over seeds and prompts. Both are drawn with replacement,
independently of each other, and one draw holds for all languages and methods: a prompt that is easy to win is
so for every method, and drops out of their difference. This is the pigeonhole bootstrap of two crossed
factors (Owen 2007, https://arxiv.org/abs/0712.1111). It is on the safe side where the noise of single answers
is most of the noise, and learns nothing about other seeds from one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np

from lingualign.measures.intervals import LEVEL, RESAMPLES, Interval, holm
from lingualign.measures.measure import JudgedAnswers, outcomes_against
from lingualign.measures.win_rate import TIE


@dataclass(frozen=True)
class MethodWins:
    """One method against the start.

    Attributes:
        target: Wins, mean over the target languages.
        languages: Wins by language, the source among them.
        p: Of the target wins being one half, adjusted for the number of methods.
        p_source: Likewise, of the wins in the source language.
    """

    target: Interval
    languages: dict[str, Interval]
    p: float
    p_source: float


@dataclass(frozen=True)
class Difference:
    """One method against another, in the target languages.

    Attributes:
        first: A method.
        second: Another one.
        difference: Wins of the first against the start, less those of the second.
        p: Of the difference being zero.
        p_adjusted: The same, adjusted for the number of pairs.
        head_to_head: Wins of the first against the second.
    """

    first: str
    second: str
    difference: Interval
    p: float
    p_adjusted: float
    head_to_head: Interval


@dataclass(frozen=True)
class Comparison:
    """All methods in one decoding.

    Attributes:
        methods: By name.
        differences: Of every pair of methods, in the order of the methods.
    """

    methods: dict[str, MethodWins]
    differences: list[Difference]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


class PairedBootstrap:
    """Draws of seeds and prompts, the same for whatever is averaged over them.

    Args:
        seeds: How many there are.
        prompts: How many there are.
        resamples: Draws.
        seed: Of the draws.
    """

    def __init__(self, seeds: int, prompts: int, resamples: int = RESAMPLES, seed: int = 0) -> None:
        generator = np.random.default_rng(seed)
        self._n = prompts
        self._seeds = generator.multinomial(seeds, np.full(seeds, 1 / seeds), resamples) / seeds
        self._prompts = generator.multinomial(prompts, np.full(prompts, 1 / prompts), resamples) / prompts

    def means(self, values: np.ndarray) -> np.ndarray:
        """The mean in every draw, rounded so that differences that are nothing are zero.

        Args:
            values: [seeds, prompts].

        Returns:
            [resamples].
        """
        return np.round(((values @ self._prompts.T) * self._seeds.T).sum(axis=0), 12)

    def interval(self, values: np.ndarray) -> Interval:
        """The mean of [seeds, prompts] values with its 95 % percentile interval."""
        low, high = np.quantile(self.means(values), [LEVEL / 2, 1 - LEVEL / 2])
        return Interval(float(values.mean()), float(low), float(high), self._n)

    def p_value(self, values: np.ndarray) -> float:
        """Two-sided p-value of the mean of [seeds, prompts] values being zero.

        Twice the smaller share of draws at or beyond zero, which turns the percentile interval around; one
        is added to both counts, so that it is never 0 (Davison and Hinkley 1997, Bootstrap Methods, 4.4).
        """
        means = self.means(values)
        smaller = min(int((means <= 0).sum()), int((means >= 0).sum()))
        return min(1.0, 2 * (1 + smaller) / (1 + len(means)))


def compare_answers(
    answers: Mapping[str, Sequence[JudgedAnswers]], starts: Sequence[JudgedAnswers], source_language: str
) -> Comparison:
    """Compares methods by their judged answers to the same prompts.

    Args:
        answers: A method -> its answers with each seed.
        starts: The start's answers with each seed, in the same order.
        source_language: Not counted in means over the target languages.
    """
    languages = list(starts[0].responses)
    targets = [language for language in languages if language != source_language]
    wins = {method: outcome_table(found, starts, languages) for method, found in answers.items()}
    duels = {
        (first, second): outcome_table(answers[first], answers[second], targets)
        for first, second in combinations(answers, 2)
    }
    return compare_wins(wins, duels, languages, source_language)


def outcome_table(
    answers: Sequence[JudgedAnswers], baselines: Sequence[JudgedAnswers], languages: Sequence[str]
) -> np.ndarray:
    """Outcomes of answers against a baseline's with the same seed to the same prompt.

    Returns:
        [seeds, languages, prompts]: 1 for a win, 1/2 for a tie, 0 for a loss.
    """
    return np.array(
        [
            [outcomes_against(one, baseline, language) for language in languages]
            for one, baseline in zip(answers, baselines, strict=True)
        ]
    )


def compare_wins(
    wins: Mapping[str, np.ndarray],
    duels: Mapping[tuple[str, str], np.ndarray],
    languages: Sequence[str],
    source_language: str,
    resamples: int = RESAMPLES,
) -> Comparison:
    """Compares methods by their outcomes.

    Args:
        wins: A method -> outcomes against the start, [seeds, languages, prompts].
        duels: Two methods -> outcomes of the first against the second, [seeds, target languages, prompts].
            They say which pairs are compared.
        languages: In the order of the tables, the source among them.
        source_language: Not counted in means over the target languages.
        resamples: Of the bootstrap.
    """
    seeds, _, prompts = next(iter(wins.values())).shape
    bootstrap = PairedBootstrap(seeds, prompts, resamples)
    source = list(languages).index(source_language)
    targets = {method: np.delete(table, source, axis=1).mean(axis=1) for method, table in wins.items()}
    p_values = holm([bootstrap.p_value(values - TIE) for values in targets.values()])
    p_sources = holm([bootstrap.p_value(table[:, source] - TIE) for table in wins.values()])
    methods = {
        method: MethodWins(
            target=bootstrap.interval(targets[method]),
            languages={code: bootstrap.interval(table[:, i]) for i, code in enumerate(languages)},
            p=p,
            p_source=p_source,
        )
        for (method, table), p, p_source in zip(wins.items(), p_values, p_sources, strict=True)
    }
    gaps = {(first, second): targets[first] - targets[second] for first, second in duels}
    p_gaps = [bootstrap.p_value(gap) for gap in gaps.values()]
    differences = [
        Difference(
            first,
            second,
            bootstrap.interval(gap),
            p,
            adjusted,
            bootstrap.interval(duels[first, second].mean(axis=1)),
        )
        for ((first, second), gap), p, adjusted in zip(gaps.items(), p_gaps, holm(p_gaps), strict=True)
    ]
    return Comparison(methods, differences)
