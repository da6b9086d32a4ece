"""What a model says at chosen positions, through its own LM head."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from lingualign.logprobs.likelihood import log_likelihood, tiled_log_likelihood

# Most numbers that the logits of one differentiable pass may have: 1 GiB of float32.
MAX_LOGITS = 2**28


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


def score_at(model: nn.Module, rows: Tensor, columns: Tensor, tokens: Tensor, **inputs: Any) -> Tensor:
    """Runs a causal language model and scores one token at each of some positions.

    Where nothing but a linear map lies between the hidden states and the logits, these are computed in tiles
    that no one keeps: always without gradients, and with them where the whole table would be too large.

    Args:
        model: See `forward_at`.
        rows: Row of each position [n].
        columns: Column of each position [n].
        tokens: Token to score there [n].
        **inputs: What the model's `forward` takes.

    Returns:
        Log-probabilities [n] in float32.
    """
    logits_fit = len(tokens) * text_config(model).vocab_size <= MAX_LOGITS
    if (torch.is_grad_enabled() and logits_fit) or not has_linear_head(model):
        logits, _ = forward_at(model, rows, columns, **inputs)
        return log_likelihood(logits, tokens)
    head, kept = unwrap(model).get_output_embeddings(), []

    def keep_hidden(_head: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden, *others = arguments
        chosen = hidden[rows.to(hidden.device), columns.to(hidden.device)]
        kept.append((chosen, _arithmetic(chosen)))
        return (chosen[:1].detach().unsqueeze(0), *others)

    with head.register_forward_pre_hook(keep_hidden):
        model(**inputs)
    hidden, dtype = kept[0]
    return tiled_log_likelihood(hidden, head.weight, head.bias, tokens, dtype)


def _arithmetic(hidden: Tensor) -> torch.dtype:
    """What the head computes in: autocast may be on inside a model's forward only."""
    device = hidden.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype


_linear: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def has_linear_head(model: nn.Module) -> bool:
    """Whether a model's logits are its head's weights times its hidden states and nothing else.

    Found out by trying, once a head. Not so for heads with an adapter or soft-capped logits; and not said of
    a model whose weights a data-parallel wrapper or FSDP2 may keep elsewhere.
    """
    if isinstance(getattr(model, "module", None), nn.Module) or is_sharded(model):
        return False
    head = unwrap(model).get_output_embeddings()
    if head not in _linear:
        _linear[head] = _try_head(model, head)
    return _linear[head]


def is_sharded(model: nn.Module) -> bool:
    """Whether FSDP2 has spread the weights over processes."""
    return any(isinstance(module, FSDPModule) for module in model.modules())


@contextmanager
def trying_out(model: nn.Module) -> Iterator[None]:
    """Without gradients and dropout: nothing of a trial is left, not even a random number drawn."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True


def _try_head(model: nn.Module, head: nn.Module) -> bool:
    if type(head) is not nn.Linear or head.weight.device.type == "meta" or head.weight.dim() != 2:
        return False  # its weights are not here: DeepSpeed leaves an empty vector in their place
    # Large, as soft-capping leaves small logits nearly as they are.
    width, place = head.weight.shape[1], head.weight.device
    hidden = torch.linspace(-1000, 1000, width, dtype=head.weight.dtype, device=place)[None, None]

    with trying_out(model):
        expected = head(hidden)
        with head.register_forward_pre_hook(lambda _head, arguments: (hidden, *arguments[1:])):
            ids = torch.zeros((1, 1), dtype=torch.long, device=place)
            logits = model(input_ids=ids, use_cache=False).logits
    return bool(torch.allclose(logits, expected, rtol=1e-4))
