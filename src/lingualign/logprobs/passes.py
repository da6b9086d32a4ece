"""One forward pass over prompts and responses: packed into a row where a model allows it, else padded.

Both give the log-probabilities of all response tokens, in the order of the groups and of their responses.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from lingualign.logprobs.attention import NAME, PackedAttention, packed_attention
from lingualign.logprobs.head import has_linear_head, score_at, text_config, trying_out, unwrap
from lingualign.logprobs.packing import PackedRow, PromptGroup, group_by_prompt, pack
from lingualign.logprobs.sequences import ScoredSequence, right_pad

logger = logging.getLogger(__name__)


def packed_pass(model: nn.Module, groups: Sequence[PromptGroup]) -> Tensor:
    """Log-probabilities [response tokens] by one row without padding, each prompt computed once.

    Args:
        model: A model that `can_pack`.
        groups: Prompts and responses.
    """
    return _packed(model, groups)[0]


def _packed(model: nn.Module, groups: Sequence[PromptGroup]) -> tuple[Tensor, PackedAttention]:
    row, device = pack(groups), next(model.parameters()).device
    attention = PackedAttention(row.stretches, device)
    positions = torch.tensor([row.positions], device=device)
    with packed_attention(model):
        return _score_row(model, row, position_ids=positions, packed=attention), attention


def _score_row(model: nn.Module, row: PackedRow, **inputs: Any) -> Tensor:
    return score_at(
        model,
        torch.zeros(len(row.targets), dtype=torch.long),
        torch.tensor(row.predictors),
        torch.tensor(row.targets),
        input_ids=torch.tensor([row.ids], device=next(model.parameters()).device),
        use_cache=False,
        **inputs,
    )


def padded_pass(model: nn.Module, groups: Sequence[PromptGroup]) -> Tensor:
    """Log-probabilities [response tokens] by rows padded on the right: for any causal model.

    Rows are passed without an attention mask: causal attention never looks right, so a token cannot see
    padding, positions count from 0 in every row, and attention can use its fastest kernel.
    """
    rows = [(group.prompt_ids, response) for group in groups for response in group.responses]
    lengths = torch.tensor([len(response) for _, response in rows])
    # The token at column c is predicted at column c - 1, so nobody reads what stands at the last one.
    columns = [torch.arange(len(prompt) - 1, len(prompt) + len(response) - 1) for prompt, response in rows]
    inputs = [[*prompt, *response[:-1]] for prompt, response in rows]
    return score_at(
        model,
        torch.arange(len(rows)).repeat_interleave(lengths),
        torch.cat(columns),
        torch.tensor([token for _, response in rows for token in response]),
        input_ids=right_pad(inputs, next(model.parameters()).device),
        use_cache=False,
    )


class _Trial(NamedTuple):
    """How packing went with a model: whether numbers agreed, and which windows its layers asked for."""

    agrees: bool
    windows: frozenset[int | None]


_trials: WeakKeyDictionary[nn.Module, _Trial] = WeakKeyDictionary()

# Two prompts, with two responses and with one: all kinds of stretches.
TRIAL = [([1, 2, 3, 4], [5, 6, 7]), ([1, 2, 3, 4], [7, 5]), ([4, 3], [2, 6, 1])]
# What packed rows may be off by, as a share of what a row without borders between its stretches is off by.
TOLERANCE = 1e-3
TOLERANCE_LOW_PRECISION = 0.05


def can_pack(model: nn.Module, longest: int) -> bool:
    """Whether packed rows give this model's own numbers. Found out by trying, once a model.

    Not so for recurrent layers, for attention that does more than look at tokens before (sinks, soft-capping,
    biases), nor for windows or chunks of attention, shorter than the longest sequence, that layers do not ask
    for.

    Args:
        model: A causal language model.
        longest: Tokens of the longest prompt with a response.
    """
    inner, config = unwrap(model), text_config(model)
    if inner.training and _recomputes(inner) and config._attn_implementation != NAME:
        return False  # layers will be computed again when attention is no longer packed
    return _reads_packed(model, longest)


@contextmanager
def keep_packing(model: nn.Module, longest: int) -> Iterator[None]:
    """Leaves a model's attention packed meanwhile, if it can be.

    For a forward pass together with its backward pass: layers that are computed again in the latter
    (gradient checkpointing) must find attention as it was. Without, such a model's rows are padded.

    Args:
        model: A causal language model.
        longest: Tokens of the longest sequence that it will read.
    """
    with packed_attention(model) if _reads_packed(model, longest) else nullcontext():
        yield


def _reads_packed(model: nn.Module, longest: int) -> bool:
    inner, config = unwrap(model), text_config(model)
    if config._attn_implementation not in ("sdpa", NAME):
        return False
    if getattr(config, "attn_temperature_tuning", False):
        return False  # Llama 4 scales queries by their places in the row
    if inner not in _trials:
        _trials[inner] = _try_packing(model)
        if not _trials[inner].agrees:
            logger.info("%s: rows are padded, and prompts repeated.", type(inner).__name__)
    trial = _trials[inner]
    windows = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")]
    return trial.agrees and all(
        not window or longest <= window or window in trial.windows for window in windows
    )


def _recomputes(model: nn.Module) -> bool:
    return any(getattr(module, "gradient_checkpointing", False) for module in model.modules())


def _try_packing(model: nn.Module) -> _Trial:
    has_linear_head(model)  # tried now, as it cannot be while attention is packed
    groups = group_by_prompt([ScoredSequence(*row) for row in TRIAL])
    try:
        with trying_out(model):
            packed, attention = _packed(model, groups)
            padded = padded_pass(model, groups)
            mixed = _score_row(model, pack(groups))  # every token sees all before it
    except torch.OutOfMemoryError:
        raise  # says nothing about the model
    except Exception as error:  # whatever a model does not take: it is as good a reason as any other
        logger.debug("Packing failed: %r", error)
        return _Trial(False, frozenset())
    low = next(model.parameters()).dtype in (torch.bfloat16, torch.float16)
    allowed = (TOLERANCE_LOW_PRECISION if low else TOLERANCE) * (mixed - padded).abs().max()
    return _Trial(bool((packed - padded).abs().max() <= allowed), frozenset(attention.windows))
