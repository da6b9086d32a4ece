"""Who judges: the choice, its label, and reward models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from lingualign.config import RunConfig
from lingualign.errors import InputError
from lingualign.measures.judges import RewardModelJudge, check_reward_model, judge_kind, judge_label
from lingualign.prompts import Prompt
from lingualign.records import Response
from lingualign.rewards import Candidates

FamilyFolder = Callable[..., Path]


def test_auto_is_the_labs_judge_for_its_prompts_and_the_implicit_reward_for_others() -> None:
    assert judge_kind(RunConfig(prompts="lab")) == "lab"
    assert judge_kind(RunConfig(prompts="folder")) == "implicit"
    assert judge_kind(RunConfig(prompts="folder", measures={"prompts": "lab"})) == "lab"
    assert judge_kind(RunConfig(prompts="lab", measures={"prompts": "folder"})) == "implicit"
    assert "not an independent judge" in judge_label(RunConfig(prompts="folder"))


@pytest.fixture(scope="module", params=["llama", "qwen3"])
def reward_model(
    request: pytest.FixtureRequest, family_folder: FamilyFolder, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A tiny random reward model with its tokenizer."""
    source, folder = family_folder(request.param, 0), tmp_path_factory.mktemp("reward-model")
    config = AutoConfig.from_pretrained(source)
    config.num_labels = 1
    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    return folder


def _candidates(prompt_id: str, *texts: str) -> Candidates:
    prompt = Prompt(prompt_id, "de", ({"role": "user", "content": f"Frage {prompt_id}"},))
    responses = [
        Response(prompt_id=prompt_id, language="de", index=i, text=text, finish_reason="stop", num_tokens=1)
        for i, text in enumerate(texts)
    ]
    return Candidates(prompt, prompt, responses)


def test_a_reward_model_scores_what_its_plain_forward_pass_says(reward_model: Path) -> None:
    check_reward_model(reward_model)
    judge = RewardModelJudge.load(reward_model, "cpu", batch_tokens=64)
    batch = [_candidates("1", "Ja.", "Nein.", "Vielleicht morgen früh."), _candidates("22", "Ja.")]
    scores = judge.score(batch)
    assert [[score["index"] for score in row] for row in scores] == [[0, 1, 2], [0]]
    for candidates, row in zip(batch, scores, strict=True):
        for response, score in zip(candidates.responses, row, strict=True):
            messages = [*candidates.prompt.messages, {"role": "assistant", "content": response["text"]}]
            ids = judge.tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False)
            with torch.inference_mode():
                hidden = judge.model.model(input_ids=torch.tensor([ids])).last_hidden_state[0, -1]
                expected = judge.model.score(hidden).item()
            assert score["reward"] == pytest.approx(expected, abs=1e-5)
    assert len({score["reward"] for row in scores for score in row}) == 4


def test_what_is_no_reward_model_is_refused(tmp_path: Path, family_folder: FamilyFolder) -> None:
    with pytest.raises(InputError, match=r"has no config\.json"):
        check_reward_model(tmp_path)
    with pytest.raises(InputError, match="gives 2 numbers a text"):
        check_reward_model(family_folder("llama", 0))
