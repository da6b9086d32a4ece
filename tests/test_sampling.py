"""Sampling: the same tokens as a plain loop, whatever the batch, and the distribution that was asked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from conftest import LoadFamily
from families import FAMILIES, SLIDING_WINDOW, make_model, make_tokenizer
from lingualign.prompts import ChatFormat, Prompt
from lingualign.records import Response
from lingualign.sampling import TransformersSampler, transformers_backend
from lingualign.sampling.cache import ROOM, roomy_cache
from lingualign.sampling.decode import decode
from lingualign.sampling.draws import choose_tokens, uniform_draws

NEW_TOKENS = SLIDING_WINDOW + 8


def prompt(number: int, text: str) -> Prompt:
    return Prompt(f"p{number}", "en", ({"role": "user", "content": text},))


# One token of text to several hundred, so that the padding is far wider than the sliding window.
PROMPTS = [prompt(0, "Hi"), prompt(1, "Name three rivers. " * 40), prompt(2, ""), prompt(3, "题" * 9)]


@pytest.fixture(scope="module")
def sampler(family_model: PreTrainedModel, family_tokenizer: PreTrainedTokenizerBase) -> TransformersSampler:
    return TransformersSampler(family_model, ChatFormat(family_tokenizer))


@pytest.fixture(scope="module")
def llama() -> TransformersSampler:
    """With the end token likely, so that rows end at different times."""
    tokenizer = make_tokenizer("llama")
    model = make_model("llama", tokenizer)
    chat = ChatFormat(tokenizer)
    with torch.no_grad():
        model.lm_head.weight[chat.end_id] = model.lm_head.weight.sum(dim=0) / 6
    return TransformersSampler(model, chat)


def sample(
    sampler: TransformersSampler, prompts: Sequence[Prompt] = PROMPTS, **options: object
) -> list[list[Response]]:
    settings = {"n": 4, "temperature": 1.0, "max_new_tokens": NEW_TOKENS, "seed": 0}
    return sampler.sample(prompts, **(settings | options))  # type: ignore[arg-type]


def test_greedy_equals_generate(sampler: TransformersSampler) -> None:
    responses = sample(sampler, n=1, temperature=0)
    for asked, (response,) in zip(PROMPTS, responses, strict=True):
        ids = torch.tensor([sampler.chat.prompt_ids(asked.messages)])
        generated = sampler.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=NEW_TOKENS,
            eos_token_id=sampler.stop_ids,
            pad_token_id=0,
        )[0, ids.shape[1] :].tolist()
        stopped = generated[-1] in sampler.stop_ids
        expected = generated[:-1] if stopped else generated
        assert response["text"] == sampler.chat.decode(expected)
        assert response["num_tokens"] == len(expected)
        assert response["finish_reason"] == ("stop" if stopped else "length")


def test_tokens_are_those_of_a_plain_loop(sampler: TransformersSampler) -> None:
    """Sampling with the same draws, one row at a time, without a cache."""
    prompts = [sampler.chat.prompt_ids(asked.messages) for asked in PROMPTS]
    rows = [0, 0, 1, 1, 2, 3, 3, 3]
    draws = torch.from_numpy(np.stack([uniform_draws((row,), NEW_TOKENS) for row in range(len(rows))]))
    found = decode(sampler.model, prompts, rows, draws, stop_ids=sampler.stop_ids, temperature=0.8, top_p=0.9)
    for row, number in enumerate(rows):
        ids: list[int] = []
        for draw in draws[row]:
            with torch.inference_mode():
                logits = sampler.model(torch.tensor([[*prompts[number], *ids]]), use_cache=False).logits[
                    :, -1
                ]
            ids.append(int(choose_tokens(logits, draw[None], temperature=0.8, top_p=0.9)))
            if ids[-1] in sampler.stop_ids:
                break
        assert found[row] == ids


def test_rows_are_in_order_and_complete(sampler: TransformersSampler) -> None:
    responses = sample(sampler)
    assert [[(r["prompt_id"], r["language"], r["index"]) for r in rows] for rows in responses] == [
        [(asked.id, asked.language, index) for index in range(4)] for asked in PROMPTS
    ]


def test_candidates_differ_and_seeds_reproduce(llama: TransformersSampler) -> None:
    first = sample(llama)
    assert len({response["text"] for response in first[0]}) > 1
    torch.manual_seed(99)
    assert sample(llama) == first
    assert sample(llama, seed=1) != first


def test_responses_do_not_depend_on_what_else_is_sampled(llama: TransformersSampler) -> None:
    everything = sample(llama)
    narrow = TransformersSampler(llama.model, llama.chat, batch_tokens=100)
    assert sample(narrow) == everything
    assert sample(llama, PROMPTS[2:]) == everything[2:]
    assert sample(llama, PROMPTS[::-1]) == everything[::-1]
    assert [rows[:2] for rows in everything] == sample(llama, n=2)


def test_language_is_part_of_the_draw(llama: TransformersSampler) -> None:
    german = [Prompt(asked.id, "de", asked.messages) for asked in PROMPTS]
    texts = [[[r["text"] for r in rows] for rows in sample(llama, asked)] for asked in (PROMPTS, german)]
    assert texts[0] != texts[1]


def test_finish_reason(llama: TransformersSampler) -> None:
    rows = [response for responses in sample(llama, n=16) for response in responses]
    stopped = [row for row in rows if row["finish_reason"] == "stop"]
    cut = [row for row in rows if row["finish_reason"] == "length"]
    assert stopped and cut
    assert all(row["num_tokens"] == NEW_TOKENS for row in cut)
    assert all(row["num_tokens"] < NEW_TOKENS for row in stopped)
    end = llama.chat.tokenizer.convert_ids_to_tokens(llama.chat.end_id)
    assert not any(end in row["text"] for row in rows)


def test_every_stop_token_ends_a_response(sampler: TransformersSampler) -> None:
    """Greedy decoding is stopped by whichever token it writes, if only that is a stop token."""
    ids = sampler.chat.prompt_ids(PROMPTS[0].messages)
    draws = torch.zeros(1, NEW_TOKENS, dtype=torch.float64)
    (free,) = decode(sampler.model, [ids], [0], draws, stop_ids=[], temperature=0)
    assert len(free) == NEW_TOKENS
    for token in set(free):
        (ended,) = decode(sampler.model, [ids], [0], draws, stop_ids=[5999, token], temperature=0)
        assert ended == free[: free.index(token) + 1]


def test_stop_tokens_are_those_of_the_family(sampler: TransformersSampler) -> None:
    assert sampler.chat.end_id in sampler.stop_ids
    configured = sampler.model.generation_config.eos_token_id
    assert set(configured) <= set(sampler.stop_ids)


def test_progress_ends_at_the_total(llama: TransformersSampler) -> None:
    seen: list[tuple[int, int]] = []
    narrow = TransformersSampler(llama.model, llama.chat, batch_tokens=100)
    sample(narrow, progress=lambda done, total: seen.append((done, total)))
    assert len(seen) > 1 and seen[-1] == (16, 16)
    assert seen == sorted(seen)


def frequencies(logits: torch.Tensor, **options: float) -> np.ndarray:
    draws = torch.from_numpy(np.random.default_rng(0).random(200_000))
    tokens = choose_tokens(logits.expand(len(draws), -1), draws, **options)
    return np.bincount(tokens.numpy(), minlength=len(logits)) / len(draws)


def test_tokens_follow_the_distribution() -> None:
    logits = torch.tensor([1.0, -2.0, 0.0, 3.0, -torch.inf])
    for temperature in (0.5, 1.0, 2.0):
        expected = (logits / temperature).softmax(-1).numpy()
        assert frequencies(logits, temperature=temperature) == pytest.approx(expected, abs=0.005)


def test_nucleus() -> None:
    """Of 0.5, 0.3, 0.15, 0.05: a mass of 0.7 takes two tokens, 0.85 three, 0.5 one."""
    logits = torch.tensor([0.3, 0.05, 0.5, 0.15]).log()
    for top_p, kept in ((0.7, [0, 2]), (0.85, [0, 2, 3]), (0.49, [2])):
        expected = np.zeros(4)
        expected[kept] = logits.exp().numpy()[kept]
        found = frequencies(logits, temperature=1.0, top_p=top_p)
        assert found == pytest.approx(expected / expected.sum(), abs=0.005)
        assert (found[expected == 0] == 0).all()


def test_impossible_tokens_are_never_drawn() -> None:
    """At the ends of the unit interval, where rounding could choose them."""
    logits = torch.full((2, 9), -torch.inf)
    logits[:, 3:6] = 0.0
    draws = torch.tensor([0.0, np.nextafter(1, 0)], dtype=torch.float64)
    assert choose_tokens(logits, draws, temperature=1.0).tolist() == [3, 5]
    assert set(choose_tokens(logits, draws, temperature=1.0, top_p=0.99).tolist()) <= {3, 4, 5}


@given(st.integers(0, 999), st.floats(0.05, 0.999), st.sampled_from([torch.float32, torch.bfloat16]))
def test_a_nucleus_is_that_of_the_sorted_vocabulary(seed: int, top_p: float, dtype: torch.dtype) -> None:
    """Ties included, of which bfloat16 has many; in rows that need few tokens beside rows that need most."""
    generator = torch.Generator().manual_seed(seed)
    scale = torch.tensor([[8.0], [2.0], [0.0]])
    logits = (scale * torch.randn(3, 300, generator=generator)).to(dtype)
    draws = torch.rand(3, generator=generator, dtype=torch.float64)
    found = choose_tokens(logits, draws, temperature=0.7, top_p=top_p)
    for row, draw, token in zip(logits, draws, found, strict=True):
        probabilities, order = (row.float() / 0.7).softmax(-1).sort(descending=True, stable=True)
        mass = probabilities.double().cumsum(-1)
        edge = min(int((mass < top_p).sum()), 299)
        place = int((mass <= draw * mass[edge]).sum())
        assert token == order[min(place, 299)]
        assert token == choose_tokens(row[None], draw[None], temperature=0.7, top_p=top_p)


def test_draws_belong_to_their_key() -> None:
    assert (uniform_draws((0, "a", "en", 1), 5) == uniform_draws((0, "a", "en", 1), 9)[:5]).all()
    keys = [(0, "a", "en", 1), (1, "a", "en", 1), (0, "b", "en", 1), (0, "a", "de", 1), (0, "a", "en", 2)]
    assert len({float(uniform_draws(key, 1)[0]) for key in keys}) == len(keys)
    many = np.concatenate([uniform_draws((0, "a", "en", index), 100) for index in range(1000)])
    assert many.min() >= 0 and many.max() < 1
    assert many.mean() == pytest.approx(0.5, abs=0.005)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_roomy_cache_holds_what_transformers_own_holds(load_family: LoadFamily, name: str) -> None:
    model = load_family(name)
    start = torch.arange(3, 13).reshape(2, 5)
    further = torch.arange(ROOM + 7) + 20
    caches, results = (DynamicCache(config=model.config), roomy_cache(model.config)), []
    with torch.inference_mode():
        for cache in caches:
            logits = [model(start, past_key_values=cache, use_cache=True).logits[:, -1]]
            cache.reorder_cache(torch.tensor([1, 0, 1]))
            for token in further:
                if token == 30:
                    cache.reorder_cache(torch.tensor([2, 0]))
                rows = 3 if token < 30 else 2
                logits.append(model(token.expand(rows, 1), past_key_values=cache).logits[:, -1])
            results.append(torch.cat(logits))
    torch.testing.assert_close(*results, atol=1e-5, rtol=0)
    assert {cache.get_seq_length() for cache in caches} == {5 + len(further)}


def test_prompts_of_other_lengths_do_not_pad_each_other(
    load_family: LoadFamily, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long prompt in the batch would make every row of it as long."""
    model = load_family("llama")
    chat = ChatFormat(make_tokenizer("llama"))
    prompts = [prompt(words, "river " * words) for words in (3, 4, 200)]
    batches: list[int] = []
    original = transformers_backend.decode
    monkeypatch.setattr(
        transformers_backend,
        "decode",
        lambda model, rows, *args, **kwargs: (
            batches.append(len(rows)) or original(model, rows, *args, **kwargs)
        ),
    )
    TransformersSampler(model, chat).sample(prompts, n=2, temperature=1.0, max_new_tokens=4, seed=0)
    assert batches == [2, 1]
