"""A cache of keys and values that grows in place."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

# Tokens that a layer makes room for when it is full.
ROOM = 64


class RoomyLayer(DynamicLayer):
    """Keys and values at the front of buffers that have room for more.

    Transformers' own layer concatenates, which copies the whole cache for every token: more memory traffic
    than everything else that a step of decoding does.
    """

    keys: Tensor
    values: Tensor
    _key_room: Tensor
    _value_room: Tensor

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Appends states [rows, heads, tokens, width], and returns all there are."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        if start == 0 or end > self._key_room.shape[-2]:
            self._key_room = _with_room(self.keys, key_states, end)
            self._value_room = _with_room(self.values, value_states, end)
        self._key_room[:, :, start:end] = key_states
        self._value_room[:, :, start:end] = value_states
        self.keys, self.values = self._key_room[:, :, :end], self._value_room[:, :, :end]
        return self.keys, self.values

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Replaces the rows by copies of some of them."""
        if self.get_seq_length():
            tokens, rows = self.get_seq_length(), beam_idx.to(self.keys.device)
            self._key_room = self._key_room.index_select(0, rows)
            self._value_room = self._value_room.index_select(0, rows)
            self.keys, self.values = self._key_room[:, :, :tokens], self._value_room[:, :, :tokens]

    batch_select_indices = reorder_cache


def _with_room(states: Tensor, like: Tensor, tokens: int) -> Tensor:
    """A buffer for more than some tokens that begins with states."""
    rows, heads, _, width = like.shape
    buffer = torch.empty((rows, heads, tokens + ROOM, width), dtype=like.dtype, device=like.device)
    if states.numel():
        buffer[:, :, : states.shape[-2]] = states
    return buffer


def roomy_cache(config: Any) -> DynamicCache:
    """The cache of a model, its plain layers roomy; windows and recurrent states stay as they are."""
    cache = DynamicCache(config=config)
    cache.layers = [RoomyLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache
