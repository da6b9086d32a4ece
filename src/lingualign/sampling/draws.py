"""Choosing tokens: random numbers that belong to a response, and what they select."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor

FEW = 32  # tokens that a nucleus is first looked for in


def uniform_draws(key: tuple[object, ...], count: int) -> np.ndarray:
    """Random numbers that depend on a key and on nothing else.

    One number decides one token. Since a response draws from a stream of its own, keyed by seed, prompt,
    language and index, it does not depend on what was sampled before it or beside it: a resumed run, another
    batch size or a subset of the prompts give the same responses.

    Returns:
        float64 [count], uniform in [0, 1).
    """
    digest = hashlib.blake2b(repr(key).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "big"))).random(count)


def choose_tokens(logits: Tensor, draws: Tensor, temperature: float, top_p: float = 1.0) -> Tensor:
    """Inverts the cumulative distribution of the next token at one draw a row.

    Beside needing only one random number a token, this is faster than `torch.multinomial`, which draws one
    for every token of the vocabulary. The nucleus (Holtzman et al. 2020, arXiv 1904.09751) is the shortest
    list of most likely tokens whose probability is at least `top_p`.

    Args:
        logits: [rows, vocabulary], of any precision.
        draws: float64 [rows], in [0, 1). Not looked at where `temperature` is 0.
        temperature: Divides the logits; 0 takes the most likely token.
        top_p: Nucleus mass, 1 for the whole distribution.

    Returns:
        Token ids [rows].
    """
    if temperature == 0:
        return logits.argmax(dim=-1)
    probabilities = (logits.float() / temperature).softmax(dim=-1)
    order = None
    if top_p < 1:
        probabilities, order = _most_likely(probabilities, top_p)
    # In float32 the tail of a large vocabulary would be lost.
    mass = probabilities.cumsum(dim=-1, dtype=torch.float64)
    last = mass.shape[-1] - 1
    edge = (mass < top_p).sum(dim=-1, keepdim=True).clamp(max=last) if order is not None else None
    total = mass.gather(-1, edge) if edge is not None else mass[:, -1:]
    # The first token whose cumulative mass exceeds the draw: its own probability is then above zero.
    chosen = torch.searchsorted(mass, draws[:, None] * total, right=True).clamp(max=last)
    return (chosen if order is None else order.gather(-1, chosen)).squeeze(-1)


def _most_likely(probabilities: Tensor, mass: float) -> tuple[Tensor, Tensor]:
    """As many of the most likely tokens as have some mass in every row, and which they are.

    In order, equally likely ones by their ids. A language model has the mass in a few tokens nearly always:
    sorting its whole vocabulary takes most of the time of a step of sampling.
    """
    count = FEW
    while count < probabilities.shape[-1]:
        ids = probabilities.topk(count, dim=-1, sorted=False).indices.sort(dim=-1).values
        found, order = probabilities.gather(-1, ids).sort(dim=-1, descending=True, stable=True)
        # Which of those that are as likely as the last one are among them is left to chance.
        surely = torch.where(found > found[:, -1:], found, 0.0).sum(dim=-1, dtype=torch.float64)
        if bool((surely >= mass).all()):
            return found, ids.gather(-1, order)
        count *= 8
    found, order = probabilities.sort(dim=-1, descending=True, stable=True)
    return found, order
