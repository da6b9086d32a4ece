"""LaCoMSA's reward: agreement of hidden states, and the weight of the language gap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from conftest import LoadFamily
from families import make_tokenizer
from lingualign.prompts import ChatFormat, Prompt
from lingualign.records import Response, Score
from lingualign.rewards import Candidates, Reward
from lingualign.rewards.agreement import Settings, gap_weight, language_gap, make, mean_agreement

SOURCE = Prompt("p1", "en", ({"role": "user", "content": "Name three rivers."},))
TARGET = Prompt("p1", "sw", ({"role": "user", "content": "Taja mito mitatu."},))
ENGLISH = ["The Nile.", "Nile and Thames", "I do not know."]
SWAHILI = ["Mto Nile.", "Sijui.", "The Nile."]


def responses(texts: Sequence[str], language: str) -> list[Response]:
    return [
        Response(
            prompt_id="p1",
            language=language,
            index=i,
            text=text,
            finish_reason="length" if i == 1 else "stop",
            num_tokens=1,
        )
        for i, text in enumerate(texts)
    ]


PARALLEL = {"en": responses(ENGLISH, "en"), "sw": responses(SWAHILI, "sw")}
SW = Candidates(TARGET, SOURCE, PARALLEL["sw"], PARALLEL)
EN = Candidates(SOURCE, SOURCE, PARALLEL["en"], PARALLEL)


@pytest.fixture
def tools(load_family: LoadFamily) -> Any:
    config = SimpleNamespace(reward=SimpleNamespace(batch_tokens=1000))
    chat = ChatFormat(make_tokenizer("qwen3"))
    return SimpleNamespace(config=config, chat=chat, policy=lambda: load_family("qwen3"))


def cos(u: np.ndarray, v: np.ndarray) -> float:
    return float(u @ v / np.linalg.norm(u) / np.linalg.norm(v))


@torch.no_grad()
def states(tools: Any, prompt: Prompt, response: Response, layer: int) -> np.ndarray:
    ids = tools.chat.prompt_ids(prompt.messages)
    own = tools.chat.response_ids(response["text"], finished=response["finish_reason"] == "stop")
    output = tools.policy()(input_ids=torch.tensor([ids + own]), output_hidden_states=True)
    return output.hidden_states[layer][0, len(ids) :].double().mean(dim=0).numpy()


def parts(score: Score) -> dict[str, float]:
    return {part["name"]: part["value"] for part in score["components"]}


def test_a_worked_example() -> None:
    source = np.array([(1.0, 0.0), (0.6, 0.8)])
    rewards = mean_agreement(np.array([(0.0, 2.0), (3.0, 4.0)]), source)
    np.testing.assert_allclose(rewards, [0.4, 0.8])
    # Its own language's mean is (0.5, 0.5), the source language's (0.8, 0.4).
    gap = language_gap(np.array([0.4]), np.array([(0.0, 1.0)]), np.eye(2), source)
    assert gap[0] == pytest.approx(-0.4 + math.sqrt(0.5) - 0.4 / math.hypot(0.8, 0.4))
    assert gap_weight(np.array([0.0, 2.0]), 0.5, 1.0).tolist() == pytest.approx([0.5, 1 / (1 + math.exp(-1))])
    assert gap_weight(np.array([2.0]), 0.5, 2.0)[0] == pytest.approx(1 / (1 + math.exp(-1)) ** 2)


@pytest.mark.parametrize("context", ["source", "target"])
def test_scores_are_the_formula(tools: Any, context: str) -> None:
    settings = Settings(layer=0.5, context=context)  # type: ignore[arg-type]
    reward: Reward = make(settings, tools)
    prompt = SOURCE if context == "source" else TARGET
    own = {layer: [states(tools, prompt, r, layer) for r in SW.responses] for layer in (1, 2)}
    source = {layer: [states(tools, SOURCE, r, layer) for r in PARALLEL["en"]] for layer in (1, 2)}
    for score, middle, last in zip(reward.score([SW])[0], own[1], own[2], strict=True):
        agreement = float(np.mean([cos(middle, other) for other in source[1]]))
        gap = -agreement + cos(last, np.mean(own[2], axis=0)) - cos(last, np.mean(source[2], axis=0))
        weight = 1 / (1 + math.exp(-0.5 * gap))
        assert score["reward"] == pytest.approx(agreement, abs=1e-5)
        expected = {"gap": gap, "weight": weight, "weighted": weight * agreement}
        assert parts(score) == pytest.approx(expected, abs=1e-5)


def test_source_responses_agree_with_the_others(tools: Any) -> None:
    found = [states(tools, SOURCE, r, 1) for r in EN.responses]
    for i, score in enumerate(make(Settings(layer=0.5), tools).score([EN])[0]):
        agreement = np.mean([cos(found[i], found[j]) for j in range(3) if j != i])
        assert score["reward"] == pytest.approx(agreement, abs=1e-5)
        assert parts(score)["gap"] == pytest.approx(-agreement, abs=1e-5)


def test_order_and_batch_do_not_matter(tools: Any) -> None:
    reward = make(Settings(), tools)
    mixed = {language: found[::-1] for language, found in PARALLEL.items()}
    turned = Candidates(TARGET, SOURCE, mixed["sw"], mixed)
    alone, (_, together, reversed_) = reward.score([SW])[0], reward.score([EN, SW, turned])
    for one, other, turned_one in zip(alone, together, reversed_[::-1], strict=True):
        assert one["reward"] == pytest.approx(other["reward"], abs=1e-6)
        assert one["reward"] == pytest.approx(turned_one["reward"], abs=1e-6)
        assert parts(one) == pytest.approx(parts(other), abs=1e-6)
        assert parts(one) == pytest.approx(parts(turned_one), abs=1e-6)


def test_nothing_is_said_without_source_responses(tools: Any) -> None:
    lonely = Candidates(TARGET, SOURCE, PARALLEL["sw"], {"sw": PARALLEL["sw"]})
    unknown = Candidates(TARGET, SOURCE, PARALLEL["sw"])
    scores = make(Settings(), tools).score([lonely, unknown, SW])
    assert [one["reward"] for found in scores[:2] for one in found] == [None] * 6
    assert None not in [one["reward"] for one in scores[2]]
