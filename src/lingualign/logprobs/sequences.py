"""Token sequences to score, and how they are cut into padded batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# Fills a row behind its end. Which token does not matter: attention never looks right, no score looks there.
PADDING = 0


@dataclass(frozen=True, slots=True)
class ScoredSequence:
    """A response to be scored behind its prompt.

    Args:
        prompt_ids: Tokens of the templated prompt, at least one: the first response token is predicted from
            the last of them.
        response_ids: Tokens that are scored, the end token among them exactly when generation finished. May
            be empty: nothing is scored, and the log-probability is 0.

    Example:
        >>> ScoredSequence(chat.prompt_ids(messages), chat.response_ids(text, finished=True))
    """

    prompt_ids: Sequence[int]
    response_ids: Sequence[int]

    def __post_init__(self) -> None:
        if not self.prompt_ids:
            raise ValueError("a prompt needs at least one token to predict the first response token from")

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.response_ids)


def right_pad(rows: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """Rows of token ids as one tensor [rows, longest], filled up on the right."""
    longest = max(map(len, rows))
    padded = [[*row, *[PADDING] * (longest - len(row))] for row in rows]
    return torch.tensor(padded, dtype=torch.long, device=device)


def cut_batches(
    cells: Sequence[int],
    scored: Sequence[int],
    max_cells: int,
    max_scored: int,
    max_padding: float = float("inf"),
) -> Iterator[slice]:
    """Cuts a list of rows, sorted by size, into runs of neighbours that fit a budget when padded.

    Args:
        cells: Tokens of each row that a forward pass holds.
        scored: Tokens of each row that meet the LM head.
        max_cells: Most cells of a batch: rows times the longest. A row above it gets a batch of its own.
        max_scored: Most scored tokens of a batch, counted likewise.
        max_padding: Most cells of padding for each cell of a batch that is needed.

    Yields:
        Slices that cover all rows in order.
    """
    start, most_cells, most_scored, needed = 0, 0, 0, 0
    for row, (width, depth) in enumerate(zip(cells, scored, strict=True)):
        most_cells, most_scored, needed = max(most_cells, width), max(most_scored, depth), needed + width
        rows = row + 1 - start
        padded, padded_scored = rows * most_cells, rows * most_scored
        too_large = padded > max_cells or padded_scored > max_scored
        if rows > 1 and (too_large or padded - needed > max_padding * needed):
            yield slice(start, row)
            start, most_cells, most_scored, needed = row, width, depth, width
    if start < len(cells):
        yield slice(start, len(cells))
