"""Responses behind their prompts in one row of tokens: each prompt once, and no padding.

    tokens       p p p r r r r s s Q Q T T T
    positions    0 1 2 3 4 5 6 3 4 0 1 2 3 4

A language model treats each token by itself, given its position, everywhere but in attention; and attention
is told which stretches of the row belong together (see `attention`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from lingualign.logprobs.sequences import ScoredSequence, cut_batches


@dataclass(frozen=True)
class PromptGroup:
    """The distinct responses behind one prompt, and where in the caller's list each of them stands."""

    prompt_ids: tuple[int, ...]
    responses: dict[tuple[int, ...], list[int]] = field(default_factory=dict)

    def tokens(self) -> int:
        """The prompt's, once, and the responses'."""
        return len(self.prompt_ids) + sum(map(len, self.responses))


def group_by_prompt(sequences: Sequence[ScoredSequence]) -> list[PromptGroup]:
    """Groups by prompt, in order of prompt length. Empty responses are left out: their score is 0."""
    groups: dict[tuple[int, ...], PromptGroup] = {}
    for place, sequence in enumerate(sequences):
        if sequence.response_ids:
            prompt_ids = tuple(sequence.prompt_ids)
            group = groups.setdefault(prompt_ids, PromptGroup(prompt_ids))
            group.responses.setdefault(tuple(sequence.response_ids), []).append(place)
    return sorted(groups.values(), key=lambda group: len(group.prompt_ids))


def cut_passes(
    groups: Sequence[PromptGroup], max_tokens: int, max_scored: int
) -> Iterator[list[PromptGroup]]:
    """Deals groups out to forward passes within a budget, in order.

    A group that does not fit is divided, and its prompt begins again in the next pass. A single response
    above the budget gets a pass of its own.

    Args:
        groups: Prompts and responses.
        max_tokens: Most tokens of a row.
        max_scored: Most tokens that meet the LM head.

    Yields:
        The groups, or parts of groups, of one pass each.
    """
    passed: list[PromptGroup] = []
    tokens = scored = 0
    for group in groups:
        part: PromptGroup | None = None
        for response, places in group.responses.items():
            more = len(response) + (len(group.prompt_ids) if part is None else 0)
            if passed and (tokens + more > max_tokens or scored + len(response) > max_scored):
                yield passed
                passed, tokens, scored, part = [], 0, 0, None
                more = len(response) + len(group.prompt_ids)
            if part is None:
                part = PromptGroup(group.prompt_ids)
                passed.append(part)
            part.responses[response] = places
            tokens += more
            scored += len(response)
    if passed:
        yield passed


def cut_padded(
    groups: Sequence[PromptGroup], max_tokens: int, max_scored: int
) -> Iterator[list[PromptGroup]]:
    """Deals single responses out to forward passes of padded rows, those of like length together.

    Args:
        groups: Prompts and responses.
        max_tokens: Most tokens of a pass, padding included. A row above it gets a pass of its own.
        max_scored: Most tokens that meet the LM head, counted likewise.

    Yields:
        The responses of each pass, each in a group of its own.
    """
    rows = [
        PromptGroup(group.prompt_ids, {response: places})
        for group in groups
        for response, places in group.responses.items()
    ]
    rows.sort(key=PromptGroup.tokens)
    cells = [row.tokens() for row in rows]
    scored = [cell - len(row.prompt_ids) for row, cell in zip(rows, cells, strict=True)]
    for part in cut_batches(cells, scored, max_tokens, max_scored):
        yield rows[part]


class Stretch(NamedTuple):
    """Neighbouring tokens of a row. Each sees the prompt, and its own stretch up to itself.

    Attributes:
        start: Place of its first token.
        length: How many they are.
        prompt_start: Place of its prompt's first token.
        prompt_length: Tokens of the prompt: 0 where the prompt is in the stretch itself.
    """

    start: int
    length: int
    prompt_start: int
    prompt_length: int


@dataclass(frozen=True)
class PackedRow:
    """Groups as one row of tokens.

    Attributes:
        ids: The tokens [row].
        positions: Of each behind the start of its own sequence [row].
        stretches: That cover the row in order.
        predictors: For each response token in the order of the groups, the place that it is predicted at.
        targets: These response tokens.
    """

    ids: list[int]
    positions: list[int]
    stretches: list[Stretch]
    predictors: list[int]
    targets: list[int]


def pack(groups: Sequence[PromptGroup]) -> PackedRow:
    """Writes groups into one row. The last token of a response predicts nothing and is left out."""
    row = PackedRow([], [], [], [], [])
    for group in groups:
        prompt, start = group.prompt_ids, len(row.ids)
        last = start + len(prompt) - 1
        row.ids.extend(prompt)
        row.positions.extend(range(len(prompt)))
        # A single response is one stretch with its prompt, and needs no mask but the causal one.
        joined = len(group.responses) == 1
        if not joined:
            row.stretches.append(Stretch(start, len(prompt), start, 0))
        for response in group.responses:
            own, length = len(row.ids), len(response) - 1
            row.ids.extend(response[:-1])
            row.positions.extend(range(len(prompt), len(prompt) + length))
            if joined:
                row.stretches.append(Stretch(start, len(prompt) + length, start, 0))
            elif length:
                row.stretches.append(Stretch(own, length, start, len(prompt)))
            row.predictors.extend([last, *range(own, own + length)])
            row.targets.extend(response)
    return row
