"""The log-prob engine: right on every family, whatever the batch."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from transformers import AutoModelForCausalLM, GPT2Config, PreTrainedModel

from conftest import FamilyFolder, LoadFamily
from families import FAMILIES, SLIDING_WINDOW, make_model, make_tokenizer
from lingualign.logprobs import ScoredSequence, engine, keep_packing, sequence_logprobs, token_logprobs
from lingualign.logprobs.passes import can_pack
from lingualign.logprobs.sequences import cut_batches

VOCABULARY = 600
TOLERANCE = 1e-4


def reference_logprobs(model: PreTrainedModel, sequence: ScoredSequence) -> list[float]:
    """A plain loop: the model in float64 on each prefix alone, no batch, no padding, no cache."""
    exact = copy.deepcopy(model).double()
    ids, logps = list(sequence.prompt_ids), []
    for token in sequence.response_ids:
        with torch.no_grad():
            logits = exact(torch.tensor([ids])).logits[0, -1].tolist()
        top = max(logits)
        logps.append(logits[token] - top - math.log(sum(math.exp(logit - top) for logit in logits)))
        ids.append(token)
    return logps


def some_sequences(seed: int = 0) -> list[ScoredSequence]:
    """Ragged, with shared prompts, a repeated response, an empty one and single tokens."""
    rng = np.random.default_rng(seed)

    def tokens(count: int) -> list[int]:
        return rng.integers(0, VOCABULARY, count).tolist()

    short, long = tokens(5), tokens(SLIDING_WINDOW + 9)
    again = tokens(4)
    return [
        ScoredSequence(short, tokens(7)),
        ScoredSequence(long, tokens(1)),
        ScoredSequence(short, again),
        ScoredSequence(short, []),
        ScoredSequence(tokens(1), tokens(1)),
        ScoredSequence(short, again),
        ScoredSequence(long, tokens(SLIDING_WINDOW + 3)),
        ScoredSequence(long, tokens(2)),
    ]


def test_every_family_equals_a_plain_float64_loop(family_model: PreTrainedModel) -> None:
    sequences = some_sequences()
    expected = [reference_logprobs(family_model, sequence) for sequence in sequences]
    with torch.no_grad():
        tokens = token_logprobs(family_model, sequences)
    for ours, theirs in zip(tokens, expected, strict=True):
        assert ours.dtype == torch.float32
        np.testing.assert_allclose(ours.numpy(), theirs, atol=TOLERANCE, rtol=0)
    sums = sequence_logprobs(family_model, sequences, batch_tokens=64)
    assert sums.dtype == np.float64
    np.testing.assert_allclose(sums, [sum(logps) for logps in expected], atol=TOLERANCE, rtol=0)


token_lists = st.lists(st.integers(0, VOCABULARY - 1), max_size=12)


@st.composite
def ragged_batches(draw: st.DrawFn) -> list[ScoredSequence]:
    prompts = draw(st.lists(token_lists.filter(bool), min_size=1, max_size=3))
    return [
        ScoredSequence(prompts[draw(st.integers(0, len(prompts) - 1))], draw(token_lists))
        for _ in range(draw(st.integers(1, 8)))
    ]


# Gemma's window is shorter than some rows.
@pytest.mark.parametrize("name", ["llama", "gemma3"])
@given(sequences=ragged_batches(), batch_tokens=st.sampled_from([1, 17, 40, 10_000]))
def test_scores_do_not_depend_on_the_batch(
    load_family: LoadFamily, name: str, sequences: list[ScoredSequence], batch_tokens: int
) -> None:
    model = load_family(name)
    together = sequence_logprobs(model, sequences, batch_tokens)
    with torch.no_grad():
        alone = [float(token_logprobs(model, [sequence])[0].sum()) for sequence in sequences]
    np.testing.assert_allclose(together, alone, atol=TOLERANCE, rtol=0)
    assert all(score == 0 for score, s in zip(together, sequences, strict=True) if not s.response_ids)
    backwards = sequence_logprobs(model, sequences[::-1], batch_tokens)
    np.testing.assert_allclose(backwards[::-1], together, atol=TOLERANCE, rtol=0)


class FixedLogits(nn.Module):
    """A causal model that gives token t the same log-probability after anything, falling with t."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.head = nn.Linear(1, vocabulary, bias=False)
        self.config = GPT2Config(vocab_size=vocabulary)
        with torch.no_grad():
            self.head.weight.copy_(-torch.arange(vocabulary)[:, None] / 10)
        self.logps = self.head.weight.detach()[:, 0].double().log_softmax(0)

    def get_output_embeddings(self) -> nn.Module:
        return self.head

    def forward(self, input_ids: torch.Tensor, use_cache: bool = False) -> object:
        logits = self.head(torch.ones(*input_ids.shape, 1))
        return type("Output", (), {"logits": logits})


@pytest.mark.parametrize("end_ids", [[], [99]], ids=["cut", "finished"])
@pytest.mark.parametrize("batched", [True, False], ids=["one batch", "each alone"])
def test_exactly_the_response_tokens_count(end_ids: list[int], batched: bool) -> None:
    """Prompt [5,6,7], responses [10,11,12], [20,21], [30], end 99, padding 0: the published code summed
    {11,12,99}, {21,99,pad}, {99,pad}, and something else in another batch."""
    model = FixedLogits(100)
    responses = [[10, 11, 12], [20, 21], [30]]
    sequences = [ScoredSequence([5, 6, 7], response + end_ids) for response in responses]
    expected = [float(model.logps[response + end_ids].sum()) for response in responses]
    batches = [sequences] if batched else [[sequence] for sequence in sequences]
    with torch.no_grad():
        by_token = [logps for batch in batches for logps in token_logprobs(model, batch)]
    by_sum = [float(score) for batch in batches for score in sequence_logprobs(model, batch, 1000)]
    assert [len(logps) for logps in by_token] == [len(response + end_ids) for response in responses]
    assert [float(logps.double().sum()) for logps in by_token] == pytest.approx(expected, abs=1e-5)
    assert by_sum == pytest.approx(expected, abs=1e-5)


def test_what_fills_the_rows_changes_nothing(
    family_model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sequence_logprobs(family_model, some_sequences(), 1000)
    monkeypatch.setattr("lingualign.logprobs.sequences.PADDING", 321)
    np.testing.assert_allclose(sequence_logprobs(family_model, some_sequences(), 1000), before, atol=1e-5)


def test_packed_rows_give_the_scores_of_padded_ones(
    family_model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(3)
    prompts = [rng.integers(0, VOCABULARY, length).tolist() for length in (1, 3, SLIDING_WINDOW + 7)]
    sequences = [
        ScoredSequence(prompt, rng.integers(0, VOCABULARY, length).tolist())
        for length in (8, 1, 5, SLIDING_WINDOW + 2)
        for prompt in prompts
    ]
    calls = count_calls(monkeypatch, "packed_pass")
    packed = sequence_logprobs(family_model, sequences, batch_tokens=70)
    assert len(calls) > 1
    monkeypatch.setattr(engine, "can_pack", lambda model, longest: False)
    np.testing.assert_allclose(packed, sequence_logprobs(family_model, sequences, 70), atol=TOLERANCE)


def count_calls(monkeypatch: pytest.MonkeyPatch, name: str) -> list[str]:
    calls: list[str] = []
    original = getattr(engine, name)

    def counted(*args: object) -> object:
        calls.append(name)
        return original(*args)

    monkeypatch.setattr(engine, name, counted)
    return calls


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_packs_beyond_its_window(load_family: LoadFamily, name: str) -> None:
    assert can_pack(load_family(name), 10 * SLIDING_WINDOW)


class Recurrent(nn.Module):
    """Attention that carries something from token to token, as recurrent layers do."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, hidden_states: torch.Tensor, **inputs: object) -> tuple[torch.Tensor, None]:
        output, _ = self.attention(hidden_states=hidden_states, **inputs)
        return output + hidden_states.cumsum(1), None


@pytest.mark.parametrize("change", ["recurrent", "eager", "another window"])
def test_models_that_cannot_be_packed_get_padded_rows(family_folder: FamilyFolder, change: str) -> None:
    eager = {"attn_implementation": "eager"} if change == "eager" else {}
    model = AutoModelForCausalLM.from_pretrained(family_folder("llama"), **eager).eval()
    if change == "recurrent":
        for layer in model.model.layers:
            layer.self_attn = Recurrent(layer.self_attn)
    if change == "another window":  # that layers do not pass on to their attention
        model.config.attention_chunk_size = SLIDING_WINDOW
        assert can_pack(model, SLIDING_WINDOW)
    assert not can_pack(model, SLIDING_WINDOW + 1)
    sequences = some_sequences()
    scores = sequence_logprobs(model, sequences, 100)
    expected = [sum(reference_logprobs(model, sequence)) for sequence in sequences]
    np.testing.assert_allclose(scores, expected, atol=TOLERANCE, rtol=0)


def test_windows_that_layers_do_not_ask_for_are_not_packed_in_training_either(
    family_folder: FamilyFolder,
) -> None:
    model = AutoModelForCausalLM.from_pretrained(family_folder("llama"))
    model.config.attention_chunk_size = SLIDING_WINDOW
    sequences = some_sequences()
    with keep_packing(model, max(map(len, sequences))):
        assert not can_pack(model, SLIDING_WINDOW + 1)
        token_logprobs(model, sequences)
    model.config.attention_chunk_size = 0  # none, as some configurations put it
    assert can_pack(model, SLIDING_WINDOW + 1)


@pytest.mark.parametrize("sharpen", [1, 10])
def test_low_precision_is_no_reason_not_to_pack(family_folder: FamilyFolder, sharpen: int) -> None:
    model = AutoModelForCausalLM.from_pretrained(family_folder("llama")).eval()
    with torch.no_grad():
        model.lm_head.weight *= sharpen
    assert can_pack(model.to(torch.bfloat16), 100)


def test_attention_is_put_back_after_an_error(
    family_folder: FamilyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = AutoModelForCausalLM.from_pretrained(family_folder("llama")).eval()
    assert can_pack(model, 100)
    monkeypatch.setattr(model.model.norm, "forward", lambda hidden: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        sequence_logprobs(model, some_sequences(), 100)
    assert model.config._attn_implementation == "sdpa"


def test_layers_that_are_computed_again_are_packed_while_asked_to(family_folder: FamilyFolder) -> None:
    model = AutoModelForCausalLM.from_pretrained(family_folder("gemma3")).train()
    sequences = [s for s in some_sequences() if s.response_ids]

    def gradients() -> list[torch.Tensor]:
        model.zero_grad()
        torch.cat(token_logprobs(model, sequences)).sum().backward()
        return [parameter.grad.clone() for parameter in model.parameters()]

    expected = gradients()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    assert not can_pack(model, 10)
    padded = gradients()
    with keep_packing(model, 100):
        assert can_pack(model, 10)
        packed = gradients()
    assert not can_pack(model, 10)
    for ours, theirs, also in zip(packed, expected, padded, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(also, theirs, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("overrides", [{"final_logit_softcapping": 2.0}, {"tie_word_embeddings": False}])
def test_the_models_own_head_is_used(overrides: dict[str, object]) -> None:
    """Soft-capping lies between the head and the logits; left out, it moves these scores by nats."""
    model = make_model("gemma3", make_tokenizer("gemma3"), **overrides)
    sequence = ScoredSequence([3, 50, 7], [100, 8, 9, 300])
    score = sequence_logprobs(model, [sequence], 100)[0]
    assert score == pytest.approx(sum(reference_logprobs(model, sequence)), abs=TOLERANCE)


def test_an_adapter_scores_as_the_merged_model(family_folder: FamilyFolder) -> None:
    from peft import LoraConfig, get_peft_model

    base = AutoModelForCausalLM.from_pretrained(family_folder("llama")).eval()
    plain = sequence_logprobs(base, some_sequences(), 100)
    adapted = get_peft_model(
        base, LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)
    ).eval()
    scores = sequence_logprobs(adapted, some_sequences(), 100)
    with adapted.disable_adapter():
        np.testing.assert_allclose(sequence_logprobs(adapted, some_sequences(), 100), plain, atol=TOLERANCE)
    merged = sequence_logprobs(adapted.merge_and_unload(), some_sequences(), 100)
    np.testing.assert_allclose(scores, merged, atol=1e-3)
    assert np.abs(scores - plain).max() > 0.1


def test_a_head_that_is_adapted_later_is_seen(family_folder: FamilyFolder) -> None:
    from peft import LoraConfig, get_peft_model

    base = AutoModelForCausalLM.from_pretrained(family_folder("llama")).eval()
    sequence_logprobs(base, some_sequences(), 100)
    lora = LoraConfig(r=2, target_modules=["lm_head"], init_lora_weights=False)
    adapted = get_peft_model(base, lora).eval()
    scores = sequence_logprobs(adapted, some_sequences(), 100)
    merged = sequence_logprobs(adapted.merge_and_unload(), some_sequences(), 100)
    np.testing.assert_allclose(scores, merged, atol=1e-3)


def test_gradients_are_those_of_a_full_forward_pass(family_folder: FamilyFolder) -> None:
    model = AutoModelForCausalLM.from_pretrained(family_folder("qwen3"))
    sequences = [s for s in some_sequences() if s.response_ids]

    def gradients() -> list[torch.Tensor]:
        taken = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
        model.zero_grad()
        return taken

    torch.stack([logps.mean() for logps in token_logprobs(model, sequences)]).sum().backward()
    ours = gradients()
    for sequence in sequences:
        ids = torch.tensor([[*sequence.prompt_ids, *sequence.response_ids]])
        start = len(sequence.prompt_ids)
        logps = model(ids).logits[0, start - 1 : -1].log_softmax(-1)
        logps[torch.arange(len(sequence.response_ids)), ids[0, start:]].mean().backward()
    theirs = gradients()
    assert len(ours) == len(theirs) == len(list(model.parameters()))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
    assert max(float(gradient.abs().max()) for gradient in ours) > 0


def test_scoring_keeps_no_graph(family_model: PreTrainedModel) -> None:
    sequences = some_sequences()
    assert all(logps.requires_grad for logps in token_logprobs(family_model, sequences) if len(logps))
    with torch.no_grad():
        assert not any(logps.requires_grad for logps in token_logprobs(family_model, sequences))


def test_low_precision_logits_are_summed_in_full(family_folder: FamilyFolder) -> None:
    model = AutoModelForCausalLM.from_pretrained(family_folder("llama")).eval().to(torch.bfloat16)
    (logps,) = token_logprobs(model, [ScoredSequence([1, 2, 3], list(range(200)))])
    assert logps.dtype == torch.float32
    distinct = torch.unique(logps.to(torch.bfloat16)).numel()
    assert torch.unique(logps).numel() > distinct  # rounded to bfloat16, many of them would coincide


def test_progress_ends_with_all_sequences(family_model: PreTrainedModel) -> None:
    sequences = some_sequences()
    seen: list[tuple[int, int]] = []
    sequence_logprobs(family_model, sequences, 30, progress=lambda done, total: seen.append((done, total)))
    assert len(seen) > 1
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert seen[-1] == (len(sequences), len(sequences))


@pytest.mark.parametrize("sequences", [[], [ScoredSequence([1], []), ScoredSequence([2, 3], [])]])
def test_nothing_to_score(family_model: PreTrainedModel, sequences: list[ScoredSequence]) -> None:
    assert sequence_logprobs(family_model, sequences, 10).tolist() == [0.0] * len(sequences)
    assert [logps.tolist() for logps in token_logprobs(family_model, sequences)] == [[]] * len(sequences)


def test_an_empty_prompt_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one token"):
        ScoredSequence([], [1, 2])


@given(
    rows=st.lists(st.tuples(st.integers(1, 30), st.integers(1, 9)), max_size=25),
    max_cells=st.integers(1, 90),
    max_scored=st.integers(1, 30),
    max_padding=st.sampled_from([0, 0.25, math.inf]),
)
def test_batches_cover_all_rows_within_the_budget(
    rows: Sequence[tuple[int, int]], max_cells: int, max_scored: int, max_padding: float
) -> None:
    cells, scored = [cell for cell, _ in rows], [score for _, score in rows]
    cuts = list(cut_batches(cells, scored, max_cells, max_scored, max_padding))
    assert [row for cut in cuts for row in range(len(rows))[cut]] == list(range(len(rows)))
    for cut in cuts:
        size = len(cells[cut])
        padded = size * max(cells[cut])
        fits = padded <= max_cells and size * max(scored[cut]) <= max_scored
        fits = fits and padded <= (1 + max_padding) * sum(cells[cut])
        assert fits or size == 1
