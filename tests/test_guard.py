"""The watch over training: signs of collapse and what follows, and numbers that are not finite."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from conftest import FamilyFolder
from families import make_family
from lingualign.config import GuardConfig, LoraConfig, TrainingConfig
from lingualign.errors import InputError
from lingualign.models import load_model, load_tokenizer
from lingualign.prompts import ChatFormat, Prompt
from lingualign.records import Pair, Response
from lingualign.rewards import Candidates, ImplicitReward
from lingualign.training import TrainingResult, reference_logps, train
from lingualign.training.finite import MOST_SKIPPED, SKIPPED
from lingualign.training.guard import Answers
from lingualign.training.signs import Sign, find_signs, kept_checkpoints, shares_of
from test_training import MAX_LENGTH, Weights, largest_difference, make_pairs, weights

Row = dict[str, Any]
Fit = Callable[..., TrainingResult]


def history(count: int, **metrics: Callable[[int], float]) -> list[dict[str, float]]:
    """Steps of a healthy training, and what some metrics are instead at each of them."""
    healthy: dict[str, Callable[[int], float]] = {
        "loss": lambda step: 1.5 - step / 1000,
        "dpo": lambda step: 0.69 * 0.99**step,
        "nll": lambda step: 0.8 + 0.05 * (-1) ** step,
        "margin": lambda step: 0.1 * step,
        "accuracy": lambda step: min(1.0, 0.5 + step / 40),
        "chosen_ratio": lambda step: -0.001 * step,
    }
    return [
        {"step": step, **{name: value(step - 1) for name, value in (healthy | metrics).items()}}
        for step in range(1, count + 1)
    ]


def shares(step: int, **languages: float) -> dict[str, float]:
    return {"step": step, **{f"right_language/{code}": share for code, share in languages.items()}}


def test_shares_do_not_tell_whether_they_were_read_from_a_checkpoint() -> None:
    logged = {"right_language/en": 1.0, "right_language/de": 0.9, "loss": 0.5, "step": 3}
    shares = shares_of([logged])
    assert shares == [{"step": 3, "de": 0.9, "en": 1.0}]
    assert json.dumps(shares) == json.dumps(shares_of([dict(sorted(logged.items()))]))


def test_a_healthy_training_has_no_sign() -> None:
    answered = [shares(0, de=1.0, sw=0.875), *history(100), shares(100, de=0.875, sw=1.0)]
    assert find_signs(answered, TrainingConfig()) == []


@pytest.mark.parametrize(
    ("name", "metrics"),
    [
        ("chosen_fall", {"chosen_ratio": lambda step: -0.02 * step}),
        ("saturated", {"dpo": lambda step: 0.69 * 0.7**step, "accuracy": lambda step: 1.0}),
        ("margin", {"margin": lambda step: 8.0 * step}),
    ],
)
def test_each_sign_is_found_where_the_mean_of_its_window_passes(
    name: str, metrics: dict[str, Callable[[int], float]]
) -> None:
    config = TrainingConfig()
    (sign,) = find_signs(history(60, **metrics), config)
    assert sign.name == name and sign.good == max(0, sign.step - config.guard.window)
    column = {"chosen_fall": "chosen_ratio", "saturated": "dpo", "margin": "margin"}[name]
    values = [entry[column] for entry in history(60, **metrics)]
    scale = {"chosen_fall": -1.0, "saturated": -1.0, "margin": config.beta}[name]
    limit = -sign.limit if name == "saturated" else sign.limit
    means = {
        step: scale * sum(values[step - 8 : step]) / 8 for step in range(config.guard.window, sign.step + 1)
    }
    assert means[sign.step] > limit and all(means[step] <= limit for step in means if step < sign.step)


def test_supervised_training_is_held_against_its_own_first_step() -> None:
    config = TrainingConfig(preference_weight=0.0)
    without = [
        {key: entry[key] for key in ("step", "loss", "nll")}
        for entry in history(40, nll=lambda s: 0.8 + s / 50)
    ]
    (sign,) = find_signs(without, config)
    assert sign.name == "chosen_fall" and sign.value > config.guard.chosen_fall


def test_a_low_loss_alone_is_no_sign() -> None:
    """Where pairs are still ranked wrong, or where the loss has a minimum to reach."""
    low, right = {"dpo": lambda step: 1e-6, "ipo": lambda step: 1e-6}, {"accuracy": lambda step: 1.0}
    assert find_signs(history(40, **low, **right), TrainingConfig())
    assert find_signs(history(40, **low, accuracy=lambda step: 0.99), TrainingConfig()) == []
    assert find_signs(history(40, **low, **right), TrainingConfig(objective="ipo")) == []


def test_the_language_that_lost_most_is_named() -> None:
    seen = [
        shares(0, de=1.0, sw=1.0, zh=0.5),
        shares(25, de=0.75, sw=1.0, zh=0.5),
        shares(50, de=0.75, sw=0.5, zh=0.5),
    ]
    (sign,) = find_signs(seen, TrainingConfig())
    assert sign == Sign("language", 50, 0.5, 0.3, good=25, language="sw")
    assert "50% fewer answers in sw" in str(sign)


METRICS = st.fixed_dictionaries(
    {
        "loss": st.floats(0, 5),
        "dpo": st.floats(0, 1) | st.just(1e-5),
        "nll": st.floats(0, 3),
        "margin": st.floats(-50, 500),
        "accuracy": st.just(1.0) | st.floats(0, 1),
        "chosen_ratio": st.floats(-2, 0.2),
    }
)
ENTRIES = st.lists(METRICS | st.floats(0, 1).map(lambda share: shares(0, de=share)), max_size=30)


@given(ENTRIES, st.integers(1, 6), st.integers(0, 30))
def test_signs_are_a_function_of_what_came_before(
    entries: list[dict[str, float]], window: int, cut: int
) -> None:
    """So a training that resumes finds what it had found: a part has the signs that the whole begins with."""
    config = TrainingConfig(guard=GuardConfig(window=window))
    logged = [{**entry, "step": number} for number, entry in enumerate(entries, 1)]
    whole, part = find_signs(logged, config), find_signs(logged[:cut], config)
    assert part == [sign for sign in whole if sign.step <= cut]
    assert len({sign.name for sign in whole}) == len(whole)
    assert all(0 <= sign.good < sign.step for sign in whole)


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 30), st.integers(1, 100))
def test_enough_checkpoints_are_kept_to_go_back(save: int, window: int, every: int, step: int) -> None:
    """The checkpoint that a sign at any step leads back to is among the last ones."""
    guard = GuardConfig(action="roll-back", window=window, language_steps=every)
    config = TrainingConfig(save_steps=save, guard=guard)
    written = [saved for saved in range(save, step, save)]  # none at the step of a sign
    kept = written[-kept_checkpoints(config) :]
    for good in (step - window, (step - 1) // every * every if every else 0):
        if wanted := max((saved for saved in written if saved <= good), default=0):
            assert wanted in kept
    assert kept_checkpoints(config.model_copy(update={"guard": GuardConfig()})) == 1


@pytest.fixture(scope="module")
def chat(family_folder: FamilyFolder) -> ChatFormat:
    return ChatFormat(load_tokenizer(family_folder("llama")))


@pytest.fixture(scope="module")
def rows(family_folder: FamilyFolder, chat: ChatFormat) -> list[Row]:
    model = load_model(family_folder("llama"), device="cpu")
    return reference_logps(model, make_pairs(12), chat, max_length=MAX_LENGTH)


@pytest.fixture
def fit(family_folder: FamilyFolder, chat: ChatFormat, rows: list[Row], tmp_path: Path) -> Fit:
    """`fit(name, setting=...)` trains the Llama on 12 pairs, 4 a step, with a checkpoint at every step."""

    def run(name: str, wrong: Mapping[int, Row] | None = None, **settings: Any) -> TrainingResult:
        told = {key: settings.pop(key) for key in ("on_step", "on_log", "on_warn") if key in settings}
        config = TrainingConfig(
            **{
                "learning_rate": 1e-3,
                "nll_weight": 0.0,
                "batch_pairs": 4,
                "micro_batch_pairs": 2,
                "epochs": 3,
                "save_steps": 1,
                "max_length": MAX_LENGTH,
                "guard": {"language_steps": 0},
            }
            | settings
        )
        table = [{**row, **(wrong or {}).get(number, {})} for number, row in enumerate(rows)]
        return train(
            config,
            make_pairs(12),
            table,
            policy=family_folder("llama"),
            chat=chat,
            output=tmp_path / name,
            seed=0,
            device="cpu",
            **told,
        )

    return run


def strict_json(path: Path) -> Any:
    def refuse(literal: str) -> None:
        raise AssertionError(f"{literal} is no JSON")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def test_a_loss_that_is_not_finite_ends_the_training_before_the_step(fit: Fit, tmp_path: Path) -> None:
    seen: list[int] = []
    folder = tmp_path / "run"

    def look(done: int, total: int, metrics: Mapping[str, float]) -> None:
        seen.append(done)

    def start() -> str:
        with pytest.raises(InputError) as caught:
            fit("run", {7: {"ref_chosen_logps": math.nan}}, epochs=2, on_step=look)
        assert "impossible token" in caught.value.remedy and "another output=" in caught.value.remedy
        return caught.value.message

    message = start()
    saved = strict_json(folder / "bad_batch.json")
    step = saved["step"]
    assert seen == list(range(1, step)) and 1 <= step <= 3
    assert "of step" in message and "1 of its 4 pairs" in message and "p7/en" in message
    assert str(folder / "bad_batch.json") in message
    assert saved["not_finite"] == "loss" and saved["weights"] == "float32"
    assert saved["learning_rate"] > 0 or step == 1
    assert len(saved["pairs"]) == 4 and {pair["micro_batch"] for pair in saved["pairs"]} == {0, 1}
    (wrong,) = [pair for pair in saved["pairs"] if pair["not_finite"]]
    assert wrong["id"] == "p7/en" and wrong["reference_chosen"] == "nan"
    assert set(wrong["not_finite"]) == {"reference_chosen", "loss"}
    assert all(math.isfinite(pair["policy_chosen"]) and pair["chosen_tokens"] > 0 for pair in saved["pairs"])

    assert not (folder / "model").exists()
    names = [path.name for path in (folder / "checkpoints").glob("checkpoint-*")]
    assert names == ([f"checkpoint-{step - 1}"] if step > 1 else [])
    assert saved["last_checkpoint"] == (step - 1 or None)
    if step > 1:
        before = weights(folder / f"checkpoints/checkpoint-{step - 1}")
        assert all(tensor.isfinite().all() for tensor in before.values())
    seen.clear()
    assert start() == message and seen == []  # the same command comes to the same step

    result = fit("run", epochs=2, on_step=look)  # with a table that is right, it goes on from the checkpoint
    assert result.resumed_at == step - 1 and result.steps == 6
    assert not (folder / "bad_batch.json").exists()
    assert largest_difference(weights(result.model), weights(fit("whole", epochs=2).model)) == 0


def test_an_infinite_margin_is_not_finite_though_its_loss_is(fit: Fit, tmp_path: Path) -> None:
    """DPO's loss of it is 0."""
    with pytest.raises(InputError, match=r"reference_chosen of 1\): p7/en"):
        fit("run", {7: {"ref_chosen_logps": -math.inf}})
    (wrong,) = [pair for pair in strict_json(tmp_path / "run/bad_batch.json")["pairs"] if pair["not_finite"]]
    assert wrong["reference_chosen"] == "-inf" and wrong["loss"] == 0


def test_a_learning_rate_that_blows_up_is_named(fit: Fit, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        fit("run", learning_rate=1e36, scheduler="constant", warmup=0.0)
    saved = strict_json(tmp_path / "run/bad_batch.json")
    assert saved["step"] > 1 and saved["learning_rate"] == 1e36
    assert "training.learning_rate" in caught.value.remedy
    assert all("policy_chosen" in pair["not_finite"] for pair in saved["pairs"])


def test_a_gradient_that_is_not_finite_ends_the_training_before_the_step(
    fit: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lingualign.training import preference

    load, calls = preference.trainable_policy, [0]

    def broken(gradient: torch.Tensor) -> torch.Tensor:
        calls[0] += 1
        return gradient * math.inf if calls[0] > 4 else gradient  # two micro-batches a step

    def policy(*args: Any, **options: Any) -> Any:
        model = load(*args, **options)
        model.model.norm.weight.register_hook(broken)
        return model

    monkeypatch.setattr(preference, "trainable_policy", policy)
    seen: list[int] = []
    with pytest.raises(
        InputError, match=r"the gradient of step 3 is no finite number\. The losses of its 4 pairs are"
    ):
        fit("run", on_step=lambda done, total, metrics: seen.append(done))
    assert seen == [1, 2] and strict_json(tmp_path / "run/bad_batch.json")["not_finite"] == "gradient"


def test_a_gradient_scaler_may_skip_steps_but_not_for_ever(
    family_folder: FamilyFolder, fit: Fit, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lingualign.training import preference

    trainers = []

    class Kept(preference.PreferenceTrainer):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            trainers.append(self)

    monkeypatch.setattr(preference, "PreferenceTrainer", Kept)
    fit("run", guard={"action": "off"})
    (trainer,) = trainers
    with pytest.raises(InputError, match="the gradient"):  # there is no scaler in float32
        trainer._values["nll"] = [torch.ones(2)]
        trainer.log({"loss": 1.0, "grad_norm": math.inf})
    monkeypatch.setattr(type(trainer.accelerator), "mixed_precision", "fp16")
    for _ in range(MOST_SKIPPED):
        trainer._values["nll"] = [torch.ones(2)]
        trainer.log({"loss": 1.0, "grad_norm": math.inf})
        assert (
            trainer.state.log_history[-1][SKIPPED] == 1 and "grad_norm" not in trainer.state.log_history[-1]
        )
    with pytest.raises(InputError) as caught:
        trainer._values["nll"] = [torch.ones(2)]
        trainer.log({"loss": 1.0, "grad_norm": math.nan})
    assert "float16" in caught.value.remedy


EARLY = {"window": 2, "max_margin": 3.3, "language_steps": 0}


@pytest.mark.parametrize("lora", [None, LoraConfig(r=4, dropout=0.1)], ids=["full", "lora"])
def test_stop_and_roll_back_give_the_weights_they_promise(
    fit: Fit, tmp_path: Path, lora: LoraConfig | None
) -> None:
    def keep(done: int, total: int, metrics: Mapping[str, float]) -> None:
        checkpoint = tmp_path / f"warn/checkpoints/checkpoint-{done - 1}"
        if checkpoint.exists():
            shutil.copytree(checkpoint, tmp_path / f"kept-{done - 1}")

    logs: dict[str, Any] = {}
    told: dict[str, list[str]] = {"warn": [], "stop": [], "roll-back": []}

    def go(action: str, name: str = "", on_step: Any = None) -> TrainingResult:
        name = name or action
        return fit(
            name,
            lora=lora,
            learning_rate=1e-3 if lora is None else 3e-3,
            guard={**EARLY, "action": action},
            on_step=on_step,
            on_warn=told.setdefault(name, []).append,
            on_log=lambda log: logs.__setitem__(name, log),
        )

    assert go("warn", on_step=keep).steps == 9
    (sign,) = logs["warn"]["guard"]["signs"]
    step = sign["step"]
    assert 4 <= step < 8 and logs["warn"]["guard"]["stopped_at"] is None
    assert len(told["warn"]) == 1 and f"step {step}: the margin" in told["warn"][0]

    stopped = go("stop")
    assert stopped.steps == step and logs["stop"]["guard"]["stopped_at"] == step
    assert logs["stop"]["steps"] == logs["warn"]["steps"][:step]
    assert largest_difference(weights(stopped.model), weights(tmp_path / f"kept-{step}")) == 0
    assert "Training ends here." in told["stop"][0]

    back = go("roll-back")
    assert logs["roll-back"]["guard"]["rolled_back_to"] == step - 2
    assert largest_difference(weights(back.model), weights(tmp_path / f"kept-{step - 2}")) == 0
    assert f"with the weights of step {step - 2}" in told["roll-back"][0]
    assert not (tmp_path / "roll-back/checkpoints").exists()

    def kill(done: int, total: int, metrics: Mapping[str, float]) -> None:
        if done == step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go("roll-back", "killed", on_step=kill)
    resumed = go("roll-back", "killed")
    assert resumed.resumed_at == step - 1 and logs["killed"] == logs["roll-back"]
    assert largest_difference(weights(resumed.model), weights(back.model)) == 0


def test_killed_behind_a_sign_a_training_comes_to_it_again(
    fit: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs: list[Any] = []
    settings: dict[str, Any] = {"guard": {**EARLY, "action": "roll-back"}, "on_log": logs.append}
    whole = fit("whole", **settings)
    shutil.copytree(tmp_path / "whole/model", tmp_path / "undisturbed")

    def kill(*args: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("lingualign.training.preference.save_policy", kill)
        with pytest.raises(KeyboardInterrupt):
            fit("killed", **settings)
    resumed = fit("killed", **settings)
    assert resumed.steps == whole.steps and logs[0] == logs[1] == logs[2]
    assert largest_difference(weights(resumed.model), weights(tmp_path / "undisturbed")) == 0


def test_without_a_checkpoint_before_the_signs_it_goes_back_to_the_start(
    fit: Fit, family_folder: FamilyFolder
) -> None:
    told: list[str] = []
    result = fit("run", save_steps=50, guard={**EARLY, "action": "roll-back"}, on_warn=told.append)
    assert largest_difference(weights(result.model), weights(family_folder("llama"))) == 0
    assert "the weights it started from" in told[0]


def test_answers_change_nothing_of_the_training_and_are_not_asked_twice(fit: Fit) -> None:
    logs: dict[str, Any] = {}

    def go(name: str, every: int, on_step: Any = None, **guard: Any) -> Weights:
        result = fit(
            name,
            lora=LoraConfig(r=4, dropout=0.1),
            epochs=2,
            save_steps=2,
            guard={"language_steps": every, "language_prompts": 2, "language_tokens": 4} | guard,
            on_step=on_step,
            on_log=lambda log: logs.__setitem__(name, log),
        )
        return weights(result.model)

    silent, asked = go("silent", 0, action="off"), go("asked", 4)
    assert largest_difference(silent, asked) == 0
    assert logs["silent"]["steps"] == logs["asked"]["steps"] and "guard" not in logs["silent"]
    assert [found["step"] for found in logs["asked"]["guard"]["right_language"]] == [0, 4, 6]

    def kill(done: int, total: int, metrics: Mapping[str, float]) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go("killed", 4, on_step=kill)
    assert largest_difference(go("killed", 4), asked) == 0
    assert logs["killed"] == logs["asked"]


def test_a_policy_that_slips_into_english_is_stopped(tmp_path: Path) -> None:
    """Learning to answer German prompts in English, from the lab's aligned model."""
    from lingualign.lab.prompts import prompts

    chat = ChatFormat(load_tokenizer("lab:aligned"))
    model = load_model("lab:aligned", device="cpu", dtype="float32")
    asked = prompts("train", 8, ["en", "de"])
    from lingualign.sampling import TransformersSampler

    said = {
        (row["prompt_id"], row["language"]): row["text"]
        for (row,) in TransformersSampler(model, chat).sample(
            [prompt for rows in asked.by_language.values() for prompt in rows],
            n=1,
            temperature=0,
            max_new_tokens=64,
            seed=0,
        )
    }
    template = make_pairs(1)[0]
    pairs: list[Pair] = [
        {
            **template,
            "id": f"{prompt.id}/de",
            "prompt_id": prompt.id,
            "language": "de",
            "prompt": list(prompt.messages),
            "chosen": [{"role": "assistant", "content": said[prompt.id, "en"]}],
            "rejected": [{"role": "assistant", "content": said[prompt.id, "de"]}],
        }
        for prompt in asked.by_language["de"]
    ]
    config = TrainingConfig(
        learning_rate=1e-3,
        scheduler="constant",
        batch_pairs=8,
        micro_batch_pairs=8,
        epochs=30,
        guard=GuardConfig(
            action="stop", language_steps=3, language_prompts=4, max_margin=1e9, saturated_loss=0
        ),
    )
    assert Answers(config, pairs, chat, "en").shares(model) == {"de": 1.0}
    logs: list[Any] = []
    rows = reference_logps(model, pairs, chat, max_length=config.max_length)
    result = train(
        config,
        pairs,
        rows,
        policy="lab:aligned",
        chat=chat,
        output=tmp_path,
        seed=0,
        device="cpu",
        on_log=logs.append,
    )
    (sign,) = logs[0]["guard"]["signs"]
    assert sign["sign"] == "language" and sign["language"] == "de" and sign["value"] > 0.3
    assert result.steps == sign["step"] < 30
    assert [found["step"] for found in logs[0]["guard"]["right_language"]][-1] == result.steps


def overflowing(folder: Path) -> Path:
    """A Llama in float16 whose activations leave the range of float16 and of nothing else."""
    make_family("llama", folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.mlp.up_proj.weight.mul_(2e4)
            layer.mlp.down_proj.weight.mul_(2e4)
    model.to(torch.float16).save_pretrained(folder)
    return folder


def test_a_float16_checkpoint_is_never_computed_with_in_float16(tmp_path: Path, chat: ChatFormat) -> None:
    folder, pairs = overflowing(tmp_path / "half"), make_pairs(4)
    assert json.loads((folder / "config.json").read_text())["dtype"] == "float16"
    half = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float16).eval()
    with pytest.raises(InputError) as caught:
        reference_logps(half, pairs, chat, max_length=MAX_LENGTH)
    assert "pair p0/en" in caught.value.message and "float16" in caught.value.remedy
    for dtype in ("auto", "float32", "bfloat16"):
        model = load_model(folder, device="cpu", dtype=dtype)
        found = reference_logps(model, pairs, chat, max_length=MAX_LENGTH)
        assert all(math.isfinite(row["ref_chosen_logps"]) for row in found)
    rows = reference_logps(load_model(folder, device="cpu"), pairs, chat, max_length=MAX_LENGTH)
    config = TrainingConfig(max_length=MAX_LENGTH, guard=GuardConfig(language_steps=0))
    options: dict[str, Any] = {"policy": folder, "chat": chat, "seed": 0, "device": "cpu"}
    result = train(config, pairs, rows, output=tmp_path / "run", **options)
    assert math.isfinite(result.metrics["loss"])


def test_a_reward_that_is_no_number_names_its_response(family_folder: FamilyFolder, chat: ChatFormat) -> None:
    policy = load_model(family_folder("llama"), device="cpu")
    broken = load_model(family_folder("llama"), device="cpu")
    with torch.no_grad():
        broken.model.norm.weight[0] = math.nan
    prompt = Prompt("p1", "de", ({"role": "user", "content": "Nenne drei Flüsse."},))
    source = Prompt("p1", "en", ({"role": "user", "content": "Name three rivers."},))
    response = Response(
        prompt_id="p1", language="de", index=3, text="Rhein", finish_reason="stop", num_tokens=2
    )
    with pytest.raises(InputError) as caught:
        ImplicitReward(policy, broken, chat).score([Candidates(prompt, source, [response])])
    assert "The reference gives 1 of 1 responses" in caught.value.message
    assert "response 3 to prompt p1 in de" in caught.value.message and "dtype=float32" in caught.value.remedy
