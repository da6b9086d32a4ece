"""Attention over a packed row: stretches of like size together, each with what it may see.

Registered with Transformers as an attention function of its own: models call it in place of SDPA, with their
rotated queries, keys and values, whatever else they do around them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from lingualign.logprobs.head import text_config
from lingualign.logprobs.packing import Stretch

NAME = "lingualign_packed"
# Queries times keys of the stretches that go through one call of SDPA, padding included: enough to keep the
# machine busy, not so many that the padding costs more than the calls.
CELLS_CPU = 2**16
CELLS = 2**24
# Arguments by which layers ask for other attention than that of tokens to all tokens before them.
CHANGE_ATTENTION = ("softcap", "s_aux", "position_bias", "indices", "cache")


class PackedAttention:
    """Which tokens of a packed row see which.

    Stretches of like size are gathered into padded batches, for attention alone: it is a small part of the
    work, and padding a small part of that.

    Args:
        stretches: That cover the row in order.
        device: Where attention is computed.
    """

    def __init__(self, stretches: Sequence[Stretch], device: torch.device) -> None:
        by_size = sorted(stretches, key=lambda s: (s.prompt_length > 0, s.prompt_length + s.length, s.length))
        cells = CELLS_CPU if device.type == "cpu" else CELLS
        self._batches = [_Batch.gather(part, device) for part in _cut(by_size, cells)]
        self._longest = max(stretch.prompt_length + stretch.length for stretch in stretches)
        self._masks: dict[tuple[int | None, torch.dtype], list[Tensor | None]] = {}
        self._order = self._places_of_results(stretches).to(device)
        self.windows: set[int | None] = set()

    def _places_of_results(self, stretches: Sequence[Stretch]) -> Tensor:
        """Where the result for each token of the row [row] is among the rows of all batches, padded."""
        places = torch.empty(sum(stretch.length for stretch in stretches), dtype=torch.long)
        offset = 0
        for batch in self._batches:
            count, width = batch.queries.shape
            for index, stretch in enumerate(batch.stretches):
                first = offset + index * width
                places[stretch.start : stretch.start + stretch.length] = torch.arange(
                    first, first + stretch.length
                )
            offset += count * width
        return places

    def __call__(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, window: int | None, **options: Any
    ) -> Tensor:
        """Attention of a row.

        Args:
            module: The attention layer.
            query: [1, heads, row, width].
            key: [1, key heads, row, width].
            value: [1, key heads, row, width].
            window: Tokens that a token sees, itself included; None for all before it.
            **options: For SDPA.

        Returns:
            [1, row, heads, width].
        """
        self.windows.add(window)
        masks = self._masks_for(window, query.dtype)
        rows = [states.transpose(1, 2).flatten(2)[0] for states in (query, key, value)]
        heads = [states.shape[1] for states in (query, key, value)]
        results = []
        for batch, mask in zip(self._batches, masks, strict=True):
            places = (batch.queries, batch.keys, batch.keys)
            taken = [
                # Copies rows as indexing does, with a backward pass that is several times faster on CPU.
                embedding(at, states).unflatten(2, (count, -1)).transpose(1, 2)
                for at, states, count in zip(places, rows, heads, strict=True)
            ]
            result, _ = sdpa_attention_forward(module, *taken, mask, is_causal=mask is None, **options)
            results.append(result.flatten(0, 1).flatten(1))
        return embedding(self._order, torch.cat(results)).unflatten(1, (heads[0], -1))[None]

    def _masks_for(self, window: int | None, dtype: torch.dtype) -> list[Tensor | None]:
        """What is added to the scores of each batch, None where the causal mask is all there is."""
        reach = None if window is None or window >= self._longest else window
        if (reach, dtype) not in self._masks:
            self._masks[reach, dtype] = [batch.mask(reach, dtype) for batch in self._batches]
        return self._masks[reach, dtype]


@dataclass(frozen=True)
class _Batch:
    """Stretches of like size: all begin with their prompts inside, or all have them elsewhere.

    Keys are the prompt, padded, and then the stretch itself, padded. Padding points at the row's first token.
    """

    stretches: list[Stretch]
    queries: Tensor  # places [batch, longest stretch]
    keys: Tensor  # places [batch, longest prompt + longest stretch]
    prompt_width: int

    @classmethod
    def gather(cls, stretches: list[Stretch], device: torch.device) -> _Batch:
        prompt_width = max(stretch.prompt_length for stretch in stretches)
        width = max(stretch.length for stretch in stretches)
        table = torch.tensor(stretches, dtype=torch.long)
        start, length, prompt_start, prompt_length = table.T[:, :, None]
        steps, prompt_steps = torch.arange(width), torch.arange(prompt_width)
        queries = torch.where(steps < length, start + steps, 0)
        prompts = torch.where(prompt_steps < prompt_length, prompt_start + prompt_steps, 0)
        keys = torch.cat([prompts, queries], dim=1)
        return cls(stretches, queries.to(device), keys.to(device), prompt_width)

    def mask(self, window: int | None, dtype: torch.dtype) -> Tensor | None:
        """[batch, 1, queries, keys]; a padded query sees something too, lest its softmax be of nothing."""
        if window is None and not self.prompt_width:
            return None
        device = self.queries.device
        prompt = torch.tensor([stretch.prompt_length for stretch in self.stretches], device=device)
        prompt = prompt[:, None, None]
        steps = torch.arange(self.queries.shape[1], device=device)
        prompt_steps = torch.arange(self.prompt_width, device=device)
        sees_prompt = (prompt_steps < prompt).expand(-1, len(steps), -1)
        sees_own = (steps[:, None] >= steps).expand(len(prompt), -1, -1)
        if window is not None:
            sees_prompt = sees_prompt & (prompt + steps[:, None] - prompt_steps < window)
            sees_own = sees_own & (steps[:, None] < steps + window)
        sees = torch.cat([sees_prompt, sees_own], dim=2)[:, None]
        return torch.zeros(sees.shape, dtype=dtype, device=device).masked_fill_(~sees, -torch.inf)


def _cut(stretches: Sequence[Stretch], max_cells: int) -> Iterator[list[Stretch]]:
    """Cuts stretches, sorted by size, into batches of one kind within a budget."""
    part: list[Stretch] = []
    prompt = width = 0
    for stretch in stretches:
        prompt, width = max(prompt, stretch.prompt_length), max(width, stretch.length)
        kinds_differ = bool(part) and (part[0].prompt_length > 0) != (stretch.prompt_length > 0)
        if part and (kinds_differ or (len(part) + 1) * width * (prompt + width) > max_cells):
            yield part
            part, prompt, width = [], stretch.prompt_length, stretch.length
        part.append(stretch)
    if part:
        yield part


def _forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    packed: PackedAttention | None = None,
    is_causal: bool | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """What a model's attention layers call."""
    wanted = [name for name in CHANGE_ATTENTION if others.get(name) is not None]
    if packed is None or attention_mask is not None or is_causal is False or wanted:
        raise NotImplementedError(f"{type(module).__name__} wants more than packed attention does: {wanted}")
    return packed(module, query, key, value, sliding_window, dropout=dropout, scaling=scaling), None


AttentionInterface.register(NAME, _forward)


@contextmanager
def packed_attention(model: nn.Module) -> Iterator[None]:
    """Lets a model's attention layers read packed rows, and only these, for a while.

    Needed around a backward pass, too, if layers are computed again in it.
    """
    config = text_config(model)
    before = config._attn_implementation
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before
