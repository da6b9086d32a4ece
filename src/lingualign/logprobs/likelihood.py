"""Log-likelihood of tokens, from logits or straight from hidden states.

Two ways to the same numbers. `log_likelihood` takes logits that are there anyway and turns them into their
exponentials, and these into the gradient in the backward pass: one table of tokens times vocabulary instead
of four. `tiled_log_likelihood` never has such a table: it walks over the vocabulary tile by tile with a
running sum of exponentials, and computes the tiles again for the gradient.

    log p(t) = z_t - logsumexp(z),    d log p(t) / d z = onehot(t) - softmax(z),    z = W h + b

Tables and tiles are larger than a processor's nearest caches, so that every walk over one costs about as much
as the products that made it: what follows is written for few of them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Numbers in one tile of logits, and columns of the vocabulary in it. A CPU's stays in the cache, below
# the size from which malloc asks for fresh pages every time, and is about square, as matrix products like it;
# a GPU wants more work a launch.
TILE_CPU, TILE_VOCABULARY_CPU = 2**21, 2**11
TILE, TILE_VOCABULARY = 2**26, 2**13
# Where the largest logit of the first tile is at most this far from 0, exponentials are taken as they are:
# their sum is at least e^-40, and finite unless another tile has a logit near 88.
UNSHIFTED = 40.0


def log_likelihood(logits: Tensor, tokens: Tensor) -> Tensor:
    """Log-probability in float32 of each token [n] under its logits [n, vocabulary] of any precision.

    Float32 logits that want a gradient are spent: the forward pass overwrites them by their exponentials and
    the backward pass these by the gradient. Nothing else may read them (backward passes that do are errors).
    """
    return _OfLogits.apply(logits.float(), tokens.to(logits.device))


def tiled_log_likelihood(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, tokens: Tensor, dtype: torch.dtype | None = None
) -> Tensor:
    """Log-probability in float32 of each token [n] behind its hidden state [n, width], by a linear LM head.

    The softmax is in float32.

    Args:
        hidden: Input of the head [n, width].
        weight: Of the head [vocabulary, width].
        bias: Of the head [vocabulary], if it has one.
        tokens: Token to score at each position [n].
        dtype: What logits are computed in; by default the type of `hidden`.
    """
    return _OfHidden.apply(hidden, weight, bias, tokens.to(hidden.device), dtype or hidden.dtype)


class _OfLogits(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, tokens: Tensor) -> Tensor:
        picked = logits.gather(1, tokens[:, None])[:, 0]
        top, sums = torch.empty_like(picked), torch.empty_like(picked)
        for rows in _slices(len(logits), _rows(logits.shape[1], logits)):
            top[rows] = logits[rows].amax(-1)
            place = logits[rows] if ctx.needs_input_grad[0] else None
            sums[rows] = torch.sub(logits[rows], top[rows, None], out=place).exp_().sum(-1)
        ctx.save_for_backward(logits, tokens, sums)
        return picked - top - sums.log()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        exponentials, tokens, sums = ctx.saved_tensors
        exponentials.mul_((-gradient / sums)[:, None])
        exponentials.scatter_add_(1, tokens[:, None], gradient[:, None])
        return exponentials, None


class _OfHidden(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, tokens: Tensor, dtype: torch.dtype
    ) -> Tensor:
        total = torch.empty(len(hidden), device=hidden.device)
        for rows in _slices(len(hidden), _rows(min(_columns(hidden), len(weight)), hidden)):
            total[rows] = _logsumexp(hidden[rows].to(dtype), weight, bias)
        picked = (hidden.to(dtype).float() * weight[tokens].to(dtype).float()).sum(-1)
        ctx.save_for_backward(hidden, weight, bias, tokens, total)
        ctx.dtype = dtype
        return picked - total if bias is None else picked + bias[tokens] - total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, tokens, total = ctx.saved_tensors
        wants_hidden, wants_weight, wants_bias, _, _ = ctx.needs_input_grad
        of_hidden = torch.zeros_like(hidden) if wants_hidden else None
        of_weight = torch.zeros_like(weight) if wants_weight else None
        of_bias = torch.zeros_like(bias) if bias is not None and wants_bias else None
        for rows in _slices(len(hidden), _rows(min(_columns(hidden), len(weight)), hidden)):
            states = hidden[rows].to(ctx.dtype)
            for columns in _slices(len(weight), _columns(hidden)):
                softmax = _tile(states, weight, bias, columns, total[rows]).exp_()
                slopes = _gradient(softmax, tokens[rows], columns, gradient[rows])
                if of_bias is not None:
                    of_bias[columns] += slopes.sum(0)
                slopes = slopes.to(ctx.dtype)
                if of_hidden is not None:
                    of_hidden[rows] += slopes @ weight[columns].to(ctx.dtype)
                if of_weight is not None:
                    of_weight[columns] += slopes.T @ states
        return of_hidden, of_weight, of_bias, None, None


def _logsumexp(states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Of the logits of each row [rows] in float32.

    The first tile tells whether logits need a shift before their exponentials are taken. With one, nearly all
    have exponentials that float32 can hold, and no walk over the other tiles is needed to find a larger one.
    """
    first, *others = _slices(len(weight), _columns(states))
    tile = _tile(states, weight, bias, first)
    top = tile.amax(-1)
    shift = top if bool((top.abs() > UNSHIFTED).any()) else None
    sums = (tile if shift is None else tile.sub_(shift[:, None])).exp_().sum(-1)
    for columns in others:
        sums += _tile(states, weight, bias, columns, shift).exp_().sum(-1)
    if others and not bool(sums.isfinite().all()):
        tops = [_tile(states, weight, bias, columns).amax(-1) for columns in others]
        shift = torch.stack([top, *tops]).amax(0)
        sums = torch.stack(
            [_tile(states, weight, bias, columns, shift).exp_().sum(-1) for columns in (first, *others)]
        ).sum(0)
    return sums.log_() if shift is None else sums.log_().add_(shift)


def _tile(
    states: Tensor, weight: Tensor, bias: Tensor | None, columns: slice, shift: Tensor | None = None
) -> Tensor:
    """Logits [rows, columns] less the shift of each row, in float32, computed in the states' precision."""
    part = weight[columns].to(states.dtype)
    if shift is not None and bias is None and states.dtype == torch.float32:
        return torch.addmm(-shift[:, None], states, part.T)  # no walk of its own for the shift
    own_bias = None if bias is None else bias[columns].to(states.dtype)
    logits = torch.nn.functional.linear(states, part, own_bias).float()
    return logits if shift is None else logits.sub_(shift[:, None])


def _gradient(softmax: Tensor, tokens: Tensor, columns: slice, factor: Tensor) -> Tensor:
    """Overwrites a tile of the softmax by factor * (onehot(token) - softmax)."""
    softmax.mul_(-factor[:, None])
    inside = (tokens >= columns.start) & (tokens < columns.stop)
    places = torch.where(inside, tokens - columns.start, 0)
    return softmax.scatter_add_(1, places[:, None], torch.where(inside, factor, 0.0)[:, None])


def _columns(like: Tensor) -> int:
    """Columns of a tile."""
    return TILE_VOCABULARY_CPU if like.device.type == "cpu" else TILE_VOCABULARY


def _rows(width: int, like: Tensor) -> int:
    """Rows of a tile of some width."""
    return max(1, (TILE_CPU if like.device.type == "cpu" else TILE) // width)


def _slices(count: int, step: int) -> list[slice]:
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]
