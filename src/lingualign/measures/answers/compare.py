"""What answers are like in each language, and how they compare with a baseline's to the same prompts.

Works on texts alone, whoever made them; preferences of any judge make win rates of them. Intervals and
p-values are resampled by prompt, and p-values adjusted for the number of languages.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lingualign.measures.answers.files import Match
from lingualign.measures.answers.length_controlled import (
    FOLDS,
    Comparison,
    Unit,
    answer_lengths,
    length_controlled_by_language,
)
from lingualign.measures.answers.preferences import head_to_head, win_shares
from lingualign.measures.intervals import (
    MEAN,
    RESAMPLES,
    Change,
    Clusters,
    Interval,
    bootstrap,
    compare_paired,
)
from lingualign.measures.language.code_switching import Switches, find_switches, summarise_switches
from lingualign.measures.language.confusion_rates import CellRates, find_confusion, pass_rates
from lingualign.measures.language.confusion_tokens import counts_words, is_latin_word, make_tokeniser
from lingualign.measures.win_rate import TIE

if TYPE_CHECKING:
    from lingualign.pairs.filters import Identifier

Preference = float | None


@dataclass(frozen=True)
class Reader:
    """How texts are looked at.

    Attributes:
        identifier: Says the language of a response, and of its lines.
        english_words: English words that have no place in other scripts; None: any lower-case Latin word.
        unit: Of length.
        tokenizer: A Hugging Face tokenizer, for lengths in tokens.
    """

    identifier: Identifier
    english_words: frozenset[str] | None = None
    unit: Unit = "chars"
    tokenizer: Callable[..., Any] | None = None


@dataclass(frozen=True)
class Side:
    """The answers of one model in one language, looked at.

    Attributes:
        texts: The answers.
        switches: What each of them holds.
        lengths: [n], in the reader's unit.
    """

    texts: Sequence[str]
    switches: list[Switches]
    lengths: np.ndarray


def look(texts: Sequence[str], language: str, reader: Reader) -> Side:
    """Looks at answers that should be in a language."""
    switches = [find_switches(text, language, reader.identifier) for text in texts]
    return Side(texts, switches, answer_lengths(texts, reader.unit, reader.tokenizer))


def describe(
    sides: Mapping[str, Side], clusters: Clusters, reader: Reader, resamples: int = RESAMPLES
) -> dict[str, dict[str, Any]]:
    """Answers by language in numbers: plain values for JSON.

    Lines whose language cannot be told do not count in the pass rates of lines and words.

    Args:
        sides: The answers, looked at.
        clusters: The prompt of each.
        reader: How they are looked at.
        resamples: Of intervals.
    """
    words = reader.english_words
    is_english = is_latin_word if words is None else words.__contains__

    def confusion(code: str) -> CellRates:
        cut = make_tokeniser(code)
        found = [
            find_confusion(text, code, reader.identifier, cut, is_english, undecided="skip")
            for text in sides[code].texts
        ]
        counted = counts_words(code, "script" if words is None else "list")
        return pass_rates(found, counted, clusters[code], resamples)

    return {
        code: {
            "prompts": len(set(clusters[code])),
            "mean_length": float(side.lengths.mean()),
            "language": asdict(summarise_switches(side.switches, clusters[code])),
            "confusion": asdict(confusion(code)),
        }
        for code, side in sides.items()
    }


def compare_answers(
    matches: Mapping[str, Sequence[Match]],
    preferences: Mapping[str, Sequence[Preference]] | None,
    reader: Reader,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """Measures answers against a baseline's.

    Args:
        matches: By language.
        preferences: In [1, 2], one a match, None where the judge failed; None: nobody judged.
        reader: How the texts are looked at.
        resamples: Of intervals and tests.
        seed: Of both.

    Returns:
        Plain values for JSON: `languages`, each with `model`, `baseline`, `changes` and, if there was a
        judge, `wins`; and `mean`, the changes and wins in the mean over the languages.
    """
    ours = {code: look([m.answer.text for m in rows], code, reader) for code, rows in matches.items()}
    theirs = {code: look([m.baseline.text for m in rows], code, reader) for code, rows in matches.items()}
    clusters = {code: [match.key for match in rows] for code, rows in matches.items()}
    model, baseline = (describe(side, clusters, reader, resamples) for side in (ours, theirs))
    changes = _changes(ours, theirs, clusters, resamples, seed)
    wins = _wins(matches, preferences, ours, theirs, clusters, resamples, seed) if preferences else {}
    return {
        "languages": {
            code: {
                "model": model[code],
                "baseline": baseline[code],
                "changes": changes.get(code, {}),
                "wins": wins.get(code),
            }
            for code in matches
        },
        MEAN: {"changes": changes.get(MEAN, {}), "wins": wins.get(MEAN)},
    }


def _changes(
    ours: Mapping[str, Side],
    theirs: Mapping[str, Side],
    clusters: Clusters,
    resamples: int,
    seed: int,
) -> dict[str, dict[str, Any]]:
    """What changed, by language (and "mean") and then by what it is; only items that both sides have."""
    quantities: dict[str, Callable[[Side, int], float | None]] = {
        "right_language": lambda side, i: _not(side.switches[i].off_target),
        "all_lines_right": lambda side, i: (
            float(side.switches[i].foreign_lines == 0) if side.switches[i].lines else None
        ),
        "length": lambda side, i: float(side.lengths[i]),
    }
    found: dict[str, dict[str, Any]] = {}
    for name, value in quantities.items():
        after: dict[str, list[float]] = {}
        before: dict[str, list[float]] = {}
        places: dict[str, list[Hashable]] = {}
        for code, keys in clusters.items():
            both = [
                (a, b, key)
                for i, key in enumerate(keys)
                if (a := value(ours[code], i)) is not None and (b := value(theirs[code], i)) is not None
            ]
            if both:
                after[code] = [a for a, _, _ in both]
                before[code] = [b for _, b, _ in both]
                places[code] = [key for _, _, key in both]
        if after:
            for code, change in compare_paired(after, before, resamples, seed, places).items():
                found.setdefault(code, {})[name] = asdict(change)
    return found


def _not(value: bool | None) -> float | None:
    return None if value is None else float(not value)


def _wins(
    matches: Mapping[str, Sequence[Match]],
    preferences: Mapping[str, Sequence[Preference]],
    ours: Mapping[str, Side],
    theirs: Mapping[str, Side],
    clusters: Clusters,
    resamples: int,
    seed: int,
) -> dict[str, dict[str, Any]]:
    """Win rates by language, and in the mean over those where a judgement succeeded."""
    shares = {code: win_shares(preferences[code]) for code in matches}
    told = {code: ~np.isnan(found) for code, found in shares.items()}
    judged = [code for code in matches if told[code].any()]
    failed: dict[str, dict[str, Any]] = {
        code: {"n_failed": len(matches[code])} for code in matches if code not in judged
    }
    if not judged:
        return failed
    values = {code: shares[code][told[code]].tolist() for code in judged}
    places = {
        code: [key for key, kept in zip(clusters[code], told[code], strict=True) if kept] for code in judged
    }
    draws = {code: [TIE] * len(values[code]) for code in judged}
    against_draw = compare_paired(values, draws, resamples, seed, places)
    controlled = length_controlled_by_language(
        {
            code: Comparison(preferences[code], theirs[code].lengths, ours[code].lengths)
            for code in judged
            if told[code].sum() >= FOLDS
        }
    )
    intervals = {}
    if controlled:
        intervals = bootstrap(
            {code: found.values.tolist() for code, found in controlled.items()},
            resamples,
            seed,
            {code: clusters[code] for code in controlled},
        )
    result: dict[str, dict[str, Any]] = {}
    for code in judged:
        result[code] = {
            **asdict(head_to_head(preferences[code])),
            **_interval_and_test(against_draw[code]),
        }
        if code in controlled:
            result[code]["length_controlled"] = {
                "formula": controlled[code].formula,
                "win_rate": controlled[code].win_rate,
                "standard_error": controlled[code].standard_error,
                "weights": asdict(controlled[code].weights),
                "interval": asdict(intervals[code]),
            }
    mean = _interval_and_test(against_draw[MEAN])
    if controlled:
        mean["length_controlled"] = {"interval": asdict(intervals[MEAN])}
    return result | failed | {MEAN: mean}


def _interval_and_test(change: Change) -> dict[str, Any]:
    """Of wins, from their difference to a draw."""
    found = change.difference
    wins = Interval(found.mean + TIE, found.low + TIE, found.high + TIE, found.n)
    return {"interval": asdict(wins), "p": change.p, "p_adjusted": change.p_adjusted}
