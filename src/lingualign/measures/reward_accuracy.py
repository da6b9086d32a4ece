"""How often a reward ranks the chosen response of a preference above the rejected one, per language.

For rewards and judges alike, by the definitions of RewardBench (https://arxiv.org/abs/2403.13787) and
M-RewardBench (https://arxiv.org/abs/2410.15522):

- A pair is right (1) where reward(chosen) > reward(rejected), strictly: a tie is wrong (0). A pair of which
  nothing is said, as by a judge whose answer cannot be parsed, is 0.5.
- A section's accuracy is the mean over its subsets, weighted by their numbers of pairs at hand, or by numbers
  that are given (`PUBLISHED_COUNTS`). The score is the plain mean over the sections.
- Agreement with English is Cohen's kappa of what is right and wrong on the same pairs.

The sections are in `lingualign.measures.reward_bench`.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lingualign.measures.consistency import cohens_kappa
from lingualign.measures.intervals import MEAN, Change, Interval, bootstrap, compare_paired, exact_share
from lingualign.measures.reward_bench import SECTIONS
from lingualign.prompts import Prompt
from lingualign.prompts.files import read_rows

if TYPE_CHECKING:
    from lingualign.rewards import Reward

RIGHT, UNSAID, WRONG = 1.0, 0.5, 0.0

Rewards = Sequence[float | None]


@dataclass(frozen=True)
class PairRewards:
    """Rewards of preference pairs in one language.

    Attributes:
        chosen: Reward of each chosen response, in the reward's unit; None where nothing is said of it.
        rejected: Reward of each rejected response, in the same order.
        subsets: Subset of each pair; empty: there are none.
        items: What names a pair, the same in every language; empty: its place.
        prompts: What names the prompt of a pair, for intervals over prompts where several pairs share one;
            empty: every pair has its own.
    """

    chosen: Rewards
    rejected: Rewards
    subsets: Sequence[str] = ()
    items: Sequence[Hashable] = ()
    prompts: Sequence[Hashable] = ()


@dataclass(frozen=True)
class Agreement:
    """One language's verdicts next to the source language's on the same pairs.

    Attributes:
        n: Pairs that both have.
        kappa: Cohen's kappa; None where both have one and the same verdict throughout, and it is undefined.
        kappa_interval: The same with its interval.
        gap: This language's accuracy less the source language's, p-values adjusted for all languages.
    """

    n: int
    kappa: float | None
    kappa_interval: Interval | None
    gap: Change


@dataclass(frozen=True)
class RewardAccuracy:
    """A reward's accuracy in one language.

    Attributes:
        accuracy: Over all pairs alike.
        unsaid: Pairs of which nothing was said.
        subsets: Accuracy by subset.
        sections: Accuracy by section, of those that have any pair.
        score: Mean over the sections; None where no subset belongs to one.
        agreement: With the source language; None for the language itself.
    """

    accuracy: Interval
    unsaid: int
    subsets: dict[str, Interval] = field(default_factory=dict)
    sections: dict[str, Interval] = field(default_factory=dict)
    score: Interval | None = None
    agreement: Agreement | None = None


def verdicts(chosen: Rewards, rejected: Rewards) -> list[float]:
    """Whether a reward ranks each pair right: 1, 0 (a tie too), or 0.5 where it says nothing.

    Raises:
        ValueError: There are not as many rewards of chosen responses as of rejected ones, or one is NaN.

    Example:
        >>> verdicts([2.0, 1.0, None], [1.0, 1.0, 0.0])
        [1.0, 0.0, 0.5]
    """
    if any(value is not None and np.isnan(value) for value in (*chosen, *rejected)):
        raise ValueError("a reward is NaN: the model is broken, and no verdict is to be had of it")
    return [
        UNSAID if better is None or worse is None else (RIGHT if better > worse else WRONG)
        for better, worse in zip(chosen, rejected, strict=True)
    ]


def reward_accuracy(
    preferences: Mapping[str, PairRewards],
    source_language: str = "en",
    counts: Mapping[str, float] | None = None,
    sections: Mapping[str, Sequence[str]] = SECTIONS,
) -> dict[str, RewardAccuracy]:
    """Accuracy of a reward in each language, by subset and section, and its agreement with English.

    Args:
        preferences: A language -> its pairs.
        source_language: Whose verdicts the others are compared with, where it is among the languages.
        counts: Weight of each subset in its section (`PUBLISHED_COUNTS`); None: its pairs at hand.
        sections: A section -> its subsets; a subset of none counts in the accuracy over all pairs alone.

    Raises:
        ValueError: A language has no pairs, lists of unequal lengths, an item twice, or a subset of a section
            that `counts` does not weigh.

    Example:
        >>> found = reward_accuracy({"en": PairRewards([1.0, 0.2], [0.0, 0.4]), "sw": PairRewards([1], [1])})
        >>> found["en"].accuracy.mean, found["sw"].accuracy.mean
        (0.5, 0.0)
    """
    judged = {language: verdicts(pairs.chosen, pairs.rejected) for language, pairs in preferences.items()}
    agreements = _agreements(judged, preferences, source_language)
    return {
        language: _of_language(judged[language], pairs, counts, sections, agreements.get(language))
        for language, pairs in preferences.items()
    }


def _of_language(
    judged: list[float],
    pairs: PairRewards,
    counts: Mapping[str, float] | None,
    sections: Mapping[str, Sequence[str]],
    agreement: Agreement | None,
) -> RewardAccuracy:
    prompts = pairs.prompts or range(len(judged))
    places: dict[str, list[int]] = {}
    for place, (subset, _, _) in enumerate(
        zip(pairs.subsets or [""] * len(judged), prompts, judged, strict=True)
    ):
        places.setdefault(subset, []).append(place)

    def mean_of(weights: Mapping[str, float]) -> Interval:
        chosen = {subset: [judged[place] for place in places[subset]] for subset in weights}
        clusters = [prompts[place] for subset in weights for place in places[subset]]
        return weighted_mean(chosen, weights, clusters)

    def weigh(subsets: Sequence[str]) -> dict[str, float]:
        if counts is not None and any(subset not in counts for subset in subsets):
            raise ValueError(f"counts lack a subset of {', '.join(subsets)}")
        return {subset: len(places[subset]) if counts is None else counts[subset] for subset in subsets}

    present = {name: [subset for subset in subsets if subset in places] for name, subsets in sections.items()}
    weights = {name: weigh(subsets) for name, subsets in present.items() if subsets}
    shares = {
        subset: weight / sum(own.values()) for own in weights.values() for subset, weight in own.items()
    }
    return RewardAccuracy(
        accuracy=mean_of({subset: len(own) for subset, own in places.items()}),
        unsaid=judged.count(UNSAID),
        subsets={subset: mean_of({subset: 1.0}) for subset in places if pairs.subsets},
        sections={name: mean_of(own) for name, own in weights.items()},
        score=mean_of(shares) if shares else None,
        agreement=agreement,
    )


def weighted_mean(
    values: Mapping[str, Sequence[float]], weights: Mapping[str, float], clusters: Sequence[Hashable]
) -> Interval:
    """The weighted mean of the means of several subsets, with its 95 % interval.

    The interval is exact where all values are 0 or 1, each weighs the same, and no two share a cluster. Else
    it is a bootstrap over clusters of the values

        m + N w_s / n_s (v - m_s),    m = sum_s w_s m_s,    m_s = mean of subset s,

    which have the mean m and, over N values in subsets of fixed sizes n_s, its variance (ours; the linear
    form of a stratified mean). Weights sum to 1 in it.

    Args:
        values: A subset -> its values.
        weights: A subset -> its weight, in any unit.
        clusters: Of all values, a subset after the other in the order of `weights`.
    """
    total, n = sum(weights.values()), len(clusters)
    pull = {subset: n * weights[subset] / total / len(values[subset]) for subset in weights}
    plain = np.concatenate([np.asarray(values[subset], dtype=np.float64) for subset in weights])
    if np.allclose(list(pull.values()), 1) and np.isin(plain, (0, 1)).all() and len(set(clusters)) == n:
        return exact_share(int(plain.sum()), n)
    means = {subset: float(np.mean(values[subset])) for subset in weights}
    mean = sum(weights[subset] / total * means[subset] for subset in weights)
    linear = [mean + pull[subset] * (value - means[subset]) for subset in weights for value in values[subset]]
    found = bootstrap({MEAN: linear}, clusters={MEAN: clusters})[MEAN]
    return Interval(mean, found.low, found.high, found.n)


def _agreements(
    judged: Mapping[str, Sequence[float]], preferences: Mapping[str, PairRewards], source: str
) -> dict[str, Agreement]:
    """Each language's agreement with the source language, where they have pairs in common."""
    by_item = {
        language: dict(zip(preferences[language].items or range(len(own)), own, strict=True))
        for language, own in judged.items()
    }
    if any(len(by_item[language]) < len(own) for language, own in judged.items()):
        raise ValueError("an item stands twice in one language")
    common = {
        language: [item for item in own if item in by_item[source]]
        for language, own in by_item.items()
        if source in by_item and language != source
    }
    common = {language: items for language, items in common.items() if items}
    if not common:
        return {}
    ours = {language: [by_item[language][item] for item in items] for language, items in common.items()}
    theirs = {language: [by_item[source][item] for item in items] for language, items in common.items()}
    gaps = compare_paired(ours, theirs, clusters=common)
    agreements = {}
    for language, items in common.items():
        kappa = cohens_kappa(ours[language], theirs[language])
        agreements[language] = Agreement(
            len(items), None if kappa is None else kappa.mean, kappa, gaps[language]
        )
    return agreements


def pair_rewards_of_file(
    path: Path, language: str, reward: Reward, source_prompts: Mapping[str, Prompt] | None = None
) -> PairRewards:
    """Scores a file of preferences with a reward.

    Args:
        path: Rows with `prompt`, `chosen` and `rejected` (see `lingualign.pipeline.labelled.read_labelled`),
            and `subset` and `id` where there are subsets and names.
        language: Of the pairs.
        reward: Scores them.
        source_prompts: See `lingualign.rewards.pair_rewards`; by the number of the row from 0.

    Raises:
        InputError: The file is wrong, or a row lacks a field.
    """
    from lingualign.pipeline.labelled import read_labelled
    from lingualign.rewards import pair_rewards

    rows = read_rows(path)
    scored = pair_rewards(reward, read_labelled(path, language), source_prompts)
    subsets = [str(row.fields["subset"]) for row in rows if row.fields.get("subset") is not None]
    items = [str(row.fields["id"]) for row in rows if row.fields.get("id") is not None]
    return PairRewards(
        chosen=[better for better, _ in scored],
        rejected=[worse for _, worse in scored],
        subsets=subsets if len(subsets) == len(rows) else (),
        items=items if len(items) == len(rows) else (),
    )
