"""A pair as the browser shows it: texts in pieces, lengths, languages, rewards; and how large that may get.

Everything here is plain data for the page's script. It holds texts as they are shown: hidden characters
written out, long texts cut. What they are in the table stays there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from lingualign.pairs.filters import Identifier
from lingualign.records import Message
from lingualign.report.browser_tables import REWARD, Known, PairColumns
from lingualign.report.differences import differing
from lingualign.texts import shorten, visible

PENALISED = "reward less length penalty"
"""What the choice was made by, where something was scored."""

LONGEST = 4000
"""Most characters of a text that are shown, where there is room for them."""

_SHORTEST = 60  # a text is not cut below that; a pair that is too large even so is left out
_NAME = 120  # of an id
_COMPONENTS = 16  # of a score that are shown at most
_IDENTIFIED = 2000  # characters of a text that the identifier reads; its work grows with the square of a word


@dataclass(frozen=True)
class Facts:
    """What is known of the pairs of an iteration.

    Attributes:
        columns: Of all pairs.
        texts: Row -> messages, of the pairs that may be drawn.
        scores: From `read_scores`.
        responses: From `read_responses`.
        disagreements: Context -> from `disagreement`.
        identifier: Tells the language of a response.
        rejects_language: Responses in another language than the prompt's are rejected whatever their reward.
    """

    columns: PairColumns
    texts: Mapping[int, Mapping[str, Any]]
    scores: Mapping[str, np.ndarray]
    responses: Mapping[tuple[int, int], Known]
    disagreements: Mapping[str, np.ndarray]
    identifier: Identifier
    rejects_language: bool

    @property
    def numbers(self) -> list[str]:
        """What the rows of a pair's numbers are: what the choice was made by, the reward, its components."""
        if not self.scores:
            return [REWARD]
        components = [name for name in self.scores if name != REWARD][:_COMPONENTS]
        return [PENALISED, REWARD, *components]


def dump(value: Any) -> Markup:
    """JSON that can stand in a script element: no text in it can end the element or begin a comment."""
    return htmlsafe_json_dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def size(value: Any) -> int:
    """Bytes of a value in the page."""
    return len(dump(value).encode("utf-8"))


def fitting_pair(facts: Facts, row: int, limit: int, room: int) -> dict[str, Any] | None:
    """A pair with its texts cut until it fits.

    Args:
        facts: Of the iteration.
        row: Of the pair.
        limit: Most characters of a text.
        room: Most bytes.

    Returns:
        The pair; None where nothing short of leaving it out would do.
    """
    while limit >= _SHORTEST:
        pair = _pair(facts, row, limit)
        if size(pair) <= room:
            return pair
        limit //= 2
    return None


def number(value: float) -> float | None:
    """A number for the page, of six significant digits; None for what is none."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _pair(facts: Facts, row: int, limit: int) -> dict[str, Any]:
    texts, columns = facts.texts[row], facts.columns
    language = str(columns.languages[row])
    prompt, more = _shown(_joined(texts["prompt"]), limit)
    whole = [_joined(texts[side]) for side in ("chosen", "rejected")]
    parts = [_shown(text, limit) for text in whole]
    pieces = differing(parts[0][0], parts[1][0])
    same = [_same(facts, row, place, whole[place]) for place in (0, 1)]
    sides = [
        _side(facts, row, place, whole[place], same[place])
        | {"pieces": pieces[place], "more": parts[place][1]}
        for place in (0, 1)
    ]
    return {
        "id": _shown(columns.ids[row].as_py(), _NAME)[0],
        "language": language,
        "margin": number(columns.margins[row]),
        "contexts": [name for name, far in facts.disagreements.items() if far[row] > 0],
        "prompt": {"text": prompt, "more": more},
        "chosen": sides[0],
        "rejected": sides[1],
        "numbers": _numbers(facts, row, same),
        "notes": _notes(facts, texts, language, sides),
    }


def _side(facts: Facts, row: int, place: int, text: str, same: bool) -> dict[str, Any]:
    """What is known of one response: chosen (0) or rejected (1)."""
    known = facts.responses.get((row, place)) if same else None
    return {
        "characters": len(text),
        "tokens": known.tokens if known is not None else None,
        "language": facts.identifier.identify(text[:_IDENTIFIED]),
        "score": number(facts.columns.scores[row, place]),
    }


def _numbers(facts: Facts, row: int, known: Sequence[bool]) -> list[list[float | None]]:
    """Chosen, rejected and their difference of everything that a reward has said of a pair."""
    rows = [facts.columns.scores[row]]
    for name in facts.numbers[1:]:
        rows.append(np.where(known, facts.scores[name][row], np.nan))
    return [[number(chosen), number(rejected), number(chosen - rejected)] for chosen, rejected in rows]


def _same(facts: Facts, row: int, place: int, text: str) -> bool:
    """Whether a side is the response of its index. A pairing may have translated that one: its tokens and its
    score are then another text's."""
    known = facts.responses.get((row, place))
    return known is None or known.text == text


def _notes(
    facts: Facts, texts: Mapping[str, Any], language: str, sides: Sequence[Mapping[str, Any]]
) -> list[str]:
    """What there is to say of a pair, in sentences."""
    chosen, rejected = sides
    notes = []
    if facts.rejects_language and facts.scores and rejected["language"] not in (None, language):
        notes.append("The rejected response is in another language, and so rejected whatever its reward.")
    for name in ("chosen", "rejected"):
        if not texts[f"{name}_finished"]:
            notes.append(f"The {name} response was cut at the length limit.")
    if len(chosen["pieces"]) == len(rejected["pieces"]) == 1:
        notes.append(
            "The two differ only in what is not shown here."
            if chosen["more"] or rejected["more"]
            else "The two say the same."
        )
    return notes


def _shown(text: str, limit: int) -> tuple[str, int]:
    """The beginning of a text with nothing hidden in it, and how many characters are left out."""
    part, more = shorten(text, limit)
    return visible(part), more


def _joined(messages: Sequence[Message]) -> str:
    """The text of some messages; who says what, where there are several."""
    if len(messages) == 1:
        return messages[0]["content"]
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in messages)
