"""Log-likelihoods from logits and from hidden states, and their gradients, by every path to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import AutoModelForCausalLM

from conftest import FamilyFolder
from families import SLIDING_WINDOW
from lingualign.logprobs import (
    ScoredSequence,
    attention,
    engine,
    head,
    likelihood,
    token_logprobs,
)
from lingualign.logprobs.passes import can_pack

VOCABULARY = 600


@st.composite
def heads(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor | None, Tensor, Tensor]:
    count, width, vocabulary = draw(st.integers(1, 9)), draw(st.integers(1, 5)), draw(st.integers(1, 40))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 999)))

    def normal(*shape: int) -> Tensor:
        return 3 * torch.randn(*shape, generator=generator)

    tokens = torch.randint(vocabulary, (count,), generator=generator)
    bias = normal(vocabulary) if draw(st.booleans()) else None
    return normal(count, width), normal(vocabulary, width), bias, tokens, normal(count)


def exact(hidden: Tensor, weight: Tensor, bias: Tensor | None, tokens: Tensor) -> Tensor:
    logits = torch.nn.functional.linear(hidden, weight, bias)
    return logits.log_softmax(-1)[torch.arange(len(tokens)), tokens]


@pytest.mark.parametrize("tiled", [True, False], ids=["tiled", "from logits"])
@given(drawn=heads(), tile=st.integers(1, 50))
def test_values_and_gradients_are_those_of_float64(tiled: bool, drawn: Any, tile: int) -> None:
    hidden, weight, bias, tokens, factors = drawn
    doubles = [t.double().requires_grad_() for t in (hidden, weight, bias) if t is not None]
    expected = exact(doubles[0], doubles[1], doubles[2] if bias is not None else None, tokens)
    (expected * factors).sum().backward()
    singles = [t.clone().requires_grad_() for t in (hidden, weight, bias) if t is not None]
    own_bias = singles[2] if bias is not None else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(likelihood, "TILE_VOCABULARY_CPU", tile)
        patch.setattr(likelihood, "TILE_CPU", 2 * tile)
        if tiled:
            found = likelihood.tiled_log_likelihood(singles[0], singles[1], own_bias, tokens)
        else:
            logits = torch.nn.functional.linear(singles[0], singles[1], own_bias)
            found = likelihood.log_likelihood(logits, tokens)
        (found * factors).sum().backward()
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, atol=1e-4, rtol=1e-5)
    for single, double in zip(singles, doubles, strict=True):
        assert single.grad is not None and double.grad is not None
        torch.testing.assert_close(single.grad.double(), double.grad, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("largest", [0, 35])
def test_a_first_tile_of_small_logits_leaves_room_for_large_ones(
    monkeypatch: pytest.MonkeyPatch, largest: int
) -> None:
    """Logits differ by 1,000, far beyond what an exponential in float32 can hold."""
    monkeypatch.setattr(likelihood, "TILE_VOCABULARY_CPU", 10)
    weight = torch.zeros(40, 1)
    weight[largest] = 1000.0
    hidden, tokens = torch.tensor([[1.0], [0.0], [-1.0]]), torch.tensor([largest, 3, 5])
    found = likelihood.tiled_log_likelihood(hidden, weight, None, tokens)
    torch.testing.assert_close(found, exact(hidden, weight, None, tokens))


@given(drawn=heads(), offset=st.sampled_from([-300.0, -60.0, -39.0, 39.0, 60.0, 300.0]))
def test_logits_far_from_zero_lose_nothing(drawn: Any, offset: float) -> None:
    """What all logits of a row share means nothing, however large it is."""
    hidden, weight, _, tokens, _ = drawn
    offsets = torch.full((len(weight),), offset)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(likelihood, "TILE_VOCABULARY_CPU", 7)
        found = likelihood.tiled_log_likelihood(hidden, weight, offsets, tokens)
    torch.testing.assert_close(found, exact(hidden, weight, None, tokens), atol=1e-3, rtol=1e-5)


def test_logits_are_spent_by_the_backward_pass() -> None:
    logits = torch.randn(3, 7, requires_grad=True)
    logps = likelihood.log_likelihood(logits * 1.0, torch.tensor([0, 1, 2])).sum()
    logps.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        logps.backward()


def candidates(seed: int = 0) -> list[ScoredSequence]:
    """Prompts with candidates, a response twice, of one token, and none; inside every family's window."""
    rng = np.random.default_rng(seed)

    def tokens(count: int) -> list[int]:
        return rng.integers(0, VOCABULARY, count).tolist()

    first, second, alone = tokens(4), tokens(1), tokens(3)
    twice = tokens(3)
    return [
        ScoredSequence(first, tokens(SLIDING_WINDOW - 6)),
        ScoredSequence(second, tokens(1)),
        ScoredSequence(first, twice),
        ScoredSequence(alone, tokens(5)),
        ScoredSequence(first, twice),
        ScoredSequence(second, tokens(2)),
        ScoredSequence(first, []),
    ]


def tiles(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(head, "MAX_LOGITS", 0)
    patch.setattr(likelihood, "TILE_VOCABULARY_CPU", 77)
    patch.setattr(likelihood, "TILE_CPU", 77 * 4)


def padded_rows(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(engine, "can_pack", lambda model, longest: False)


def tiles_and_padded_rows(patch: pytest.MonkeyPatch) -> None:
    tiles(patch)
    padded_rows(patch)


def one_stretch_a_call(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(attention, "CELLS_CPU", 1)


def stretches_of_all_sizes_in_a_call(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(attention, "CELLS_CPU", 2**62)


def results(model: Any, sequences: list[ScoredSequence]) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Log-probabilities, and gradients of a loss in which every token has another weight."""
    model.zero_grad()
    logps = token_logprobs(model, sequences)
    loss = sum(((1 + torch.arange(len(row)).cos()) * row).sum() for row in logps)
    assert isinstance(loss, Tensor)
    if loss.requires_grad:  # not where all responses are empty
        loss.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return [row.detach() for row in logps], gradients


def same(a: Tensor, b: Tensor) -> None:
    """To 1e-4 of the largest number of a gradient."""
    torch.testing.assert_close(a, b, atol=1e-4 * float(a.abs().max()) + 1e-9, rtol=0)


PATHS = [tiles, padded_rows, tiles_and_padded_rows, one_stretch_a_call, stretches_of_all_sizes_in_a_call]


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("path", PATHS)
def test_every_path_gives_the_same_numbers_and_gradients(
    family: str,
    family_folder: FamilyFolder,
    monkeypatch: pytest.MonkeyPatch,
    path: Callable[[pytest.MonkeyPatch], None],
    lora: bool,
) -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(family_folder(family))
    if lora:
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(model, LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
    logps, gradients = results(model, candidates())
    assert gradients
    path(monkeypatch)
    again, other = results(model, candidates())
    for a, b in zip(logps, again, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
    assert gradients.keys() == other.keys()
    for name, gradient in gradients.items():
        same(gradient, other[name])


@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_any_split_of_a_batch_gives_the_same_gradients(family_folder: FamilyFolder, parts: int) -> None:
    model = AutoModelForCausalLM.from_pretrained(family_folder("llama"))
    sequences = candidates()
    _, whole = results(model, sequences)
    split: dict[str, Tensor] = {}
    for start in range(parts):
        for name, gradient in results(model, sequences[start::parts])[1].items():
            split[name] = split.get(name, torch.zeros_like(gradient)) + gradient
    for name, gradient in whole.items():
        same(gradient, split[name])


def test_prompts_are_computed_once_with_gradients_too(
    family_folder: FamilyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = AutoModelForCausalLM.from_pretrained(family_folder("llama")).train()
    seen: list[int] = []
    model.model.embed_tokens.register_forward_hook(lambda _m, ids, _o: seen.append(ids[0].numel()))
    prompt = list(range(1, 41))
    sequences = [ScoredSequence(prompt, [5, 6, 7]), ScoredSequence(prompt, [8, 9])]
    assert can_pack(model, 43)
    seen.clear()
    token_logprobs(model, sequences)
    assert seen == [40 + 2 + 1]  # the prompt, and all of both responses but their last tokens
    model.gradient_checkpointing_enable()
    seen.clear()
    token_logprobs(model, sequences)
    assert seen == [2 * 42]
