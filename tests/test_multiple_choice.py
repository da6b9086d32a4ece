from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lingualign.errors import InputError
from lingualign.measures.tasks.multiple_choice import (
    Answers,
    Question,
    answer_questions,
    context_length,
    encode_request,
    log_likelihoods,
    outcomes,
    read_questions,
    with_examples,
)

QUESTIONS = [
    Question("Kifaa kilikuwa kimefungwa kwa sababu", ("kilikuwa chepesi kuvunjika.", "kilikuwa kidogo."), 0),
    Question("答案是", ("四十二。", "六乘以七等于四十二。谢谢你！", "七。"), 2),
    Question("", ("Asante kwa kuuliza!", "Jibu ni 42"), 1),
]


@pytest.fixture
def tokenizer(family_folder: Callable[..., Path]) -> Callable[[str], Any]:
    from transformers import AutoTokenizer

    return lambda name: AutoTokenizer.from_pretrained(family_folder(name))


def plain(model: Any, ids: list[int], scored: int) -> float:
    """Summed log-softmax in float64 of the last tokens, one sequence at a time."""
    with torch.inference_mode():
        logps = model(input_ids=torch.tensor([ids])).logits[0].double().log_softmax(-1)
    return sum(float(logps[place - 1, ids[place]]) for place in range(len(ids) - scored, len(ids)))


def test_the_example_of_xcopa_picks_the_second_choice() -> None:
    choices = ("kikuwa nyepesi kuvunjika.", "kilikuwa kidogo.")
    found = outcomes([Question("", choices, 1)], Answers([[-96.7198, -55.5384]]))
    assert (found["acc"], found["acc_norm"]) == ([1.0], [1.0])
    assert [-96.7198 / len(choices[0]), -55.5384 / len(choices[1])] == pytest.approx(
        [-3.869, -3.471], abs=1e-3
    )


def test_lengths_are_characters_and_bytes_of_the_choice_without_its_delimiter() -> None:
    question = Question("x", ("四十二", "forty"), 0)
    found = outcomes([question], Answers([[-6.0, -8.0]], [[-1.0, -3.5]]))
    assert found == {
        "acc": [1.0],  # -6 > -8
        "acc_norm": [0.0],  # -6/3 < -8/5
        "acc_bytes": [1.0],  # -6/9 > -8/5
        "acc_mutual_info": [0.0],  # -5 < -4.5
    }


@given(st.lists(st.integers(-5, 0), min_size=2, max_size=6), st.integers(0, 5))
def test_the_first_of_equals_wins(values: list[int], answer: int) -> None:
    question = Question("x", tuple("ab" for _ in values), answer % len(values))
    found = outcomes([question], Answers([[float(value) for value in values]]))
    expected = float(values.index(max(values)) == question.answer)
    assert found == {"acc": [expected], "acc_norm": [expected], "acc_bytes": [expected]}


@pytest.mark.parametrize("name", ["llama", "qwen3"])
def test_likelihoods_are_those_of_plain_passes(
    name: str, tokenizer: Callable[[str], Any], load_family: Callable[..., Any]
) -> None:
    model, tok = load_family(name), tokenizer(name)
    found = answer_questions(model, tok, QUESTIONS, mutual_information=True)
    first = tok.eos_token_id if tok.bos_token_id is None else tok.bos_token_id
    assert found.unconditional is not None
    for question, conditional, unconditional in zip(
        QUESTIONS, found.conditional, found.unconditional, strict=True
    ):
        for choice, value, alone in zip(question.choices, conditional, unconditional, strict=True):
            bare = tok.encode(f" {choice}", add_special_tokens=False)
            behind_nothing = plain(model, [first, *bare], len(bare))
            assert alone == pytest.approx(behind_nothing, abs=1e-4)
            if question.context:
                whole = tok.encode(f"{question.context} {choice}")
                scored = len(whole) - len(tok.encode(question.context))
                assert value == pytest.approx(plain(model, whole, scored), abs=1e-4)
            else:
                assert value == pytest.approx(alone, abs=1e-4)


def test_white_space_at_the_end_of_a_context_belongs_to_the_continuation(
    tokenizer: Callable[[str], Any],
) -> None:
    tok = tokenizer("llama")
    moved, usual = (
        encode_request(tok, *request, 512) for request in (("Jibu ni ", "42"), ("Jibu ni", " 42"))
    )
    assert moved == usual
    newline = encode_request(tok, "Jibu:\n", "42", 512)
    assert tok.decode([*newline.response_ids]) == "\n42"


def test_a_pair_is_encoded_once_and_cut_behind_the_tokens_of_the_context(
    tokenizer: Callable[[str], Any],
) -> None:
    tok = tokenizer("qwen3")
    context, continuation = "Asante kwa kuul", "iza! Jibu ni 42"
    found = encode_request(tok, context, continuation, 512)
    whole = tok.encode(context + continuation)
    assert [*found.prompt_ids, *found.response_ids] == whole
    assert len(found.prompt_ids) == len(tok.encode(context))
    assert whole != tok.encode(context) + tok.encode(continuation)


def test_a_rendered_chat_gets_no_second_bos(tokenizer: Callable[[str], Any]) -> None:
    tok = tokenizer("llama")
    found = encode_request(tok, f"{tok.bos_token}Jibu", " 42", 512)
    assert [*found.prompt_ids, *found.response_ids].count(tok.bos_token_id) == 1
    assert encode_request(tok, "Jibu", " 42", 512) == found


def test_an_empty_context_is_the_bos_or_the_eos_token(tokenizer: Callable[[str], Any]) -> None:
    for name in ("llama", "qwen3"):
        tok = tokenizer(name)
        first = tok.bos_token or tok.eos_token
        found = encode_request(tok, "", "Jibu", 512)
        assert tok.decode([*found.prompt_ids]) == first
        assert encode_request(tok, "", f"{first}Jibu", 512) == found


@pytest.mark.parametrize("length", [6, 7, 20])
def test_a_long_sequence_loses_its_first_tokens(
    length: int, tokenizer: Callable[[str], Any], load_family: Callable[..., Any]
) -> None:
    tok, model = tokenizer("llama"), load_family("llama")
    context = "Jibu ni 42, kwa sababu sita mara saba ni arobaini na mbili."
    whole = tok.encode(f"{context} Asante!")
    scored = len(whole) - len(tok.encode(context))
    found = encode_request(tok, context, " Asante!", length)
    assert [*found.prompt_ids, *found.response_ids] == whole[-(length + 1) :]
    value = log_likelihoods(model, tok, [(context, " Asante!")], max_length=length)
    assert value[0] == pytest.approx(plain(model, whole[-(length + 1) :], scored), abs=1e-4)


def test_what_cannot_be_scored_is_an_error(tokenizer: Callable[[str], Any]) -> None:
    tok = tokenizer("qwen3")
    with pytest.raises(InputError, match="reads 2"):
        encode_request(tok, "Jibu", " ni arobaini na mbili, asante", 2)
    with pytest.raises(InputError, match="0 tokens"):
        encode_request(tok, "Jibu", "", 512)
    with pytest.raises(InputError, match="context has no token"):
        encode_request(tok, "  ", "42", 512)


def test_the_context_length_is_the_models(
    load_family: Callable[..., Any], tokenizer: Callable[[str], Any]
) -> None:
    assert context_length(load_family("gemma3"), tokenizer("gemma3")) == 8192


def test_examples_stand_before_every_question_with_their_answers() -> None:
    shown = with_examples(QUESTIONS[:1], QUESTIONS[1:2])
    assert shown[0].context == f"答案是 七。\n\n{QUESTIONS[0].context}"
    assert (shown[0].choices, shown[0].answer) == (QUESTIONS[0].choices, 0)


def test_questions_are_read_with_an_index_or_a_text_for_an_answer(tmp_path: Path) -> None:
    path = tmp_path / "sw.json"
    rows = [
        {"question": "Moja na moja?", "choices": ["mbili", "tatu"], "answer": 1},
        {"context": "Mbili na mbili?", "choices": ["tatu", "nne"], "answer": "nne"},
    ]
    path.write_text(json.dumps(rows), encoding="utf-8")
    assert read_questions(path) == [
        Question("Moja na moja?", ("mbili", "tatu"), 1),
        Question("Mbili na mbili?", ("tatu", "nne"), 1),
    ]


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"choices": ["a", "b"], "answer": 0}, "context"),
        ({"context": "x", "choices": ["a"], "answer": 0}, "choices"),
        ({"context": "x", "choices": ["a", ""], "answer": 0}, "choices"),
        ({"context": "x", "choices": ["a", "b"], "answer": 2}, "answer"),
        ({"context": "x", "choices": ["a", "b"], "answer": "c"}, "answer"),
        ({"context": "x", "choices": ["a", "b"], "answer": True}, "answer"),
        ({"context": "x", "choices": ["a", "b"], "answer": -1}, "answer"),
    ],
)
def test_a_wrong_row_is_named(row: dict[str, Any], field: str, tmp_path: Path) -> None:
    path = tmp_path / "sw.jsonl"
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=f"line 1: field '{field}'"):
        read_questions(path)


def test_batches_change_nothing(tokenizer: Callable[[str], Any], load_family: Callable[..., Any]) -> None:
    model, tok = load_family("qwen3"), tokenizer("qwen3")
    few, many = (answer_questions(model, tok, QUESTIONS, batch_tokens=n).conditional for n in (32, 4096))
    assert np.concatenate(few) == pytest.approx(np.concatenate(many), abs=1e-4)
