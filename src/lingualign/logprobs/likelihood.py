"""Log-likelihood of tokens, from logits or straight from hidden states.

Two ways to the same numbers. `log_likelihood` takes logits that are there anyway and turns them into their
own gradient in the backward pass: one table of tokens times vocabulary instead of four.
`tiled_log_likelihood` never has such a table: it walks over the vocabulary tile by tile with a running
log-sum-exp, and computes the tiles again for the gradient.

    log p(t) = z_t - logsumexp(z),    d log p(t) / d z = onehot(t) - softmax(z),    z = W h + b
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


def log_likelihood(logits: Tensor, tokens: Tensor) -> Tensor:
    """Log-probability in float32 of each token [n] under its logits [n, vocabulary] of any precision.

    The backward pass writes the gradient over float32 logits: there is one, and nothing else may need their
    values in it (autograd says so).
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
        total = torch.cat([part.logsumexp(-1) for part in logits.split(_rows(logits.shape[1], logits))])
        ctx.save_for_backward(logits, tokens, total)
        return logits.gather(1, tokens[:, None])[:, 0] - total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        logits, tokens, total = ctx.saved_tensors
        rows = _rows(logits.shape[1], logits)
        parts = zip(
            logits.split(rows), tokens.split(rows), total.split(rows), gradient.split(rows), strict=True
        )
        for part, token, lse, factor in parts:
            _into_gradient(part, token, torch.ones_like(lse), lse, factor)
        return logits, None


class _OfHidden(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, tokens: Tensor, dtype: torch.dtype
    ) -> Tensor:
        count, vocabulary = len(hidden), len(weight)
        total = torch.full((count,), -torch.inf, device=hidden.device)
        picked = torch.zeros(count, device=hidden.device)
        for rows in _slices(count, _rows(min(_columns(hidden), vocabulary), hidden)):
            states = hidden[rows].to(dtype)
            for columns in _slices(vocabulary, _columns(hidden)):
                logits = _tile(states, weight, bias, columns, dtype)
                inside, place = _inside(tokens[rows], columns)
                picked[rows] += torch.where(inside, logits.gather(1, place[:, None])[:, 0], 0.0)
                top = logits.amax(-1)
                tile_total = logits.sub_(top[:, None]).exp_().sum(-1).log_().add_(top)
                total[rows] = torch.logaddexp(total[rows], tile_total)
        ctx.save_for_backward(hidden, weight, bias, tokens, total)
        ctx.dtype = dtype
        return picked - total

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
                logits = _tile(states, weight, bias, columns, ctx.dtype)
                inside, place = _inside(tokens[rows], columns)
                _into_gradient(logits, place, inside.float(), total[rows], gradient[rows])
                slopes = logits.to(ctx.dtype)
                if of_hidden is not None:
                    of_hidden[rows] += slopes @ weight[columns].to(ctx.dtype)
                if of_weight is not None:
                    of_weight[columns] += slopes.T @ states
                if of_bias is not None:
                    of_bias[columns] += logits.sum(0)
        return of_hidden, of_weight, of_bias, None, None


def _tile(states: Tensor, weight: Tensor, bias: Tensor | None, columns: slice, dtype: torch.dtype) -> Tensor:
    """Logits [rows, columns] in float32."""
    part = None if bias is None else bias[columns].to(dtype)
    return torch.nn.functional.linear(states, weight[columns].to(dtype), part).float()


def _inside(tokens: Tensor, columns: slice) -> tuple[Tensor, Tensor]:
    """Which tokens lie in a tile, and their places in it (0 for the others)."""
    inside = (tokens >= columns.start) & (tokens < columns.stop)
    return inside, torch.where(inside, tokens - columns.start, 0)


def _into_gradient(logits: Tensor, places: Tensor, hits: Tensor, total: Tensor, factor: Tensor) -> None:
    """Overwrites logits by factor * (onehot(place) - softmax); hits is 0 where the token is elsewhere."""
    logits.sub_(total[:, None]).exp_()
    logits.scatter_add_(1, places[:, None], -hits[:, None])
    logits.mul_(-factor[:, None])


def _columns(like: Tensor) -> int:
    """Columns of a tile."""
    return TILE_VOCABULARY_CPU if like.device.type == "cpu" else TILE_VOCABULARY


def _rows(width: int, like: Tensor) -> int:
    """Rows of a tile of some width."""
    return max(1, (TILE_CPU if like.device.type == "cpu" else TILE) // width)


def _slices(count: int, step: int) -> list[slice]:
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]
