"""MEXA and NeuronXA: the definitions on arrays, one pass over the text of any family, and parallel text."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
)

from conftest import LoadFamily
from lingualign.errors import InputError
from lingualign.measures.representation.parallel_text import read_parallel_text
from lingualign.measures.representation.representations import (
    BLOCK,
    aligned,
    last_token_embeddings,
    measure_representations,
    mutual_nearest,
    neuron_states,
    position_weights,
    summarise,
    weighted_embeddings,
)
from lingualign.models import load_model, load_tokenizer
from lingualign.sentence_states import temporary_states

NTREX = Path(__file__).parents[2] / "shared" / "data" / "ntrex"
MEASURES = ("weighted", "last_token", "nasca", "navca")
TEXTS = {
    "en": [
        "The answer is forty-two.",
        "Which river is the longest?",
        "Thank you!",
        "Thank you!",
        "A cat " * 30,
    ],
    "de": [
        "Die Antwort ist 42.",
        "Welcher Fluss ist der längste?",
        "Danke!",
        "Vielen Dank!",
        "Eine Katze " * 30,
    ],
    "sw": ["Jibu ni 42.", "Mto upi ni mrefu zaidi?", "Asante!", "Asante sana!", "Paka " * 30],
}


def plain_score(pivot: np.ndarray, other: np.ndarray) -> float:
    """The definition, a cosine at a time."""
    n, passed = len(pivot), 0

    def cosine(i: int, j: int) -> float:
        return float(pivot[i] @ other[j] / np.linalg.norm(pivot[i]) / np.linalg.norm(other[j]))

    for i in range(n):
        others = [j for j in range(n) if j != i]
        passed += all(cosine(i, i) > cosine(i, j) and cosine(i, i) > cosine(j, i) for j in others)
    return passed / n


# The definitions on arrays.


def test_positions_weigh_linearly_and_padding_nothing() -> None:
    np.testing.assert_allclose(position_weights([3, 1]), [[1 / 6, 2 / 6, 3 / 6], [1, 0, 0]])
    states = np.array([[[1.0, 0], [0, 1], [6, 6]], [[5, 4], [np.pi, 9], [9, 9]]])
    np.testing.assert_allclose(weighted_embeddings(states, [3, 1]), [[19 / 6, 20 / 6], [5, 4]])
    np.testing.assert_allclose(last_token_embeddings(states, [3, 1]), [[6, 6], [5, 4]])


def test_neuron_states_of_the_worked_example() -> None:
    neurons = np.array([[[1.0, -1.0], [-2.0, 3.0]]])
    np.testing.assert_allclose(neuron_states(neurons, [2], "nasca"), [[1 / 3, 2 / 3]])
    np.testing.assert_allclose(neuron_states(neurons, [2], "navca"), [[5 / 3, 7 / 3]])


def test_mutual_nearest_of_the_worked_example() -> None:
    table = np.array([[0.9, 0.2, 0.1], [0.3, 0.5, 0.6], [0.1, 0.4, 0.8]])
    assert mutual_nearest([table.copy()]).tolist() == [True, False, True]
    assert mutual_nearest([table[:1].copy(), table[1:].copy()]).tolist() == [True, False, True]


def test_a_column_counts_as_a_row_does() -> None:
    table = np.array([[0.5, 0.1, 0.1], [0.6, 0.7, 0.1], [0.1, 0.1, 0.1]])
    assert mutual_nearest([table]).tolist() == [False, True, False]  # a nearer one in its column; a tie


@given(st.integers(2, 12), st.integers(1, 4), st.integers(0, 1000))
def test_scores_are_those_of_the_plain_definition(n: int, width: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    pivot, other = generator.normal(size=(2, n, width))
    if width > 1:  # in one dimension all cosines are 1 or -1, up to rounding
        assert aligned(pivot, other).mean() == plain_score(pivot, other)


def test_blocks_change_nothing() -> None:
    generator = np.random.default_rng(0)
    pivot = generator.normal(size=(BLOCK + 70, 6))
    other = pivot + 0.3 * generator.normal(size=pivot.shape)
    unit_pivot, unit_other = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (pivot, other))
    whole = mutual_nearest([unit_pivot @ unit_other.T])
    assert 0 < whole.mean() < 1
    assert (aligned(pivot, other) == whole).all()


def test_equal_vectors_tie_whatever_rounding_does() -> None:
    generator = np.random.default_rng(1)
    rows = generator.normal(size=(200, 37)).astype(np.float32)
    rows[50:] = rows[50]
    assert aligned(rows, rows).sum() == 50
    assert aligned(rows, rows + np.float32(0)).tolist() == [True] * 50 + [False] * 150
    assert not aligned(np.zeros((3, 4)), np.ones((3, 4))).any()


def test_summary_has_every_layer_their_mean_and_their_best() -> None:
    hits = {
        "weighted": {
            "en": np.ones((3, 4), dtype=bool),
            "de": np.array([[1, 0, 0, 0], [1, 1, 1, 0], [1, 1, 1, 0]], dtype=bool),
            "sw": np.zeros((3, 4), dtype=bool),
        },
        "nasca": {
            "en": np.ones((1, 4), dtype=bool),
            "de": np.eye(1, 4, dtype=bool),
            "sw": np.eye(1, 4, dtype=bool),
        },
    }
    found = summarise(hits, "en", resamples=200)
    german = found.languages["weighted"]["de"]
    assert [layer.mean for layer in german.layers] == [0.25, 0.75, 0.75]
    assert german.mean.mean == pytest.approx(7 / 12) and german.mean.low < 7 / 12 < german.mean.high
    assert german.best_layer == 1 and german.max == german.layers[1] and german.max.high < 1
    assert found.mean["weighted"].mean == pytest.approx(7 / 24)  # without the pivot
    assert found.languages["nasca"]["de"].best_layer == 1  # FFNs are counted from 1
    assert found.n == 4 and found.as_dict()["pivot"] == "en"


# States by one pass over the text.


@torch.no_grad()
def one_by_one(model: PreTrainedModel, tokenizer: Any, texts: list[str], gate: bool) -> dict[str, np.ndarray]:
    """The same states [layers, sentences, width] in float64, a sentence and a token at a time."""
    exact = copy.deepcopy(model).double()
    rows: dict[str, list[list[np.ndarray]]] = {measure: [] for measure in MEASURES}
    for text in texts:
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        seen: list[torch.Tensor] = []

        def keep(mlp: Any, inputs: Any, _output: Any, seen: list[torch.Tensor] = seen) -> None:
            active = mlp.act_fn(mlp.gate_proj(inputs[0]))
            seen.append((active if gate else active * mlp.up_proj(inputs[0]))[0])

        handles = [layer.mlp.register_forward_hook(keep) for layer in exact.model.layers]
        states = exact(input_ids=ids, output_hidden_states=True).hidden_states
        for handle in handles:
            handle.remove()
        weight = np.arange(1, ids.shape[1] + 1) / np.arange(1, ids.shape[1] + 1).sum()
        hidden, neurons = [layer[0].numpy() for layer in states], [layer.numpy() for layer in seen]
        rows["weighted"].append([weight @ layer for layer in hidden])
        rows["last_token"].append([layer[-1] for layer in hidden])
        rows["nasca"].append([weight @ (layer > 0) for layer in neurons])
        rows["navca"].append([weight @ np.abs(layer) for layer in neurons])
    return {measure: np.array(found).swapaxes(0, 1) for measure, found in rows.items()}


@pytest.mark.parametrize(("neurons", "batch_tokens"), [("gate", 1), ("product", 10_000)])
def test_states_are_those_of_one_sentence_at_a_time(
    family_model: PreTrainedModel, family_tokenizer: Any, neurons: Any, batch_tokens: int
) -> None:
    expected = one_by_one(family_model, family_tokenizer, TEXTS["en"], neurons == "gate")
    with temporary_states(
        family_model, family_tokenizer, "en", TEXTS["en"], MEASURES, neurons, batch_tokens
    ) as states:
        for measure, layers in expected.items():
            assert states.layers(measure) == len(layers)
            for layer, own in enumerate(layers):
                found = states.read(measure, layer)
                assert found.dtype == np.float32
                np.testing.assert_allclose(found, own, rtol=1e-4, atol=2e-5)
        folder = states.folder
        assert len(list(folder.iterdir())) == sum(map(len, expected.values()))
    assert not folder.exists()


def test_scores_are_those_of_the_definition_on_these_states(
    load_family: LoadFamily, family_folder: Any
) -> None:
    model, tokenizer = load_family("qwen3"), AutoTokenizer.from_pretrained(family_folder("qwen3"))
    states = {code: one_by_one(model, tokenizer, texts, gate=True) for code, texts in TEXTS.items()}
    found = measure_representations(model, tokenizer, TEXTS, resamples=100, storage="float64")
    for measure in MEASURES:
        for code, own in states.items():
            expected = [
                plain_score(*(np.round(rows, 7) for rows in pair))
                for pair in zip(states["en"][measure], own[measure], strict=True)
            ]
            if code != "en":
                assert [layer.mean for layer in found.languages[measure][code].layers] == expected
        pivot = found.languages[measure]["en"].layers[-1]
        assert pivot.mean == 3 / 5  # "Thank you!" stands there twice


def test_plain_ffns_have_their_neurons_behind_the_activation(family_folder: Any) -> None:
    tokenizer = AutoTokenizer.from_pretrained(family_folder("llama"))
    size = {"vocab_size": len(tokenizer), "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(0)
    gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), n_embd=16, n_layer=2, n_head=2)).eval()
    opt = OPTForCausalLM(
        OPTConfig(**size, ffn_dim=24, word_embed_proj_dim=16, activation_function="relu")
    ).eval()
    for model, width in ((gpt2, 64), (opt, 24)):
        with temporary_states(model, tokenizer, "en", TEXTS["en"], ["nasca", "navca"], "gate", 500) as states:
            active, size_of = states.read("nasca", 1), states.read("navca", 1)
        assert active.shape == (5, width) and 0 < active.min() + active.max() < 2
        if model is opt:  # with ReLU, what is not active has no size
            assert ((active == 0) == (size_of == 0)).all()


def test_adapters_count_and_the_head_is_not_computed(load_family: LoadFamily, family_folder: Any) -> None:
    from peft import LoraConfig, get_peft_model

    model = copy.deepcopy(load_family("llama"))
    tokenizer = AutoTokenizer.from_pretrained(family_folder("llama"))

    def states(model: Any) -> np.ndarray:
        with temporary_states(model, tokenizer, "en", TEXTS["en"], ["navca"], "gate", 500) as found:
            return found.read("navca", 1)

    def fail(*_: object) -> None:
        raise AssertionError("the LM head was called")

    with model.get_output_embeddings().register_forward_pre_hook(fail):
        plain = states(model)
    adapted = get_peft_model(model, LoraConfig(init_lora_weights=False, target_modules="all-linear")).eval()
    assert np.abs(states(adapted) - plain).max() > 0.01


def test_architectures_without_one_ffn_a_layer_get_a_clear_error(
    load_family: LoadFamily, family_folder: Any
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(family_folder("llama"))
    model = copy.deepcopy(load_family("llama"))
    model.model.layers[1].mlp = torch.nn.Identity()
    with pytest.raises(InputError, match=r"llama.*1 FFNs found in 2 layers"):
        measure_representations(model, tokenizer, TEXTS)
    model.model.layers[1].mlp = copy.copy(model.model.layers[0].mlp)
    with pytest.raises(InputError, match="layers share an activation function"):
        measure_representations(model, tokenizer, TEXTS)
    found = measure_representations(model, tokenizer, TEXTS, measures=["weighted"], resamples=10)
    assert set(found.languages) == {"weighted"}


def test_bad_texts_get_a_clear_error(load_family: LoadFamily, family_folder: Any) -> None:
    model, tokenizer = load_family("qwen3"), AutoTokenizer.from_pretrained(family_folder("qwen3"))
    for texts, message in (
        ({"de": ["a", "b"]}, "no text in en"),
        ({"en": ["a", "b"]}, "no text but that in en"),
        ({"en": ["a", "b"], "de": ["a"]}, "1 sentences in de, but 2 in en"),
        ({"en": ["a"], "de": ["b"]}, "At least two sentences"),
        ({"en": ["a", "b"], "de": ["c", ""]}, "Sentence 2 in de has no tokens"),
    ):
        with pytest.raises(InputError, match=message):
            measure_representations(model, tokenizer, texts)
    short = GPT2LMHeadModel(GPT2Config(vocab_size=600, n_embd=8, n_layer=1, n_head=1, n_positions=20)).eval()
    with pytest.raises(InputError, match=r"Sentence 5 in en has \d+ tokens; the model has 20 positions"):
        measure_representations(short, tokenizer, TEXTS)


def test_progress_counts_sentences_and_float16_is_close(load_family: LoadFamily, family_folder: Any) -> None:
    model, tokenizer = load_family("qwen3"), AutoTokenizer.from_pretrained(family_folder("qwen3"))
    told: list[tuple[int, int]] = []
    measure_representations(
        model, tokenizer, TEXTS, resamples=10, batch_tokens=50, progress=lambda *now: told.append(now)
    )
    assert told[-1] == (15, 15) and len(told) > 6 and told == sorted(told)
    options = (model, tokenizer, "en", TEXTS["en"], ["weighted"], "gate", 500)
    with temporary_states(*options, "float16") as half, temporary_states(*options) as single:
        np.testing.assert_array_equal(half.read("weighted", 1), single.read("weighted", 1).astype(np.float16))


@pytest.mark.skipif(not NTREX.is_dir(), reason="../shared/data/ntrex is not there")
def test_a_full_stop_at_the_end_is_all_that_layer_0_sees_of_the_last_token() -> None:
    """English against English is far below 1 there, and nowhere else: the trap of the definition."""
    texts = read_parallel_text(NTREX, ["en", "de"], limit=40)
    model, tokenizer = load_model("lab:aligned", device="cpu", dtype="float32"), load_tokenizer("lab:aligned")
    found = measure_representations(model, tokenizer, texts, resamples=10).languages
    english = [layer.mean for layer in found["last_token"]["en"].layers]
    assert english[0] < 0.2 and english[1:] == [1.0] * 4
    assert all(layer.mean == 1 for name in ("weighted", "nasca") for layer in found[name]["en"].layers)
    assert 0 < found["weighted"]["de"].mean.mean < 1


# Parallel text.


Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def files(**languages: str | bytes) -> Path:
        for code, text in languages.items():
            raw = text.encode() if isinstance(text, str) else text
            (tmp_path / f"{code.replace('_', '-')}.txt").write_bytes(raw)
        return tmp_path

    return files


def test_parallel_text_is_read_a_line_a_sentence(write: Write) -> None:
    folder = write(en="one \u2028 line\r\n  two\n", sw="moja\nmbili", pt_BR="\ufeffum\ndois\n")
    assert read_parallel_text(folder) == {
        "en": ["one \u2028 line", "two"],
        "pt-BR": ["um", "dois"],
        "sw": ["moja", "mbili"],
    }
    assert read_parallel_text(folder, ["sw", "en"], limit=1) == {"sw": ["moja"], "en": ["one \u2028 line"]}


@pytest.mark.parametrize(
    ("files", "languages", "message"),
    [
        ({}, None, "no \\*.txt files"),
        ({"en": "a\nb\n", "sw": "a\nb\nc\n"}, None, "sw.txt has 3 lines, but .*en.txt has 2"),
        ({"en": "a\n\nb\n"}, None, "en.txt, line 2: empty"),
        ({"en": "a\n \t\n"}, None, "en.txt, line 2: empty"),
        ({"en": ""}, None, "en.txt, line 1: empty"),
        ({"en": "a", "eng": "a"}, None, "eng.txt: 'eng' is not a known language code"),
        ({"en": "a"}, ["en", "swa"], "'swa' is not a known language code"),
        ({"en": "a"}, ["en", "sw"], "sw.txt: no such file"),
        ({"en": b"\xff\xfe"}, None, "en.txt: not readable as UTF-8"),
    ],
)
def test_bad_parallel_text_gets_one_clear_error(
    write: Write, files: dict[str, str | bytes], languages: list[str] | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read_parallel_text(write(**files), languages)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: no such folder"):
        read_parallel_text(tmp_path / "nowhere")
