"""The logits of chosen positions, through the model's own head."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def unwrap(model: nn.Module) -> Any:
    """The Transformers model inside a data-parallel wrapper or a PEFT model."""
    inner: Any = model
    while isinstance(getattr(inner, "module", None), nn.Module):
        inner = inner.module
    return inner.get_base_model() if hasattr(inner, "get_base_model") else inner


def text_config(model: nn.Module) -> Any:
    """The configuration of the model's language part."""
    return unwrap(model).config.get_text_config(decoder=True)


def forward_at(model: nn.Module, rows: Tensor, columns: Tensor, **inputs: Any) -> tuple[Tensor, Any]:
    """Runs a causal language model and takes its logits at some positions only.

    A hook hands the LM head the hidden states of these positions instead of all. So prompt and padding never
    cost a row of the vocabulary, and whatever the model does around its head (soft-capping, scaling, an
    adapter, sharding) is done by the model itself.

    Args:
        model: Any `AutoModelForCausalLM`, bare or inside PEFT or a data-parallel wrapper.
        rows: Row of each position [n].
        columns: Column of each position [n].
        **inputs: What the model's `forward` takes.

    Returns:
        Logits [n, vocabulary] in the model's precision, and the model's whole output.
    """

    def keep_positions(_head: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden, *others = arguments
        return (hidden[rows.to(hidden.device), columns.to(hidden.device)].unsqueeze(0), *others)

    with unwrap(model).get_output_embeddings().register_forward_pre_hook(keep_positions):
        output = model(**inputs)
    return output.logits.squeeze(0), output


def log_likelihood(logits: Tensor, tokens: Tensor) -> Tensor:
    """Log-probability in float32 of each token [n] under its logits [n, vocabulary] of any precision."""
    return -torch.nn.functional.cross_entropy(logits.float(), tokens.to(logits.device), reduction="none")
