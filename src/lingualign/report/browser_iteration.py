"""The pairs of one iteration for the browser: drawn, cut to the room there is, and counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from lingualign.pairs.filters import Identifier
from lingualign.report.browser_pairs import LONGEST, Facts, fitting_pair, size
from lingualign.report.browser_sample import contexts_of, disagreement, in_turn, kinds
from lingualign.report.browser_tables import REWARD, read_pairs, read_responses, read_scores, read_texts

_FIT = 8  # pairs that a language has room for at least, however long their texts are
_KINDS = 80  # bytes for the kinds of a pair and the comma behind it
_LEAST = 200  # characters of a text that are shown however little room there is


@dataclass(frozen=True)
class LanguageCount:
    """What an iteration has in one language.

    Attributes:
        language: Its code.
        pairs: All of them.
        shown: Those in the browser.
        disagreeing: Context -> pairs that it orders the other way round.
    """

    language: str
    pairs: int
    shown: int
    disagreeing: dict[str, int]


@dataclass(frozen=True)
class Drawn:
    """The pairs of an iteration that the browser shows.

    Attributes:
        number: Of the iteration.
        ranked: Margins differ: a reward has chosen.
        numbers: What the rows of a pair's numbers are.
        contexts: The further contexts that the reward was read under.
        limit: Most characters of a text that are shown.
        counts: By language.
        pairs: For the page's script.
    """

    number: int
    ranked: bool
    numbers: list[str]
    contexts: list[str]
    limit: int
    counts: list[LanguageCount]
    pairs: list[dict[str, Any]]


def draw_pairs(
    folder: Path,
    number: int,
    languages: Sequence[str],
    identifier: Identifier,
    rejects_language: bool,
    seed: int,
    room: int,
) -> Drawn | None:
    """Draws pairs of an iteration.

    Args:
        folder: Of the iteration.
        number: Of the iteration.
        languages: Of the run, in its order.
        identifier: Tells the language of a response.
        rejects_language: Responses in another language are rejected whatever their reward.
        seed: Of the run.
        room: Most bytes that the pairs may take in the page.

    Returns:
        None where the iteration has no pairs.
    """
    columns = read_pairs(folder / "pairs.parquet")
    if not len(columns.ids):
        return None
    scores = read_scores(folder / "scores", columns)
    contexts = contexts_of(scores)
    rewards = scores[REWARD][:, 0] - scores[REWARD][:, 1] if contexts else columns.margins
    disagreements = {name: disagreement(rewards, other) for name, other in contexts.items()}
    margins = columns.margins
    rows = {
        code: np.flatnonzero(columns.languages == code)
        for code in sorted(set(columns.languages), key=lambda code: _place(languages, code))
    }
    drawn = {
        code: kinds(margins, disagreements, own, Random(f"{seed}/{number}/{code}"))
        for code, own in rows.items()
    }
    wanted = sorted({row for found in drawn.values() for some in found.values() for row in some})
    facts = Facts(
        columns,
        read_texts(folder / "pairs.parquet", wanted),
        scores,
        read_responses(folder / "responses", columns, wanted),
        disagreements,
        identifier,
        rejects_language,
    )
    share = room // len(rows)
    limit = min(LONGEST, max(_LEAST, share // (3 * _FIT)))
    pairs = {code: _fill(facts, found, limit, share) for code, found in drawn.items()}
    counts = [
        LanguageCount(
            code,
            len(own),
            len(pairs[code]),
            {name: int((far[own] > 0).sum()) for name, far in disagreements.items()},
        )
        for code, own in rows.items()
    ]
    ranked = bool(np.nanmin(margins) < np.nanmax(margins)) if np.isfinite(margins).any() else False
    together = [pair for own in pairs.values() for pair in own]
    return Drawn(number, ranked, facts.numbers, list(contexts), limit, counts, together)


def _fill(facts: Facts, found: Mapping[str, list[int]], limit: int, room: int) -> list[dict[str, Any]]:
    """Pairs of one language, the kinds taking turns, until one of them does not fit any more.

    Each pair has the kinds that it was drawn as. They come in the order of the table.
    """
    pairs: dict[int, dict[str, Any]] = {}
    most = room // _FIT
    for kind, row in in_turn(found):
        if row not in pairs:
            pair = fitting_pair(facts, row, limit, most - _KINDS)
            if pair is None:
                continue
            room -= size(pair) + _KINDS
            if room < 0:
                break
            pairs[row] = pair | {"drawn": []}
        pairs[row]["drawn"].append(kind)
    return [pairs[row] for row in sorted(pairs)]


def _place(languages: Sequence[str], code: str) -> tuple[int, str]:
    return (languages.index(code) if code in languages else len(languages)), code
