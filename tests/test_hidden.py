"""Mean hidden states of responses: whose tokens, which layer, and nothing but the sequence itself."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from conftest import LoadFamily
from lingualign.hidden import layer_index, mean_states
from lingualign.logprobs import ScoredSequence
from lingualign.models import load_model

SEQUENCES = [
    ScoredSequence([5, 6, 7], [8, 9, 10, 11]),
    ScoredSequence([5], [12]),
    ScoredSequence([40] * 30, list(range(20, 60))),
    ScoredSequence([5, 6, 7], [8, 9, 10, 11]),
    ScoredSequence([9, 8, 7, 6], [5, 4, 3]),
]
LAYERS = [0, 1, 2]


@torch.no_grad()
def one_by_one(model: PreTrainedModel, sequences: Sequence[ScoredSequence], layers: Sequence[int]) -> Tensor:
    exact = copy.deepcopy(model).double()
    rows = []
    for sequence in sequences:
        ids = torch.tensor([[*sequence.prompt_ids, *sequence.response_ids]])
        states = exact(input_ids=ids, output_hidden_states=True).hidden_states
        rows.append(torch.stack([states[i][0, len(sequence.prompt_ids) :].mean(dim=0) for i in layers]))
    return torch.stack(rows)


@pytest.mark.parametrize("batch_tokens", [1, 60, 10_000])
def test_is_the_mean_over_response_tokens_in_any_batch(
    family_model: PreTrainedModel, batch_tokens: int
) -> None:
    found = mean_states(family_model, SEQUENCES, LAYERS, batch_tokens)
    assert found.dtype == torch.float32 and found.shape == (5, 3, 32)
    torch.testing.assert_close(
        found.double(), one_by_one(family_model, SEQUENCES, LAYERS), rtol=1e-4, atol=1e-4
    )


def test_layers_come_as_they_were_asked_for(load_family: LoadFamily) -> None:
    model = load_family("llama")
    both = mean_states(model, SEQUENCES, [2, 0], 1000)
    torch.testing.assert_close(both[:, 0], mean_states(model, SEQUENCES, [2], 1000)[:, 0])
    torch.testing.assert_close(both[:, 1], mean_states(model, SEQUENCES, [0], 1000)[:, 0])


def test_an_empty_response_has_zeros_and_none_is_no_row(load_family: LoadFamily) -> None:
    model = load_family("llama")
    assert mean_states(model, [ScoredSequence([5, 6], [])], [1], 1000).abs().sum() == 0
    assert mean_states(model, [], [1], 1000).shape == (0, 1, 32)


def test_the_head_is_not_computed_and_equal_sequences_are_computed_once(load_family: LoadFamily) -> None:
    model, rows = load_family("llama"), []

    def fail(*_: object) -> None:
        raise AssertionError("the LM head was called")

    def count(_module: object, arguments: tuple[Tensor], _output: object) -> None:
        rows.append(len(arguments[0]))

    embeddings = model.get_input_embeddings()
    with (
        model.get_output_embeddings().register_forward_pre_hook(fail),
        embeddings.register_forward_hook(count),
    ):
        mean_states(model, SEQUENCES, [1], 10_000)
    assert sum(rows) == 4


def test_an_adapter_counts(load_family: LoadFamily) -> None:
    from peft import LoraConfig, get_peft_model

    model = copy.deepcopy(load_family("llama"))
    plain = mean_states(model, SEQUENCES, [2], 1000)
    torch.manual_seed(0)
    adapted = get_peft_model(model, LoraConfig(init_lora_weights=False, target_modules="all-linear")).eval()
    found = mean_states(adapted, SEQUENCES, [2], 1000)
    assert (found - plain).abs().max() > 0.01
    torch.testing.assert_close(found.double(), one_by_one(adapted, SEQUENCES, [2]), rtol=1e-4, atol=1e-4)
    with adapted.disable_adapter():
        torch.testing.assert_close(mean_states(adapted, SEQUENCES, [2], 1000), plain)


def test_layer_index_is_a_share_of_the_depth(load_family: LoadFamily) -> None:
    deep = copy.deepcopy(load_family("llama"))
    deep.config.num_hidden_layers = 32
    assert layer_index(deep, 0.47) == 15
    lab = load_model("lab:sft", device="cpu", dtype="float32")
    assert [layer_index(lab, fraction) for fraction in (0, 0.47, 0.5, 0.75, 1)] == [0, 2, 2, 3, 4]
