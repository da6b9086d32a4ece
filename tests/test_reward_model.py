"""Reward models: trained on the loss they should be, scored on what they were trained on, safe to kill."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from conftest import FamilyFolder
from lingualign.config import RunConfig, TrainingConfig
from lingualign.errors import InputError
from lingualign.models import load_model, load_tokenizer
from lingualign.prompts import ChatFormat, Prompt
from lingualign.records import Pair, Response
from lingualign.rewards import Candidates, Tools, labelled_accuracy, score_of
from lingualign.rewards import reward_model as part
from lingualign.rewards.reward_model import RewardModel, Settings, check_reward_model, conversation_ids
from lingualign.training import reward_model as training

Train = Callable[..., Path]
Steps = dict[int, Mapping[str, float]]


def make_pairs(count: int) -> list[Pair]:
    """Pairs of different lengths; the chosen response is polite."""
    return [
        Pair(
            id=f"p{i}/en",
            prompt_id=f"p{i}",
            language="en",
            prompt=[{"role": "user", "content": f"Name {i} rivers" + " please" * (i % 3)}],
            chosen=[{"role": "assistant", "content": f"The answer is {i}." + " Thank you!" * (1 + i % 4)}],
            rejected=[{"role": "assistant", "content": "No." + " Die Antwort" * (i % 5)}],
            chosen_score=1.0,
            rejected_score=0.0,
            chosen_index=0,
            rejected_index=1,
            chosen_finished=True,
            rejected_finished=True,
        )
        for i in range(count)
    ]


def make_candidates(prompt_id: str, *texts: str) -> Candidates:
    prompt = Prompt(prompt_id, "de", ({"role": "user", "content": f"Frage {prompt_id}"},))
    responses = [
        Response(prompt_id=prompt_id, language="de", index=i, text=text, finish_reason="stop", num_tokens=1)
        for i, text in enumerate(texts)
    ]
    return Candidates(prompt, prompt, responses)


def conversations(pairs: list[Pair]) -> list[list[Any]]:
    return [[*pair["prompt"], *pair[side]] for side in ("chosen", "rejected") for pair in pairs]  # type: ignore[literal-required]


def rewards_of(reward: RewardModel, pairs: list[Pair]) -> list[float]:
    """Of the chosen responses, then of the rejected ones."""
    batch = []
    for side in ("chosen", "rejected"):
        for pair in pairs:
            prompt = Prompt(pair["id"], "en", tuple(pair["prompt"]))
            text = pair[side][0]["content"]  # type: ignore[literal-required]
            batch.append(Candidates(prompt, prompt, make_candidates(pair["id"], text).responses))
    return [float(row[0]["reward"] or 0) for row in reward.score(batch)]


@pytest.fixture
def fit(family_folder: FamilyFolder, tmp_path: Path) -> Train:
    """`fit(name, pairs, setting=...)` trains a reward model from the Llama in a folder of that name."""

    def run(
        name: str,
        pairs: list[Pair],
        base: Path | None = None,
        steps: Steps | None = None,
        on_step: Any = None,
        **settings: Any,
    ) -> Path:
        start = base or family_folder("llama")
        seen: Steps = {} if steps is None else steps

        def record(done: int, total: int, values: Mapping[str, float]) -> None:
            seen[done] = dict(values)
            if on_step is not None:
                on_step(done, total, values)

        defaults = {"learning_rate": 1e-3, "batch_pairs": 8, "micro_batch_pairs": 8, "max_length": 256}
        training.train_reward_model(
            TrainingConfig(**defaults | settings),
            pairs,
            base=start,
            chat=ChatFormat(load_tokenizer(start)),
            output=tmp_path / name,
            seed=0,
            device="cpu",
            on_step=record,
        )
        return tmp_path / name

    return run


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return AutoModelForSequenceClassification.from_pretrained(folder).state_dict()


def largest_difference(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    assert a.keys() == b.keys()
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def test_what_is_read_is_what_trl_makes_of_the_conversation(
    family: str, family_folder: FamilyFolder, tmp_path: Path
) -> None:
    """In all families, those whose template ends without an end token included: none is added."""
    from trl import RewardConfig, RewardTrainer

    tokenizer = load_tokenizer(family_folder(family))
    pairs = make_pairs(4)
    rows = [{name: pair[name] for name in ("prompt", "chosen", "rejected")} for pair in pairs]  # type: ignore[literal-required]
    trainer = RewardTrainer(
        model=training.untrained_reward_model(family_folder(family), device="cpu"),
        args=RewardConfig(output_dir=str(tmp_path), bf16=False, use_cpu=True, report_to="none"),
        train_dataset=Dataset.from_list(rows),
        processing_class=load_tokenizer(family_folder(family)),
    )
    theirs = [*trainer.train_dataset["chosen_ids"], *trainer.train_dataset["rejected_ids"]]
    assert theirs == [conversation_ids(tokenizer, messages) for messages in conversations(pairs)]


def test_scores_are_the_trained_models_logits_of_a_padded_batch(
    family: str, family_folder: FamilyFolder, fit: Train
) -> None:
    """Two families have no pad token: TRL takes the end token, and the model reads the token before it."""
    from trl.trainer.reward_trainer import DataCollatorForPreference

    pairs = make_pairs(6)
    folder = fit("run", pairs, base=family_folder(family))
    check_reward_model(folder, "reward.options.model")
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = [conversation_ids(tokenizer, messages) for messages in conversations(pairs)]
    assert len({len(row) for row in ids}) > 1
    examples = [{"chosen_ids": ids[i], "rejected_ids": ids[i + len(pairs)]} for i in range(len(pairs))]
    with torch.inference_mode():
        logits = model(**DataCollatorForPreference(tokenizer.pad_token_id)(examples)).logits[:, 0]
    scores = rewards_of(RewardModel.load(folder, "cpu", batch_tokens=64), pairs)
    assert scores == pytest.approx(logits.tolist(), abs=1e-5)
    assert len(set(scores)) == len(scores)


def test_the_first_loss_is_bradley_terry_on_the_rewards(
    fit: Train, family_folder: FamilyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs, folder = make_pairs(8), family_folder("qwen3")
    model = training.untrained_reward_model(folder, device="cpu")
    rewards = rewards_of(RewardModel(model, load_tokenizer(folder), 1024), pairs)
    margins = [chosen - rejected for chosen, rejected in zip(rewards[:8], rewards[8:], strict=True)]
    monkeypatch.setattr(training, "untrained_reward_model", lambda *args, **options: model)
    steps: Steps = {}
    fit("run", pairs, base=folder, steps=steps)
    assert steps[1]["loss"] == pytest.approx(sum(math.log1p(math.exp(-m)) for m in margins) / 8, rel=1e-5)
    assert steps[1]["margin"] == pytest.approx(sum(margins) / 8, rel=1e-4)
    assert steps[1]["accuracy"] == sum(margin > 0 for margin in margins) / 8


def test_the_worked_example_of_the_loss(
    fit: Train, family_folder: FamilyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rewards 2.0 and 0.5 cost 0.2014132780: the head is scaled until the two are 1.5 apart."""
    pairs = make_pairs(1)
    model = training.untrained_reward_model(family_folder("qwen3"), device="cpu")
    chosen, rejected = rewards_of(RewardModel(model, load_tokenizer(family_folder("qwen3")), 1024), pairs)
    model.score.weight.data *= 1.5 / (chosen - rejected)
    monkeypatch.setattr(training, "untrained_reward_model", lambda *args, **options: model)
    steps: Steps = {}
    fit("run", pairs, base=family_folder("qwen3"), steps=steps)
    assert steps[1]["loss"] == pytest.approx(0.2014132780, abs=1e-6)


def test_the_new_head_has_the_papers_scale_and_the_body_is_the_bases(family_folder: FamilyFolder) -> None:
    base = load_model(family_folder("llama"), device="cpu")
    torch.manual_seed(0)
    heads = []
    for _ in range(30):
        model = training.untrained_reward_model(family_folder("llama"), device="cpu")
        heads.append(model.score.weight.detach().flatten())
    assert model.score.bias is None and model.config.num_labels == 1
    assert largest_difference(model.model.state_dict(), base.model.state_dict()) == 0
    assert float(torch.cat(heads).std()) == pytest.approx(33**-0.5, rel=0.1)


def test_training_learns_what_it_is_shown(fit: Train) -> None:
    pairs = make_pairs(16)
    steps: Steps = {}
    folder = fit("run", pairs, epochs=10, steps=steps)
    assert list(steps) == list(range(1, 21))
    assert steps[20]["loss"] < 0.2 < steps[1]["loss"]
    assert labelled_accuracy(RewardModel.load(folder, "cpu", 1024), make_pairs(24)[16:]) == 1


@pytest.mark.parametrize("settings", [{"micro_batch_pairs": 2}, {"gradient_checkpointing": True}])
def test_how_it_is_computed_changes_nothing(fit: Train, settings: dict[str, Any]) -> None:
    pairs = make_pairs(16)
    plain, other = fit("plain", pairs), fit("other", pairs, **settings)
    assert largest_difference(weights(plain), weights(other)) < 1e-4


def test_the_folder_is_whole_and_holds_no_pickle(
    fit: Train, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = fit("run", make_pairs(4))
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert {path.suffix for path in folder.iterdir()} == {".json", ".jinja", ".safetensors"}
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.chat_template
    assert tokenizer.pad_token_id == AutoConfig.from_pretrained(folder).pad_token_id
    said = capfd.readouterr()
    assert said.out == "" and "%|" not in said.err


@pytest.mark.parametrize("killed_at", [1, 4])
def test_resume_after_a_kill_gives_the_same_weights(fit: Train, tmp_path: Path, killed_at: int) -> None:
    """Two epochs of three steps with checkpoints after steps 2, 4 and 6."""
    settings: dict[str, Any] = {"epochs": 2, "save_steps": 2, "micro_batch_pairs": 4}
    pairs = make_pairs(20)
    curve: Steps = {}
    whole = fit("whole", pairs, steps=curve, **settings)

    def kill(done: int, total: int, values: Mapping[str, float]) -> None:
        if done == killed_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit("killed", pairs, on_step=kill, **settings)
    assert not (tmp_path / "killed").exists()
    again: Steps = {}
    resumed = fit("killed", pairs, steps=again, **settings)
    # The callback of step 4 runs before the checkpoint of step 4 is written.
    assert list(again) == list(range((killed_at - 1) // 2 * 2 + 1, 7))
    assert all(again[step]["loss"] == curve[step]["loss"] for step in again)
    assert largest_difference(weights(resumed), weights(whole)) == 0


def test_resume_after_the_last_step(fit: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the last checkpoint and the model: nothing is trained again, nothing is lost."""
    pairs = make_pairs(12)
    whole = fit("whole", pairs)

    def kill(*args: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training, "save_policy", kill)
        with pytest.raises(KeyboardInterrupt):
            fit("killed", pairs)
    steps: Steps = {}
    resumed = fit("killed", pairs, steps=steps)
    assert not steps
    assert largest_difference(weights(resumed), weights(whole)) == 0


def test_an_adapter_is_merged_first(family_folder: FamilyFolder, tmp_path: Path) -> None:
    base = AutoModelForCausalLM.from_pretrained(family_folder("llama"))
    adapted = get_peft_model(base, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
    adapted.save_pretrained(tmp_path / "adapter")
    merged = adapted.merge_and_unload()
    model = training.untrained_reward_model(tmp_path / "adapter", device="cpu")
    assert largest_difference(model.model.state_dict(), merged.model.state_dict()) < 1e-6
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_of_a_long_conversation_the_end_is_read(family_folder: FamilyFolder) -> None:
    tokenizer = load_tokenizer(family_folder("qwen3"))
    messages = conversations(make_pairs(1))[0]
    ids = conversation_ids(tokenizer, messages)
    assert conversation_ids(tokenizer, messages, 7) == ids[-7:]
    assert conversation_ids(tokenizer, messages, len(ids) + 1) == ids


def test_what_cannot_be_trained_is_refused(fit: Train, family_folder: FamilyFolder) -> None:
    with pytest.raises(InputError, match="no labelled pairs"):
        fit("run", [])
    tokenizer = load_tokenizer(family_folder("llama"))
    tokenizer.chat_template = None
    with pytest.raises(InputError, match="no chat template"):
        conversation_ids(tokenizer, conversations(make_pairs(1))[0])


def test_as_a_reward_it_is_fitted_then_made(family_folder: FamilyFolder, tmp_path: Path) -> None:
    """`fit` takes its own options and the rest from `training`; `make` reads what it wrote."""
    config = RunConfig(
        policy=str(family_folder("llama", 1)), reference=str(family_folder("llama")), device="cpu"
    )
    config.training.micro_batch_pairs = 4
    chat = ChatFormat(load_tokenizer(family_folder("llama")))
    nothing: Any = None
    unfitted = Tools(config, chat, nothing, nothing, nothing, nothing, "")
    tools = replace(unfitted, fitted=tmp_path / "model")
    settings = Settings(batch_pairs=4, epochs=2, learning_rate=1e-3)
    assert part.needs_fit(settings) and not part.needs_fit(Settings(model="folder"))
    steps: Steps = {}
    part.fit(settings, tools, make_pairs(20), tmp_path / "model", lambda d, t, v: steps.setdefault(d, v))
    # A tenth of ten steps warms up; then it is a cosine.
    rates = [steps[step]["learning_rate"] / 1e-3 for step in range(1, 11)]
    assert rates == pytest.approx([0] + [(1 + math.cos(math.pi * i / 9)) / 2 for i in range(9)])
    assert chat.tokenizer.pad_token is None  # the policy's tokenizer is left alone
    pairs = make_pairs(4)
    fitted = part.make(settings, tools)
    given = part.make(Settings(model=str(tmp_path / "model")), unfitted)
    assert fitted.name == "reward-model" and fitted.max_length == 2048
    assert rewards_of(fitted, pairs) == rewards_of(given, pairs)
    with pytest.raises(InputError, match="no reward model was trained"):
        part.make(settings, unfitted)
    part.check(settings, config)
    for complain in (lambda wrong: part.check(wrong, config), lambda wrong: part.make(wrong, unfitted)):
        with pytest.raises(InputError, match=r"reward\.options\.model: .* has no config\.json"):
            complain(Settings(model=str(tmp_path)))


def test_a_tie_is_no_success_in_accuracy() -> None:
    """The worked example of multilingual RewardBench: of (1.2, 0.7), (0.1, 0.4), (2, 2) one is right."""
    numbers = iter([(1.2, 0.7), (0.1, 0.4), (2.0, 2.0)])
    fixed = SimpleNamespace(
        name="fixed",
        score=lambda batch: [
            [score_of(r, value) for r, value in zip(c.responses, next(numbers), strict=True)] for c in batch
        ],
    )
    assert labelled_accuracy(fixed, make_pairs(3)) == pytest.approx(1 / 3)


@pytest.fixture(scope="module", params=["llama", "qwen3"])
def reward_model(
    request: pytest.FixtureRequest, family_folder: FamilyFolder, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A tiny random reward model of somebody else's, with its tokenizer."""
    source, folder = family_folder(request.param, 0), tmp_path_factory.mktemp("reward-model")
    config = AutoConfig.from_pretrained(source)
    config.num_labels = 1
    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    return folder


def test_a_reward_model_scores_what_its_plain_forward_pass_says(reward_model: Path) -> None:
    check_reward_model(reward_model, "measures.reward_model")
    judge = RewardModel.load(reward_model, "cpu", batch_tokens=64)
    batch = [make_candidates("1", "Ja.", "Nein.", "Vielleicht morgen früh."), make_candidates("22", "Ja.")]
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
    with pytest.raises(InputError, match=r"measures\.reward_model: .* has no config\.json"):
        check_reward_model(tmp_path, "measures.reward_model")
    with pytest.raises(InputError, match="gives 2 numbers a text"):
        check_reward_model(family_folder("llama", 0), "measures.reward_model")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match=r"has no \*\.safetensors"):
        check_reward_model(tmp_path, "measures.reward_model")
