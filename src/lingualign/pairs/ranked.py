"""All ordered pairs of a prompt's candidates: MAPO's.

    sorted by reward, high to low: accept j and reject k for all j < k whose rewards differ

In MAPO the accepted one must also give the gold answer, and the rejected one may be right or wrong; without
gold answers (ours) every candidate can be accepted.

References:
    - MAPO: https://arxiv.org/abs/2401.06838, whose code this order is from
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import Field

from lingualign.answers import AnswerKind, extractor, spelled
from lingualign.config import RunConfig, Section
from lingualign.errors import InputError
from lingualign.pairs.base import Pairing, Tally
from lingualign.pairs.filters import Candidate
from lingualign.pairs.random_pair import ordered_pairs
from lingualign.pairs.scored import need_two, scored_pairs
from lingualign.pairs.sources import Sources
from lingualign.paths import user_path
from lingualign.prompts.files import read_rows
from lingualign.records import Pair

NONE = ""  # no gold answer: nothing equals it

READS = frozenset({"responses", "scores"})


class Settings(Section):
    """Options of ranked pairs."""

    max_pairs: int | None = Field(None, ge=1)
    """Most pairs a prompt and language, drawn at random (ours). Unset: all, K (K - 1) / 2 of them, as in the
    paper's code."""

    gold_path: str | None = None
    """File of rows with `id` and `answer`: only candidates with that answer can be chosen (the paper's rule).
    Unset: any can."""

    answers: Literal["number", "choice", "boxed"] = "number"
    """What the answer of a candidate is, where there is gold: its last number, its option letter, or what
    stands in its last \\boxed{}."""


def check(settings: Settings, config: RunConfig) -> None:
    """Checks a run with these pairs; see `lingualign.pairs.base`."""
    need_two(config)


def make(settings: Settings) -> Pairing:
    """Makes the pairing; see `lingualign.pairs.base`."""

    def pair(sources: Sources, tally: Tally) -> Iterator[Pair]:
        gold = read_gold(settings.gold_path, settings.answers) if settings.gold_path is not None else {}
        answer = extractor(settings.answers)

        def choose(
            candidates: Sequence[Candidate], rewards: Sequence[float], bound: float
        ) -> list[tuple[int, int]]:
            responses = [candidate.response for candidate in candidates]
            right = [not gold or answer(r) == gold.get(r["prompt_id"], NONE) for r in responses]
            found = [choice for choice in ordered_pairs(rewards, bound) if right[choice[0]]]
            if settings.max_pairs is None or len(found) <= settings.max_pairs:
                return found
            draw = sources.draw(responses[0]["prompt_id"], responses[0]["language"])
            return [found[i] for i in sorted(draw.sample(range(len(found)), settings.max_pairs))]

        return scored_pairs(sources, tally, choose)

    return pair


def read_gold(path: str, kind: AnswerKind) -> dict[str, str]:
    """Reads the right answers, by prompt id, spelled as `lingualign.answers` spells those of responses.

    Raises:
        InputError: The file cannot be read, or a row lacks `id` or `answer`.
    """
    found = {}
    for row in read_rows(user_path(path)):
        if row.fields.get("id") is None or row.fields.get("answer") is None:
            raise InputError(f"{row.place}: a row of pairs.options.gold_path has `id` and `answer`.")
        answer = str(row.fields["answer"]).strip()
        found[str(row.fields["id"])] = spelled(answer, kind)
    return found
