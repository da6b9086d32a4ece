"""Preference training: the right loss, exact accumulation, resume, LoRA, and what is left on disk."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from conftest import FamilyFolder
from families import make_family
from lingualign.config import LoraConfig, TrainingConfig
from lingualign.errors import InputError
from lingualign.logprobs import sequence_logprobs
from lingualign.models import load_model, load_tokenizer
from lingualign.prompts import ChatFormat
from lingualign.records import REFERENCE_LOGPS, Pair, read_table, write_table
from lingualign.training import TrainingResult, reference_logps, train
from lingualign.training.arguments import last_checkpoint
from lingualign.training.collate import encode_pairs
from lingualign.training.objectives import OBJECTIVES
from lingualign.training.policy import disable_dropout

Weights = dict[str, torch.Tensor]
Train = Callable[..., TrainingResult]
MAX_LENGTH = 256


def make_pairs(count: int, long: int = -1) -> list[Pair]:
    """Pairs of different lengths, finished and cut ones; `long` is the number of one that is far too long."""
    return [
        Pair(
            id=f"p{i}/en",
            prompt_id=f"p{i}",
            language="en",
            prompt=[{"role": "user", "content": f"Name {i} rivers" + " please" * (i % 3)}],
            chosen=[
                {
                    "role": "assistant",
                    "content": f"The answer is {i}." + " Thank you!" * (99 if i == long else i % 4),
                }
            ],
            rejected=[{"role": "assistant", "content": "No." + " Die Antwort" * (i % 5)}],
            chosen_score=1.0,
            rejected_score=0.0,
            chosen_index=0,
            rejected_index=1,
            chosen_finished=i % 2 == 0,
            rejected_finished=i % 3 == 0,
        )
        for i in range(count)
    ]


@pytest.fixture(scope="module")
def chat(family_folder: FamilyFolder) -> ChatFormat:
    return ChatFormat(load_tokenizer(family_folder("llama")))


@pytest.fixture
def fit(family_folder: FamilyFolder, chat: ChatFormat, tmp_path: Path) -> Train:
    """`fit(name, pairs, setting=...)` trains the Llama in a folder of that name."""

    def run(
        name: str,
        pairs: list[Pair],
        policy: Path | None = None,
        on_step: Any = None,
        on_log: Any = None,
        **settings: Any,
    ) -> TrainingResult:
        start = policy or family_folder("llama")
        config = TrainingConfig(
            **{"learning_rate": 1e-3, "batch_pairs": 8, "micro_batch_pairs": 8, "max_length": MAX_LENGTH}
            | settings
        )
        rows = reference_logps(load_model(start, device="cpu"), pairs, chat, max_length=MAX_LENGTH)
        return train(
            config,
            pairs,
            rows,
            policy=start,
            chat=chat,
            output=tmp_path / name,
            seed=0,
            device="cpu",
            on_step=on_step,
            on_log=on_log,
        )

    return run


def weights(folder: Path) -> Weights:
    return AutoModelForCausalLM.from_pretrained(folder).state_dict()


def largest_difference(a: Weights, b: Weights) -> float:
    assert a.keys() == b.keys()
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def test_first_step_starts_from_log_2_plus_nll(
    fit: Train, family_folder: FamilyFolder, chat: ChatFormat
) -> None:
    """The policy is its own reference, so every margin is 0; the NLL is a mean over a response's tokens."""
    pairs = make_pairs(8)
    encoded, _ = encode_pairs(pairs, chat, MAX_LENGTH)
    logps = sequence_logprobs(
        load_model(family_folder("llama"), device="cpu"), [p.chosen for p in encoded], 1024
    )
    nll = sum(-logp / len(p.chosen.response_ids) for logp, p in zip(logps, encoded, strict=True)) / 8
    seen: list[Mapping[str, float]] = []
    fit("run", pairs, nll_weight=0.5, on_step=lambda done, total, values: seen.append(dict(values)))
    assert seen[0]["margin"] == pytest.approx(0, abs=1e-4)
    assert seen[0]["dpo"] == pytest.approx(math.log(2), abs=1e-5)
    assert seen[0]["nll"] == pytest.approx(nll, rel=1e-5)
    assert seen[0]["loss"] == pytest.approx(math.log(2) + 0.5 * nll, rel=1e-5)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_accumulation_is_exact(fit: Train, objective: str) -> None:
    """11 pairs: the last step has 3, split as 1+1+1, 2+1 and 3, where means of means would differ.

    So would kto-pair with means of its own in every micro-batch.
    """
    pairs = make_pairs(11)
    losses: dict[int, list[float]] = {}
    trained = {}
    for micro in (8, 3, 1):
        curve = losses[micro] = []
        result = fit(
            str(micro),
            pairs,
            objective=objective,
            micro_batch_pairs=micro,
            epochs=2,
            on_step=lambda d, t, v: curve.append(v["loss"]),  # noqa: B023
        )
        trained[micro] = weights(result.model)
        assert result.steps == 4
    for micro in (3, 1):
        assert losses[micro] == pytest.approx(losses[8], rel=1e-4)
        assert largest_difference(trained[micro], trained[8]) < 1e-4


def test_training_learns_the_preference(fit: Train) -> None:
    seen: list[tuple[int, int, Mapping[str, float]]] = []
    result = fit("run", make_pairs(16), epochs=10, on_step=lambda *step: seen.append(step))
    assert [(done, total) for done, total, _ in seen] == [(step, 20) for step in range(1, 21)]
    assert result.metrics["margin"] > 1 and result.metrics["accuracy"] == 1
    assert result.metrics["loss"] < seen[0][2]["loss"]
    assert result.pairs == 16 and result.steps == 20 and result.resumed_at == 0


@pytest.mark.parametrize(
    ("objective", "settings"),
    [("dpo", {}), ("ipo", {"beta": 0.5}), ("simpo", {"beta": 2.0}), ("kto-pair", {})],
)
def test_every_objective_widens_its_margin(fit: Train, objective: str, settings: dict[str, Any]) -> None:
    seen: list[Mapping[str, float]] = []
    fit(
        "run",
        make_pairs(16),
        objective=objective,
        nll_weight=0,
        epochs=5,
        micro_batch_pairs=3,
        on_step=lambda done, total, values: seen.append(dict(values)),
        **settings,
    )
    assert {objective, "nll", "margin", "accuracy", "loss"} <= seen[0].keys()
    assert seen[-1]["margin"] > seen[0]["margin"] + 0.3
    assert seen[-1]["loss"] < seen[0]["loss"]
    assert seen[-1]["loss"] == pytest.approx(seen[-1][objective], rel=1e-5)


def test_kto_pair_resumes_with_dropout(fit: Train) -> None:
    """With an adapter's dropout, the pass that computes the means takes none of its draws."""
    pairs = make_pairs(12)
    settings: dict[str, Any] = {
        "objective": "kto-pair",
        "lora": LoraConfig(r=4, dropout=0.1),
        "epochs": 2,
        "save_steps": 1,
        "micro_batch_pairs": 4,
    }

    def kill(done: int, total: int, values: Mapping[str, float]) -> None:
        if done == 3:
            raise KeyboardInterrupt

    whole = weights(fit("whole", pairs, **settings).model)
    with pytest.raises(KeyboardInterrupt):
        fit("killed", pairs, on_step=kill, **settings)
    resumed = fit("killed", pairs, **settings)
    assert resumed.resumed_at == 2
    assert largest_difference(weights(resumed.model), whole) == 0


def test_the_same_seed_gives_the_same_weights(fit: Train) -> None:
    pairs = make_pairs(12)
    first = weights(fit("first", pairs).model)
    torch.manual_seed(1234)
    assert largest_difference(weights(fit("second", pairs).model), first) == 0


@pytest.mark.parametrize("lora", [None, LoraConfig(r=4, dropout=0.1)], ids=["full", "lora"])
@pytest.mark.parametrize("killed_at", [1, 4, 5])
def test_resume_after_a_kill_gives_the_same_weights(
    fit: Train, tmp_path: Path, killed_at: int, lora: LoraConfig | None
) -> None:
    """Two epochs of three steps with checkpoints after steps 2, 4 and 6; the dropout's draws resume too."""
    settings: dict[str, Any] = {"epochs": 2, "save_steps": 2, "micro_batch_pairs": 4, "lora": lora}
    pairs = make_pairs(20)
    curve: dict[int, float] = {}
    logs: list[Any] = []
    settings["on_log"] = logs.append
    whole = fit("whole", pairs, on_step=lambda done, total, v: curve.__setitem__(done, v["loss"]), **settings)

    def kill(done: int, total: int, values: Mapping[str, float]) -> None:
        if done == killed_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit("killed", pairs, on_step=kill, **settings)
    assert not (tmp_path / "killed" / "model").exists()
    again: dict[int, float] = {}
    resumed = fit(
        "killed", pairs, on_step=lambda done, total, v: again.__setitem__(done, v["loss"]), **settings
    )
    # The callback of step 4 runs before the checkpoint of step 4 is written.
    assert resumed.resumed_at == (killed_at - 1) // 2 * 2
    assert resumed.steps == whole.steps == 6
    assert again == {step: loss for step, loss in curve.items() if step > resumed.resumed_at}
    assert json.dumps(logs[0]) == json.dumps(logs[1])  # the order of their keys, too
    assert largest_difference(weights(resumed.model), weights(whole.model)) == 0


def test_resume_after_the_last_step(fit: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the last checkpoint and the model: nothing is trained again, nothing is lost."""
    pairs = make_pairs(12)
    whole = fit("whole", pairs)

    def kill(*args: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("lingualign.training.preference.save_policy", kill)
        with pytest.raises(KeyboardInterrupt):
            fit("killed", pairs)
    seen: list[int] = []
    resumed = fit("killed", pairs, on_step=lambda done, total, values: seen.append(done))
    assert seen == [] and resumed.steps == resumed.resumed_at == 2
    assert largest_difference(weights(resumed.model), weights(whole.model)) == 0


def test_incomplete_checkpoint_is_not_resumed_from(tmp_path: Path) -> None:
    for step, state in ((9, "{}"), (10, "{}"), (20, '{"half'), (30, None)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if state is not None:
            (folder / "trainer_state.json").write_text(state)
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-10"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-9"]
    assert last_checkpoint(tmp_path / "none") is None


def test_full_model_loads_with_transformers(family: str, family_folder: FamilyFolder, tmp_path: Path) -> None:
    folder = family_folder(family)
    chat = ChatFormat(load_tokenizer(folder))
    pairs = make_pairs(4)
    rows = reference_logps(load_model(folder, device="cpu"), pairs, chat, max_length=MAX_LENGTH)
    config = TrainingConfig(learning_rate=1e-3, max_length=MAX_LENGTH)
    result = train(config, pairs, rows, policy=folder, chat=chat, output=tmp_path, seed=0, device="cpu")
    assert result.model == tmp_path / "model"
    assert largest_difference(weights(result.model), weights(folder)) > 0
    model = AutoModelForCausalLM.from_pretrained(result.model)
    before = AutoModelForCausalLM.from_pretrained(folder)
    assert model.dtype == before.dtype
    assert model.generation_config.eos_token_id == before.generation_config.eos_token_id
    tokenizer = AutoTokenizer.from_pretrained(result.model)
    assert tokenizer.get_vocab() == chat.tokenizer.get_vocab()
    assert tokenizer.chat_template == chat.tokenizer.chat_template
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert not [path for path in result.model.iterdir() if path.suffix in (".bin", ".pt", ".pth")]


def test_model_is_saved_in_the_type_of_the_policy(fit: Train, tmp_path: Path) -> None:
    policy = make_family("llama", tmp_path / "policy", dtype="bfloat16")
    AutoModelForCausalLM.from_pretrained(policy, dtype=torch.bfloat16).save_pretrained(policy)
    result = fit("run", make_pairs(4), policy=policy)
    assert json.loads((result.model / "config.json").read_text())["dtype"] == "bfloat16"
    assert load_model(result.model, device="cpu", dtype="bfloat16").dtype == torch.bfloat16


def test_bfloat16_arithmetic_trains_nearly_the_same(fit: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    def losses(name: str) -> list[float]:
        curve: list[float] = []
        result = fit(name, make_pairs(16), on_step=lambda done, total, v: curve.append(v["loss"]), epochs=3)
        assert load_model(result.model, device="cpu", dtype="float32").dtype == torch.float32
        return curve

    exact = losses("float32")
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"amx_bf16": True})
    monkeypatch.setattr("lingualign.logprobs.engine.padded_pass", None)  # rows are packed in this, too
    rounded = losses("bfloat16")
    assert rounded != exact
    assert rounded == pytest.approx(exact, rel=0.02)


def test_lora_trains_an_adapter_against_its_base(
    fit: Train, family_folder: FamilyFolder, chat: ChatFormat
) -> None:
    pairs = make_pairs(12)
    seen: list[Mapping[str, float]] = []
    lora = LoraConfig(r=4, alpha=8)
    result = fit("run", pairs, lora=lora, epochs=3, on_step=lambda d, t, v: seen.append(dict(v)))
    assert seen[0]["dpo"] == pytest.approx(math.log(2), abs=1e-5)
    assert seen[-1]["margin"] > seen[0]["margin"]
    assert (result.model / "adapter_config.json").is_file()
    assert not (result.model / "model.safetensors").exists()
    assert (
        "chat_template" in json.loads((result.model / "tokenizer_config.json").read_text())
        or (result.model / "chat_template.jinja").is_file()
    )

    model = load_model(result.model, device="cpu")
    assert isinstance(model, PeftModel)
    base = reference_logps(
        load_model(family_folder("llama"), device="cpu"), pairs, chat, max_length=MAX_LENGTH
    )
    adapter_off = reference_logps(model, pairs, chat, max_length=MAX_LENGTH, disable_adapter=True)
    adapter_on = reference_logps(model, pairs, chat, max_length=MAX_LENGTH)
    for name in ("ref_chosen_logps", "ref_rejected_logps"):
        off = [row[name] for row in adapter_off]
        assert off == pytest.approx([row[name] for row in base], abs=1e-4)
        assert off != pytest.approx([row[name] for row in adapter_on], abs=1e-2)


def test_next_iteration_from_an_adapter(fit: Train, family_folder: FamilyFolder) -> None:
    """With LoRA the same adapter is trained on; without, it is merged into a whole model."""
    pairs = make_pairs(8)
    first = fit("first", pairs, lora=LoraConfig(r=4)).model
    start = load_model(first, device="cpu").state_dict()
    second = fit("second", pairs, policy=first, lora=LoraConfig(r=4)).model
    moved = load_model(second, device="cpu").state_dict()
    changed = {name for name in start if not torch.equal(start[name], moved[name])}
    assert changed and all("lora_" in name for name in changed)

    seen: list[Mapping[str, float]] = []
    merged = fit("merged", pairs, policy=first, on_step=lambda d, t, v: seen.append(dict(v))).model
    assert seen[0]["dpo"] == pytest.approx(math.log(2), abs=1e-5)  # it starts where the adapter was
    assert weights(merged).keys() == weights(family_folder("llama")).keys()


def test_overlong_pairs_are_left_out_and_named(fit: Train, chat: ChatFormat) -> None:
    pairs = make_pairs(6, long=3)
    encoded, overlong = encode_pairs(pairs, chat, MAX_LENGTH)
    assert overlong == ["p3/en"] and [pair.id for pair in encoded] == [
        p["id"] for p in pairs if p["id"] != "p3/en"
    ]
    result = fit("run", pairs)
    assert result.pairs == 5 and result.overlong == ["p3/en"]
    with pytest.raises(InputError, match="no pair to train on: 1 of 1 are longer than 256 tokens"):
        fit("none", pairs[3:4])


def test_end_token_is_trained_on_exactly_when_finished(chat: ChatFormat) -> None:
    for pair, encoded in zip(make_pairs(6), encode_pairs(make_pairs(6), chat, MAX_LENGTH)[0], strict=True):
        for side in ("chosen", "rejected"):
            ids = list(getattr(encoded, side).response_ids)
            finished = pair[f"{side}_finished"]  # type: ignore[literal-required]
            assert (ids[-1] == chat.end_id) == finished
            assert chat.decode(ids) == pair[side][0]["content"]  # type: ignore[literal-required]


def test_reference_table_is_joined_by_id(
    family_folder: FamilyFolder, chat: ChatFormat, tmp_path: Path
) -> None:
    pairs = make_pairs(6)
    rows = reference_logps(
        load_model(family_folder("llama"), device="cpu"), pairs, chat, max_length=MAX_LENGTH
    )
    assert [row["id"] for row in rows] == [pair["id"] for pair in pairs]
    write_table(tmp_path / "reference.parquet", rows[::-1], REFERENCE_LOGPS)
    stored = read_table(tmp_path / "reference.parquet", REFERENCE_LOGPS)
    seen: list[Mapping[str, float]] = []
    options: dict[str, Any] = {"policy": family_folder("llama"), "chat": chat, "seed": 0, "device": "cpu"}
    config = TrainingConfig(max_length=MAX_LENGTH)
    train(
        config,
        pairs,
        stored,
        output=tmp_path / "run",
        on_step=lambda d, t, v: seen.append(dict(v)),
        **options,
    )
    assert seen[0]["margin"] == pytest.approx(0, abs=1e-4)
    with pytest.raises(InputError, match=r"1 pairs have no reference log-probabilities, p5/en"):
        train(config, pairs, stored[1:], output=tmp_path / "other", **options)


def test_another_reference_moves_the_margin(
    family_folder: FamilyFolder, chat: ChatFormat, tmp_path: Path
) -> None:
    pairs = make_pairs(4)
    policy, other = (load_model(family_folder("llama", seed), device="cpu") for seed in (0, 1))
    rows = reference_logps(other, pairs, chat, max_length=MAX_LENGTH)
    own = reference_logps(policy, pairs, chat, max_length=MAX_LENGTH)
    margins = [
        (a["ref_chosen_logps"] - b["ref_chosen_logps"]) - (a["ref_rejected_logps"] - b["ref_rejected_logps"])
        for a, b in zip(own, rows, strict=True)
    ]
    result = train(
        TrainingConfig(max_length=MAX_LENGTH),
        pairs,
        rows,
        policy=family_folder("llama"),
        chat=chat,
        output=tmp_path,
        seed=0,
        device="cpu",
    )
    assert result.metrics["margin"] == pytest.approx(sum(margins) / len(margins), rel=1e-4)


def test_gradient_checkpointing_changes_nothing(fit: Train) -> None:
    pairs = make_pairs(8)
    plain = weights(fit("plain", pairs).model)
    # Prompts are then computed with every response, not once: the same to rounding, which AdamW enlarges.
    assert largest_difference(weights(fit("saving", pairs, gradient_checkpointing=True).model), plain) < 1e-4


def test_dropout_of_the_policy_is_off() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout(0.5))
    model[0].attention_dropout = 0.3  # as the attention of most models has it
    disable_dropout(model)
    assert model[1].p == 0 and model[0].attention_dropout == 0


@pytest.mark.parametrize("scheduler", ["cosine", "linear", "constant"])
def test_schedules_warm_up(fit: Train, scheduler: str) -> None:
    rates: list[float] = []
    settings: dict[str, Any] = {"scheduler": scheduler, "warmup": 0.5, "batch_pairs": 2}
    fit(scheduler, make_pairs(16), on_step=lambda d, t, v: rates.append(v["learning_rate"]), **settings)
    assert rates[:5] == pytest.approx([0, 0.25e-3, 0.5e-3, 0.75e-3, 1e-3])
    assert (rates[-1] == pytest.approx(1e-3)) == (scheduler == "constant")
