"""Log-probabilities of pairs under the frozen reference: computed once, stored, and read in every epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

from torch import nn

from lingualign.logprobs import sequence_logprobs
from lingualign.logprobs.finite import require_finite
from lingualign.prompts import ChatFormat
from lingualign.records import Pair
from lingualign.training.collate import encode_pairs


def reference_logps(
    model: nn.Module,
    pairs: Sequence[Pair],
    chat: ChatFormat,
    *,
    max_length: int,
    batch_tokens: int = 16384,
    disable_adapter: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> list[dict[str, Any]]:
    """Computes the table REFERENCE_LOGPS.

    No second model is needed in training then. With the policy as it starts for a reference, this is the
    policy itself, before its first step; a fresh LoRA adapter changes nothing, so that model is the base
    alone.

    Args:
        model: The reference, in eval mode.
        pairs: Preferences.
        chat: Chat format of the policy.
        max_length: As in training: pairs that are left out there are left out here.
        batch_tokens: Most tokens of a forward pass.
        disable_adapter: `model` is a `PeftModel`, and the reference is its base.
        progress: Called with the sequences done, and of all.

    Returns:
        A row a pair, in order: `id`, `ref_chosen_logps`, `ref_rejected_logps` in nats.

    Raises:
        InputError: A log-probability is not finite.
    """
    encoded, _ = encode_pairs(pairs, chat, max_length)
    sequences = [sequence for pair in encoded for sequence in (pair.chosen, pair.rejected)]
    with model.disable_adapter() if disable_adapter else nullcontext():  # type: ignore[operator]
        flat = sequence_logprobs(model, sequences, batch_tokens, progress)
    names = [f"the {side} response of pair {pair.id}" for pair in encoded for side in ("chosen", "rejected")]
    require_finite(flat, names, "The reference", model)
    logps = flat.reshape(-1, 2)
    return [
        {"id": pair.id, "ref_chosen_logps": float(chosen), "ref_rejected_logps": float(rejected)}
        for pair, (chosen, rejected) in zip(encoded, logps, strict=True)
    ]
