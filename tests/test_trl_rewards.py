"""Rewards as TRL's online trainers call them, and in TRL's GRPOTrainer and RLOOTrainer themselves."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lingualign import ChatFormat, ImplicitReward, load_model, load_tokenizer, score_responses, trl_reward
from lingualign.errors import InputError
from lingualign.lab import DIRECTIVE
from lingualign.lab.prompts import prompts as lab_prompts
from lingualign.languages import LanguageIdentifier
from lingualign.models import resolve_spec
from lingualign.records import Response
from lingualign.rewards import Candidates, GoldReward, RandomReward, consistency
from lingualign.rewards.language import LanguageReward
from lingualign.rewards.votes import VotesReward

LANGUAGES = ["en", "de", "sw"]
PROMPTS = lab_prompts("train", 4, LANGUAGES)
IDENTIFIER = LanguageIdentifier(LANGUAGES)
MAX_TOKENS = 40  # the lab's longer answers are cut


@pytest.fixture(scope="module")
def implicit() -> ImplicitReward:
    chat = ChatFormat(load_tokenizer("lab:aligned"))
    policy, reference = (load_model(name, dtype="float32") for name in ("lab:aligned", "lab:sft"))
    return ImplicitReward(policy, reference, chat, directive_template=DIRECTIVE)


@dataclass
class Call:
    """What TRL gave a reward function, and what that gave back."""

    prompts: list[Any]
    completions: list[Any]
    columns: dict[str, Any]
    rewards: list[float | None]


def recorded(function: Callable[..., list[float | None]], calls: list[Call]) -> Callable[..., Any]:
    def call(prompts: list[Any], completions: list[Any], **columns: Any) -> list[float | None]:
        calls.append(Call(prompts, completions, columns, function(prompts, completions, **columns)))
        return calls[-1].rewards

    call.__name__ = function.__name__
    return call


def dataset_rows() -> list[dict[str, Any]]:
    return [
        {
            "prompt": list(prompt.messages),
            "language": language,
            "prompt_id": prompt.id,
            "source_prompt": list(PROMPTS.get(prompt.id, "en").messages),
        }
        for language in ("de", "sw", "en")
        for prompt in PROMPTS.by_language[language]
    ]


def trained(name: str, output: Path, functions: list[Callable[..., Any]], steps: int) -> list[dict[str, Any]]:
    """Trains the lab's model by a trainer of TRL; its log."""
    import trl
    from datasets import Dataset

    args = getattr(trl, f"{name}Config")(
        output_dir=str(output),
        max_steps=steps,
        per_device_train_batch_size=8,
        num_generations=4,
        max_completion_length=MAX_TOKENS,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        bf16=False,
        disable_tqdm=True,
        seed=1,
    )
    trainer = getattr(trl, f"{name}Trainer")(
        str(resolve_spec("lab:aligned")),
        reward_funcs=functions,
        args=args,
        train_dataset=Dataset.from_list(dataset_rows()),
        processing_class=load_tokenizer("lab:aligned"),
    )
    trainer.train()
    return [entry for entry in trainer.state.log_history if "reward" in entry]


@dataclass
class Training:
    log: list[dict[str, Any]]
    calls: list[Call]


@pytest.fixture(scope="module")
def grpo(implicit: ImplicitReward, tmp_path_factory: pytest.TempPathFactory) -> Training:
    """Two steps of GRPO with two rewards; the calls are those of the implicit one."""
    calls: list[Call] = []
    functions = [recorded(trl_reward(implicit), calls), trl_reward(LanguageReward(IDENTIFIER))]
    return Training(trained("GRPO", tmp_path_factory.mktemp("grpo"), functions, steps=2), calls)


def own_score(reward: Any, call: Call, end_id: int) -> list[float | None]:
    """lingualign's own score of the completions of a call, as responses to parallel prompts."""
    counts: dict[tuple[str, str], int] = {}
    responses = []
    for prompt_id, language, completion, ids in zip(
        call.columns["prompt_id"],
        call.columns["language"],
        call.completions,
        call.columns["completion_ids"],
        strict=True,
    ):
        index = counts[prompt_id, language] = counts.get((prompt_id, language), -1) + 1
        finish = "stop" if ids[-1] == end_id else "length"
        text = completion[0]["content"]
        responses.append(Response(prompt_id=prompt_id, language=language, index=index, text=text,
                                  finish_reason=finish, num_tokens=len(ids)))  # fmt: skip
    return [score["reward"] for score in score_responses(reward, PROMPTS, responses)]


def test_grpo_trains_on_the_scores_that_lingualign_gives_the_same_completions(
    implicit: ImplicitReward, grpo: Training
) -> None:
    assert [entry["step"] for entry in grpo.log] == [1, 2]
    assert len(grpo.calls) == 2
    finished = {
        ids[-1] == implicit.chat.end_id for call in grpo.calls for ids in call.columns["completion_ids"]
    }
    assert finished == {True, False}  # both kinds are in the comparison
    for entry, call in zip(grpo.log, grpo.calls, strict=True):
        own = own_score(implicit, call, implicit.chat.end_id)
        assert call.rewards == pytest.approx(own, abs=1e-4)
        assert len(set(own)) > 1
        assert entry["rewards/implicit/mean"] == pytest.approx(sum(own) / len(own), abs=1e-4)


def test_grpo_logs_the_share_of_completions_in_the_right_language(grpo: Training) -> None:
    for entry, call in zip(grpo.log, grpo.calls, strict=True):
        found = [IDENTIFIER.identify(completion[0]["content"]) for completion in call.completions]
        right = [a == b for a, b in zip(found, call.columns["language"], strict=True) if a is not None]
        assert entry["rewards/language/mean"] == pytest.approx(sum(right) / len(right))


def test_rloo_takes_the_same_function(implicit: ImplicitReward, tmp_path: Path) -> None:
    calls: list[Call] = []
    log = trained("RLOO", tmp_path, [recorded(trl_reward(implicit, name="icr"), calls)], steps=1)
    own = own_score(implicit, calls[0], implicit.chat.end_id)
    assert log[0]["rewards/icr/mean"] == pytest.approx(sum(own) / len(own), abs=1e-4)


def test_what_else_is_in_the_batch_does_not_matter(implicit: ImplicitReward, grpo: Training) -> None:
    call = grpo.calls[0]
    function = trl_reward(implicit)

    def part(places: list[int]) -> list[float | None]:
        columns = {
            name: [values[place] for place in places]
            for name, values in call.columns.items()
            if isinstance(values, list)
        }
        chosen = ([values[place] for place in places] for values in (call.prompts, call.completions))
        return function(*chosen, **columns)

    backwards = list(reversed(range(len(call.completions))))
    assert part(backwards) == pytest.approx([call.rewards[place] for place in backwards], abs=1e-4)
    for place in range(len(call.completions)):
        assert part([place]) == pytest.approx([call.rewards[place]], abs=1e-4)


def one(prompt_id: str = PROMPTS.ids[0], language: str = "sw") -> dict[str, list[Any]]:
    """A batch of one, in TRL's conversational format."""
    return {
        "prompts": [list(PROMPTS.get(prompt_id, language).messages)],
        "completions": [[{"role": "assistant", "content": "Jibu ni 14. Natumaini hili linasaidia."}]],
        "language": [language],
        "prompt_id": [prompt_id],
        "source_prompt": [list(PROMPTS.get(prompt_id, "en").messages)],
    }


def as_text(messages: list[dict[str, str]]) -> str:
    return messages[-1]["content"]


def test_plain_text_is_a_message_and_ids_find_the_source_prompt(implicit: ImplicitReward) -> None:
    function, batch = trl_reward(implicit), one()
    expected = function(**batch)
    assert expected[0] is not None
    standard = {
        name: [as_text(batch[name][0])] for name in ("prompts", "completions", "source_prompt")
    } | {"language": ["sw"]}  # fmt: skip
    assert function(**standard) == pytest.approx(expected)
    del batch["source_prompt"]
    assert trl_reward(implicit, parallel_prompts=PROMPTS)(**batch) == pytest.approx(expected)
    del batch["language"]
    found = trl_reward(implicit, parallel_prompts=PROMPTS, language="sw")(**batch)
    assert found == pytest.approx(expected)
    parts = one()
    parts["completions"][0][0]["content"] = [{"type": "text", "text": as_text(one()["completions"][0])}]
    assert function(**parts) == pytest.approx(expected)


def test_a_prompt_in_the_source_language_is_its_own_source_prompt(implicit: ImplicitReward) -> None:
    batch = one(language="en")
    expected = trl_reward(implicit)(**batch)
    assert trl_reward(implicit)(**batch | {"source_prompt": [None]}) == pytest.approx(expected)


def test_the_end_token_counts_exactly_where_a_completion_ends_with_one(implicit: ImplicitReward) -> None:
    function, batch = trl_reward(implicit), one()
    end = implicit.chat.end_id
    assert function(**batch, completion_ids=[[5, 6, end]]) == pytest.approx(function(**batch))
    cut = function(**batch, completion_ids=[[5, 6, 7]])
    assert cut != pytest.approx(function(**batch))
    assert trl_reward(implicit, stop_ids=[7])(**batch, completion_ids=[[5, 6, 7]]) == pytest.approx(
        function(**batch)
    )
    assert function(**batch, completion_ids=[[]]) == pytest.approx(cut)


def test_a_completion_with_tool_calls_has_no_reward(implicit: ImplicitReward) -> None:
    batch = one()
    tools = [
        {"role": "assistant", "content": "", "tool_calls": [{}]},
        {"role": "tool", "name": "add", "content": "14"},
        *batch["completions"][0],
    ]
    assert trl_reward(implicit)(**batch | {"completions": [tools]}) == [None]
    only_call = [{"role": "assistant", "tool_calls": [{}]}]
    assert trl_reward(implicit)(**batch | {"completions": [only_call]}) == [None]


@pytest.mark.parametrize("column", ["source_prompt", "language"])
def test_a_missing_column_is_named(implicit: ImplicitReward, column: str) -> None:
    batch = one()
    del batch[column]
    with pytest.raises(InputError, match=f"reads the column '{column}'") as caught:
        trl_reward(implicit)(**batch)
    assert "Add it" in caught.value.remedy


def test_an_empty_source_prompt_and_an_unknown_id_are_named(implicit: ImplicitReward) -> None:
    with pytest.raises(InputError, match="Column 'source_prompt' is empty for a prompt in sw"):
        trl_reward(implicit)(**one() | {"source_prompt": [None]})
    batch = one() | {"prompt_id": ["nobody"]}
    del batch["source_prompt"]
    with pytest.raises(InputError, match="Column 'prompt_id': 'nobody'"):
        trl_reward(implicit, parallel_prompts=PROMPTS)(**batch)
    image = [{"role": "user", "content": [{"type": "image"}]}]
    with pytest.raises(InputError, match="Column 'source_prompt' has a message whose content is not text"):
        trl_reward(implicit)(**one() | {"source_prompt": [image]})


def test_rewards_that_compare_a_prompts_responses_are_refused() -> None:
    with pytest.raises(InputError, match="needs all responses to a prompt at once"):
        trl_reward(RandomReward(0))
    answers = consistency.ConsistencyReward(Characters, consistency.Settings(answers="number"), 0)
    with pytest.raises(InputError, match="consistency without `answers`"):
        trl_reward(answers)


class Characters:
    """An embedder that counts characters."""

    def embed(self, groups: Any) -> list[np.ndarray]:
        alphabet = "0123456789 abcdefghijklmnopqrstuvwxyz"
        return [
            np.array([[row["text"].lower().count(letter) for letter in alphabet] for row in responses])
            for _, responses in groups
        ]


def test_consistency_and_votes_compare_with_the_column_of_source_responses() -> None:
    said = ["The answer is 14.", "The answer is 14, I think.", "It is 9."]
    texts = ["The answer is 14!", "It is 9, surely."]
    batch = one()
    batch = {name: values * 2 for name, values in batch.items()} | {
        "completions": texts,
        "source_responses": [said, said],
    }
    alike = consistency.ConsistencyReward(Characters, consistency.Settings(), 0)
    first, second = trl_reward(alike)(**batch)
    assert first is not None and second is not None and first > second
    assert trl_reward(alike)(**batch | {"language": ["en", "en"]}) == [None, None]

    def number(response: Response) -> str | None:
        found = re.findall(r"\d+", response["text"])
        return found[-1] if found else None

    assert trl_reward(VotesReward(number))(**batch) == [1.0, 0.0]
    del batch["source_responses"]
    for reward in (alike, VotesReward(number)):
        with pytest.raises(InputError, match="reads the column 'source_responses'"):
            trl_reward(reward)(**batch)


def test_the_labs_judge_reads_the_id_and_a_reward_of_ones_own_reads_what_it_likes() -> None:
    prompt = PROMPTS.by_language["en"][0]
    batch = one(language="en")
    gold = GoldReward()
    (found,) = trl_reward(gold)(**batch)
    text = as_text(batch["completions"][0])
    response = Response(prompt_id=prompt.id, language="en", index=0, text=text, finish_reason="stop",
                        num_tokens=0)  # fmt: skip
    assert found == gold.score([Candidates(prompt, prompt, [response])])[0][0]["reward"]
    assert trl_reward(gold).__name__ == "lab_judge"
    del batch["prompt_id"]
    with pytest.raises(InputError, match="reads the column 'prompt_id'"):
        trl_reward(gold)(**batch)


def test_the_right_language_is_1_another_0_and_an_undecided_one_nothing() -> None:
    completions = ["Das ist eine sehr gute Frage.", "That is a very good question.", "14"]
    function = trl_reward(LanguageReward(IDENTIFIER), language="de")
    assert function(["Frage?"] * 3, completions) == [1.0, 0.0, None]
    assert function(["Frage?"] * 3, completions, language=["en", "en", "en"]) == [0.0, 1.0, None]
    with pytest.raises(InputError, match="reads the column 'language'"):
        trl_reward(LanguageReward(IDENTIFIER))(["Frage?"], completions[:1])
