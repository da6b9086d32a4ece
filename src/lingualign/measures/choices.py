"""What a model chose in several languages: files of choices, and all consistency measures of them."""

from __future__ import annotations

import sys
from collections.abc import Hashable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lingualign.errors import InputError
from lingualign.languages import resolve
from lingualign.measures import consistency
from lingualign.measures.intervals import Interval
from lingualign.prompts.files import Row, read_rows


@dataclass
class Choices:
    """Choices of one language, all lists in the same order of items.

    Attributes:
        chosen: What was chosen, None where that could not be read.
        scores: Of the candidates of each item; empty where the file has none.
    """

    chosen: list[Hashable | None] = field(default_factory=list)
    scores: list[list[float]] = field(default_factory=list)


@dataclass(frozen=True)
class ChoiceTable:
    """Choices of all languages on the same items.

    Attributes:
        items: Ids, in order.
        languages: A language -> its choices.
        gold: The right choices; None where the file does not say.
    """

    items: list[str]
    languages: dict[str, Choices]
    gold: list[Hashable] | None


def read_choices(path: Path) -> ChoiceTable:
    """Reads choices of several languages on the same items.

    Args:
        path: JSON lines, JSON, CSV or Parquet: rows with `id`, `language`, `choice` or `scores`, and `answer`
            for accuracy. `choice` null or empty is an answer that could not be read.

    Raises:
        InputError: A row lacks a field, an item lacks a language, or the languages do not agree on the right
            answer or the number of candidates; or a right answer is no candidate's index, or written in
            another way than the choices.
    """
    found: dict[str, dict[str, Row]] = {}
    for row in read_rows(path):
        code, item = row.fields.get("language"), row.fields.get("id")
        if not isinstance(code, str) or item is None:
            raise InputError(f"{row.place}: fields id and language are needed.")
        own = found.setdefault(resolve(code).code, {})
        if str(item) in own:
            raise InputError(f"{row.place}: item {item!r} stands twice in {code}.")
        _check(row)
        own[str(item)] = row
    first = next(iter(found))
    if len(found) < 2:
        raise InputError(f"{path} has choices in {first} alone.", "Add those in other languages.")
    items = list(found[first])
    languages: dict[str, Choices] = {}
    gold: list[Hashable | None] = [found[first][item].fields.get("answer") for item in items]
    for code, rows in found.items():
        lacking = {*rows} ^ {*items}
        if lacking:
            raise InputError(
                f"{path}: {len(lacking)} items are not in both {first} and {code}, {min(lacking)!r} for one.",
                "Give every item in every language.",
            )
        languages[code] = Choices()
        for place, item in enumerate(items):
            _add(languages[code], rows[item])
            if rows[item].fields.get("answer") != gold[place]:
                raise InputError(f"{rows[item].place}: another right answer than in {first}.")
            _check_answer(rows[item], languages[code].chosen[-1], gold[place])
        if any(len(one.scores) != len(languages[first].scores) for one in languages.values()):
            raise InputError(f"{path}: some rows have scores and others have none.")
    for place, item in enumerate(items if languages[first].scores else []):
        for code, choices in languages.items():
            if len(choices.scores[place]) != len(languages[first].scores[place]):
                raise InputError(
                    f"{found[code][item].place}: {len(choices.scores[place])} candidates, in {first} "
                    f"{len(languages[first].scores[place])}.",
                    "Candidates are compared by their index: give the same ones in every language.",
                )
    known = [answer for answer in gold if answer is not None]
    return ChoiceTable(items, languages, known if len(known) == len(items) else None)


def _check(row: Row) -> None:
    scores = row.fields.get("scores")
    if scores is None and "choice" not in row.fields:
        raise InputError(f"{row.place}: neither choice nor scores; it has {', '.join(row.fields)}.")
    if scores is not None and not (
        isinstance(scores, list) and len(scores) > 1 and all(_is_number(one) for one in scores)
    ):
        raise InputError(f"{row.place}: scores is no list of two or more numbers.")


def _check_answer(row: Row, chosen: Hashable | None, answer: Hashable | None) -> None:
    """Refuses a right answer that can never be equal to a choice, as it is written in another way."""
    if answer is None:
        return
    if chosen is not None and isinstance(chosen, str) != isinstance(answer, str):
        raise InputError(
            f"{row.place}: the choice is {chosen!r} and the right answer {answer!r}.",
            "Write both as letters, or both as indices; with scores alone, the answer is the index of the "
            "right candidate, from 0.",
        )
    scores = row.fields.get("scores")
    if scores is not None and isinstance(answer, int) and not 0 <= answer < len(scores):
        raise InputError(
            f"{row.place}: the right answer is {answer}, and there are {len(scores)} candidates.",
            "The answer is the index of the right candidate, from 0.",
        )


def _add(choices: Choices, row: Row) -> None:
    scores, choice = row.fields.get("scores"), row.fields.get("choice")
    if scores is not None:
        choices.scores.append([float(one) for one in scores])
        if "choice" not in row.fields:
            choice = consistency.ranking(scores)[0]
    choices.chosen.append(None if choice == "" else choice)


def _is_number(value: Any) -> bool:
    # A whole number of JSON may be too large for any float.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < sys.float_info.max


def measure_choices(table: ChoiceTable, source: str = "en") -> dict[str, Any]:
    """All measures of `lingualign.measures.consistency` on a table of choices.

    Args:
        table: The choices.
        source: Language that the others are compared with.

    Returns:
        Plain values for JSON. `languages`: accuracy, and against the source agreement, relative agreement,
        kappa, RankC and the overlap of right answers, None where they are not defined. `subsets`: SeaEval's
        consistency and AC3 by the number of languages. `calm`: agreeing pairs of languages.

    Raises:
        InputError: There are no choices in the source language.
    """
    if source not in table.languages:
        raise InputError(
            f"There are no choices in {source}, which the others are compared with.",
            f"Choose one of {', '.join(table.languages)}: --source CODE.",
        )
    gold, own = table.gold, table.languages[source]
    answers = {code: choices.chosen for code, choices in table.languages.items()}
    accuracies = {
        code: None if gold is None else consistency.accuracy(chosen, gold) for code, chosen in answers.items()
    }
    languages: dict[str, dict[str, Any]] = {}
    for code, choices in table.languages.items():
        languages[code] = {"accuracy": _plain(accuracies[code])}
        if code == source:
            continue
        languages[code] |= {
            "agreement": _plain(consistency.agreement(own.chosen, choices.chosen)),
            "kappa": _plain(consistency.cohens_kappa(own.chosen, choices.chosen)),
            "rankc": _plain(consistency.rankc(own.scores, choices.scores)) if own.scores else None,
        }
        if gold is not None:
            languages[code] |= {
                "relative_agreement": consistency.relative_agreement(own.chosen, choices.chosen, gold),
                "correct_overlap": _plain(
                    consistency.correct_overlap(_right(own.chosen, gold), _right(choices.chosen, gold))
                ),
            }
    means = [found.mean for found in accuracies.values() if found is not None]
    return {
        "source": source,
        "items": len(table.items),
        "languages": languages,
        "subsets": {
            str(size): {
                "consistency": _plain(found),
                "ac3": consistency.ac3(sum(means) / len(means), found.mean) if means else None,
            }
            for size, found in consistency.seaeval_consistency(answers).items()
        },
        "calm": _plain(
            consistency.calm_consistency(
                {code: [None if c is None else str(c) for c in own] for code, own in answers.items()}
            )
        ),
    }


def _right(chosen: list[Hashable | None], gold: list[Hashable]) -> list[set[Hashable]]:
    return [{choice} if choice == right else set() for choice, right in zip(chosen, gold, strict=True)]


def _plain(found: Interval | None) -> Mapping[str, float] | None:
    return None if found is None else asdict(found)
