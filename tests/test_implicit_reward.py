"""The implicit reward: what is summed, under which instruction, and whose log-probabilities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from conftest import LoadFamily
from lingualign.errors import InputError
from lingualign.logprobs import ScoredSequence, token_logprobs
from lingualign.prompts import ChatFormat, Prompt
from lingualign.records import SCORES, Response, Score, read_table, write_table
from lingualign.rewards import Candidates, GoldReward, ImplicitReward, RandomReward, Reward, implicit
from lingualign.rewards.implicit import Context
from lingualign.settings import load_config, part_options

SOURCE = Prompt("p1", "en", ({"role": "user", "content": "Name three rivers."},))
TARGET = Prompt("p1", "de", ({"role": "user", "content": "Nenne drei Flüsse."},))


def response(text: str, index: int = 0, finish_reason: str = "stop", language: str = "de") -> Response:
    return Response(
        prompt_id="p1",
        language=language,
        index=index,
        text=text,
        finish_reason="stop" if finish_reason == "stop" else "length",
        num_tokens=len(text),
    )


class Letters:
    """A chat format whose tokens are code points; 1 ends a response."""

    end_id = 1

    def prompt_ids(self, messages: Sequence[Any]) -> list[int]:
        return [2, *map(ord, "|".join(message["content"] for message in messages)), 3]

    def response_ids(self, text: str, finished: bool) -> list[int]:
        return [*map(ord, text), *[self.end_id][:finished]]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ScoredSequence]]:
    """What was scored by which model; the log-probs are those of the worked example."""
    calls: list[tuple[object, ScoredSequence]] = []
    known = {"policy": [-100.0, -120.0, -90.0, -95.0], "reference": [-110.0, -125.0, -96.0, -104.0]}

    def stub(model: Any, sequences: Sequence[ScoredSequence], batch_tokens: int) -> np.ndarray:
        calls.extend((model.name, sequence) for sequence in sequences)
        return np.array([known[model.name][index % 4] for index in range(len(sequences))])

    monkeypatch.setattr("lingualign.logprobs.sequence_logprobs", stub)
    return calls


class Named(nn.Module):
    """A model by name only."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


def stubbed(context: Context = "source-directive", **more: Any) -> ImplicitReward:
    return ImplicitReward(Named("policy"), Named("reference"), Letters(), context, **more)  # type: ignore[arg-type]


def text_of(ids: Sequence[int]) -> str:
    return "".join(chr(token) for token in ids if token > 3)


def test_the_reward_is_the_log_ratio(seen: list[Any]) -> None:
    """Policy [-100, -120], reference [-110, -125]: [10, 5]. No beta, no division by length."""
    batch = [Candidates(TARGET, SOURCE, [response("ab", 4), response("cde", 7)])]
    (scores,) = stubbed().score(batch)
    assert [score["reward"] for score in scores] == [10, 5]
    assert [(score["prompt_id"], score["language"], score["index"]) for score in scores] == [
        ("p1", "de", 4),
        ("p1", "de", 7),
    ]
    assert [{part["name"]: part["value"] for part in score["components"]} for score in scores] == [
        {"policy_logprob": -100, "reference_logprob": -110, "num_tokens": 3},
        {"policy_logprob": -120, "reference_logprob": -125, "num_tokens": 4},
    ]


def components(score: Score) -> dict[str, float]:
    return {part["name"]: part["value"] for part in score["components"]}


def test_further_contexts_are_recorded_and_decide_nothing(seen: list[Any]) -> None:
    """Policy [-100, -120, -90, -95] and reference [-110, -125, -96, -104], first both responses under the
    reward's own context and then both under the target's: rewards [10, 5], and [6, 9] there."""
    seen.clear()
    batch = [Candidates(TARGET, SOURCE, [response("ab", 0), response("cde", 1)])]
    (plain,) = stubbed().score(batch)
    calls = list(seen)
    (scores,) = stubbed(also=["target"]).score(batch)
    assert [score["reward"] for score in scores] == [score["reward"] for score in plain] == [10, 5]
    assert [components(score) for score in scores] == [
        {**components(plain[0]), "log_ratio:target": 6},
        {**components(plain[1]), "log_ratio:target": 9},
    ]
    assert len(calls) == 4  # each response under each model: without further contexts nothing is added
    policy = [sequence for name, sequence in seen[len(calls) :] if name == "policy"]
    assert [text_of(sequence.prompt_ids).endswith("Name three rivers.") for sequence in policy] == [
        True, True, False, False,
    ]  # fmt: skip
    assert [text_of(sequence.prompt_ids) for sequence in policy[2:]] == ["Nenne drei Flüsse."] * 2


def test_the_same_response_to_two_prompts_is_two_things(seen: list[Any]) -> None:
    same, other = response("ab"), Prompt("p1", "de", ({"role": "user", "content": "Noch drei?"},))
    batch = [Candidates(TARGET, TARGET, [same]), Candidates(other, other, [same])]
    scores = stubbed("target").score(batch)
    assert [group[0]["reward"] for group in scores] == [10, 5]


def test_a_failed_translation_leaves_its_context_out(seen: list[Any]) -> None:
    translator = Translating(lambda text, *_: None if text == "hm" else text)
    reward = stubbed(also=["translated"], translator=translator)
    (scores,) = reward.score([Candidates(TARGET, SOURCE, [response("hm"), response("Rhein", 1)])])
    assert ["log_ratio:translated" in components(score) for score in scores] == [False, True]
    assert None not in [score["reward"] for score in scores]


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (["reward.options.also=[source-directive]"], "reward.context already"),
        (["reward.options.also=[target, target]"], "names a context twice"),
        (["reward.options.also=[translated]", "translation.kind=none"], "needs a translator"),
        (["reward.options.also=[targets]"], "also.0 is 'targets'"),
    ],
)
def test_further_contexts_are_checked(overrides: list[str], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        config = load_config("icr", overrides)
        implicit.check(part_options(config, "reward"), config)


def test_further_contexts_cost_no_pass_in_the_source_language(
    load_family: LoadFamily, monkeypatch: pytest.MonkeyPatch
) -> None:
    from families import make_tokenizer

    policy, reference = load_family("llama"), load_family("llama", 1)
    tokens: list[int] = []
    policy.register_forward_pre_hook(
        lambda _, args, kwargs: tokens.append((args[0] if args else kwargs["input_ids"]).numel()),
        with_kwargs=True,
    )
    batch = [Candidates(SOURCE, SOURCE, [response("Rhine", language="en"), response("Elbe", 1)])]
    chat = ChatFormat(make_tokenizer("llama"))
    ImplicitReward(policy, reference, chat).score(batch)  # whether the model can be packed is tried out once
    tokens.clear()
    (plain,) = ImplicitReward(policy, reference, chat).score(batch)
    computed = list(tokens)
    tokens.clear()
    (scores,) = ImplicitReward(policy, reference, chat, also=["target", "source"]).score(batch)
    assert tokens == computed
    assert [score["reward"] for score in scores] == [score["reward"] for score in plain]
    assert [components(score)["log_ratio:target"] for score in scores] == [s["reward"] for s in scores]


def test_each_score_stays_with_its_response(seen: list[Any]) -> None:
    other = Prompt("p2", "de", ({"role": "user", "content": "Und jetzt?"},))
    batch = [
        Candidates(TARGET, SOURCE, [response("a", 0), response("b", 1)]),
        Candidates(other, other, []),
        Candidates(TARGET, SOURCE, [response("c", 2), response("d", 3)]),
    ]
    scores = stubbed().score(batch)
    assert [[score["index"] for score in group] for group in scores] == [[0, 1], [], [2, 3]]
    assert [[score["reward"] for score in group] for group in scores] == [[10, 5], [], [6, 9]]


class Translating:
    name = "stub"

    def __init__(self, one: Callable[[str, str, str], str | None]) -> None:
        self.one = one

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str | None]:
        return [self.one(text, source, target) for text in texts]


def test_what_could_not_be_translated_has_no_reward(seen: list[Any]) -> None:
    reward = stubbed("translated", translator=Translating(lambda text, *_: None if text == "hm" else text))
    (scores,) = reward.score([Candidates(TARGET, SOURCE, [response("hm"), response("Rhein", 1)])])
    assert [score["reward"] is None for score in scores] == [True, False]
    assert [text_of(sequence.response_ids) for _, sequence in seen] == ["Rhein", "Rhein"]


@pytest.mark.parametrize(
    ("context", "prompt", "scored"),
    [
        ("source-directive", "Use German!\n\nName three rivers.", "Rhein"),
        ("source", "Name three rivers.", "Rhein"),
        ("target", "Nenne drei Flüsse.", "Rhein"),
        ("translated", "Name three rivers.", "Rhein de>en"),
    ],
)
def test_every_context_scores_under_its_instruction(
    seen: list[Any], context: Context, prompt: str, scored: str
) -> None:
    reward = stubbed(
        context,
        directive_template="Use {language}!",
        translator=Translating(lambda text, source, target: f"{text} {source}>{target}"),
    )
    reward.score([Candidates(TARGET, SOURCE, [response("Rhein")])])
    assert [name for name, _ in seen] == ["policy", "reference"]
    for _, sequence in seen:
        assert text_of(sequence.prompt_ids) == prompt
        assert text_of(sequence.response_ids) == scored


@pytest.mark.parametrize("context", ["source-directive", "source", "target", "translated"])
def test_in_the_source_language_all_contexts_are_one(seen: list[Any], context: Context) -> None:
    reward = stubbed(context, translator=Translating(lambda text, source, target: "not needed"))
    reward.score([Candidates(SOURCE, SOURCE, [response("Rhine", language="en")])])
    assert [text_of(sequence.prompt_ids) for _, sequence in seen] == ["Name three rivers."] * 2
    assert [text_of(sequence.response_ids) for _, sequence in seen] == ["Rhine"] * 2


@pytest.mark.parametrize("context", ["source-directive", "translated"])
def test_the_end_token_counts_when_generation_finished(seen: list[Any], context: Context) -> None:
    reward = stubbed(context, translator=Translating(lambda text, source, target: text.upper()))
    (scores,) = reward.score([Candidates(TARGET, SOURCE, [response("ab"), response("ab", 1, "length")])])
    policy = [sequence.response_ids for name, sequence in seen if name == "policy"]
    assert [ids[-1] == Letters.end_id for ids in policy] == [True, False]
    assert [
        part["value"] for score in scores for part in score["components"] if part["name"] == "num_tokens"
    ] == [
        3,
        2,
    ]


def test_translation_needs_a_translator() -> None:
    with pytest.raises(ValueError, match="translator"):
        stubbed("translated")


def test_models_are_loaded_once_and_only_when_needed(seen: list[Any]) -> None:
    loads: list[str] = []

    def loader(name: str) -> Callable[[], nn.Module]:
        def load() -> nn.Module:
            loads.append(name)
            return Named(name)

        return load

    reward = ImplicitReward(loader("policy"), loader("reference"), Letters())  # type: ignore[arg-type]
    assert loads == []
    for _ in range(2):
        reward.score([Candidates(TARGET, SOURCE, [response("a")])])
    assert loads == ["policy", "reference"]


def summed(model: PreTrainedModel, prompt_ids: list[int], response_ids: list[int]) -> float:
    with torch.no_grad():
        (logps,) = token_logprobs(model, [ScoredSequence(prompt_ids, response_ids)])
    return float(logps.double().sum())


def test_scored_tokens_are_the_response_and_its_end_token(
    family: str, load_family: LoadFamily, family_tokenizer: PreTrainedTokenizerBase, tmp_path: Any
) -> None:
    """On every family, with the real chat format: tokens decoded, and the numbers summed by hand."""
    chat = ChatFormat(family_tokenizer)
    policy, initial, previous = (load_family(family, seed) for seed in (0, 1, 2))
    text = "Rhein, Donau, Elbe: danke für die Frage!"
    candidates = Candidates(TARGET, SOURCE, [response(text), response(text, 1, "length"), response("", 2)])
    ids = chat.response_ids(text, finished=True)
    assert family_tokenizer.decode(ids) == text + family_tokenizer.decode([chat.end_id])
    prompt_ids = chat.prompt_ids(TARGET.messages)
    scores: dict[str, list[Score]] = {}
    for name, reference in {"initial": initial, "previous": previous}.items():
        (scores[name],) = ImplicitReward(policy, reference, chat, "target", 512).score([candidates])
        for score, response_ids in zip(scores[name], [ids, ids[:-1], [chat.end_id]], strict=True):
            expected = summed(policy, prompt_ids, response_ids) - summed(reference, prompt_ids, response_ids)
            assert score["reward"] == pytest.approx(expected, abs=1e-3)
    assert scores["initial"][0]["reward"] != pytest.approx(scores["previous"][0]["reward"], abs=0.1)
    write_table(tmp_path / "scores.parquet", scores["initial"], SCORES)
    assert read_table(tmp_path / "scores.parquet", SCORES) == scores["initial"]


def test_a_model_against_itself_gives_nothing(load_family: LoadFamily) -> None:
    from families import make_tokenizer

    policy = load_family("llama")
    reward = ImplicitReward(policy, policy, ChatFormat(make_tokenizer("llama")))
    (scores,) = reward.score([Candidates(TARGET, SOURCE, [response("Rhein"), response("Elbe", 1)])])
    assert [score["reward"] for score in scores] == [0, 0]


def test_random_rewards_depend_on_seed_and_row_only() -> None:
    batch = [Candidates(TARGET, SOURCE, [response(f"text {index}", index) for index in range(200)])]
    (scores,) = RandomReward(7).score(batch)
    rewards = [score["reward"] for score in scores]
    assert 0 <= min(rewards) < 0.1
    assert 0.9 < max(rewards) < 1
    assert np.mean(rewards) == pytest.approx(0.5, abs=0.1)
    reordered = [Candidates(TARGET, SOURCE, [response("other text", index) for index in (150, 3)])]
    assert [s["reward"] for s in RandomReward(7).score(reordered)[0]] == [rewards[150], rewards[3]]
    assert RandomReward(8).score(batch)[0][0]["reward"] != rewards[0]


def test_the_gold_reward_is_the_judges() -> None:
    from lingualign.lab.judge import judge
    from lingualign.lab.preferences import english_preferences

    reward: Reward = GoldReward()
    pairs = english_preferences(5)
    for pair in pairs:
        prompt_id = pair["id"].removesuffix("/en")
        prompt = Prompt(prompt_id, "en", tuple(pair["prompt"]))
        texts = [pair["chosen"][0]["content"], pair["rejected"][0]["content"]]
        answers = [
            Response(
                prompt_id=prompt_id, language="en", index=i, text=text, finish_reason="stop", num_tokens=1
            )
            for i, text in enumerate(texts)
        ]
        chosen, rejected = reward.score([Candidates(prompt, prompt, answers)])[0]
        assert (chosen["reward"], rejected["reward"]) == (pair["chosen_score"], pair["rejected_score"])
        traits = {part["name"]: part["value"] for part in chosen["components"]}
        found = judge(prompt_id, "en", texts[0]).traits
        assert traits == {name: value for name, value in found.items() if value is not None}


def test_the_gold_reward_refuses_prompts_of_others() -> None:
    with pytest.raises(InputError, match="not one of the lab's"):
        GoldReward().score([Candidates(TARGET, SOURCE, [response("Rhein")])])
