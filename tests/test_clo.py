"""CLO's objective and what else its training needs: whose NLL counts, which weights move, which rows stay
together."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from conftest import FamilyFolder
from lingualign.config import LoraConfig, TrainingConfig
from lingualign.models import load_model, load_tokenizer
from lingualign.prompts import ChatFormat
from lingualign.records import Pair
from lingualign.training import reference_logps, train
from lingualign.training.collate import encode_pairs, group_by_prompt, make_examples
from lingualign.training.objectives import PairLogps, preference_loss
from lingualign.training.policy import attention_projections, trainable_policy

MAX_LENGTH = 256


def worked_example() -> PairLogps:
    """Row E, then row T, of the worked example in the method's specification."""
    return PairLogps(
        policy_chosen=torch.tensor([-30.0, -50.0]),
        policy_rejected=torch.tensor([-80.0, -28.0]),
        ref_chosen=torch.tensor([-32.0, -60.0]),
        ref_rejected=torch.tensor([-70.0, -30.0]),
        chosen_lengths=torch.tensor([15, 25]),
        rejected_lengths=torch.tensor([20, 14]),
    )


TARGETS_ONLY = torch.tensor([0.0, 2.0])  # the NLL of row T alone, averaged over one row of two


@pytest.mark.parametrize(("preference_weight", "total"), [(0.5, 1.1585957833), (1.0, 1.3171915666)])
def test_worked_example_with_mean_and_sum_of_the_two_sides(preference_weight: float, total: float) -> None:
    config = TrainingConfig(beta=0.1, preference_weight=preference_weight, nll_weight=0.5, nll_on="targets")
    loss, values = preference_loss(worked_example(), config, TARGETS_ONLY)
    assert values["dpo"].tolist() == pytest.approx([0.2632824673, 0.3711006659], abs=1e-6)
    assert values["nll"].tolist() == pytest.approx([2.0, 2.0])
    assert loss.mean().item() == pytest.approx(total, abs=1e-6)


@pytest.mark.parametrize("objective", ["dpo", "ipo", "simpo", "kto-pair"])
def test_the_preference_term_can_be_any_objective(objective: str) -> None:
    both = TrainingConfig.model_validate(
        {"objective": objective, "preference_weight": 0.25, "nll_weight": 0.75}
    )
    alone = both.model_copy(update={"preference_weight": 1.0, "nll_weight": 0.0})
    logps = worked_example()
    expected = 0.25 * preference_loss(logps, alone)[0] + 0.75 * TARGETS_ONLY * torch.tensor([2.0, 2.0])
    assert torch.allclose(preference_loss(logps, both, TARGETS_ONLY)[0], expected)


def swap_rows(seeds: int, *languages: str) -> list[Pair]:
    """Rows E and T of a few seeds."""

    def row(seed: int, asked: str, other: str) -> Pair:
        text = {"en": f"The answer is {seed}.", "de": f"Die Antwort ist {seed}.", "es": f"Es {seed}."}
        return Pair(
            id=f"p{seed}/{asked}/{other}",
            prompt_id=f"p{seed}",
            language=asked,
            prompt=[{"role": "user", "content": f"{asked}: question {seed}?"}],
            chosen=[{"role": "assistant", "content": text[asked]}],
            rejected=[{"role": "assistant", "content": text[other]}],
            chosen_score=0.0,
            rejected_score=0.0,
            chosen_index=0,
            rejected_index=0,
            chosen_finished=True,
            rejected_finished=True,
        )

    return [
        row(seed, *sides)
        for language in languages
        for seed in range(seeds)
        for sides in (("en", language), (language, "en"))
    ]


def fit(
    folder: Path, output: Path, pairs: list[Pair], **settings: object
) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """Trains, and gives the weights and the metrics of the last step."""
    chat = ChatFormat(load_tokenizer(folder))
    config = TrainingConfig.model_validate(
        {"learning_rate": 1e-3, "batch_pairs": 8, "micro_batch_pairs": 4, "max_length": MAX_LENGTH} | settings
    )
    rows = None
    if config.preference_weight > 0:
        rows = reference_logps(load_model(folder, device="cpu"), pairs, chat, max_length=MAX_LENGTH)
    result = train(config, pairs, rows, policy=folder, chat=chat, output=output, seed=0, device="cpu")
    return dict(load_model(result.model, device="cpu").state_dict()), result.metrics


def test_before_the_first_step_each_side_is_log_2_and_only_targets_have_an_nll(
    family_folder: FamilyFolder, tmp_path: Path
) -> None:
    """English rows weigh nothing in the NLL: other English answers leave the loss what it was."""
    folder, pairs = family_folder("llama"), swap_rows(4, "de")
    clo = {"preference_weight": 0.5, "nll_weight": 0.5, "nll_on": "targets", "warmup": 0.0}
    _, metrics = fit(folder, tmp_path / "a", pairs, **clo)
    assert metrics["dpo"] == pytest.approx(math.log(2), abs=1e-4)
    _, alone = fit(
        folder, tmp_path / "b", [p for p in pairs if p["language"] == "de"], preference_weight=0.0, warmup=0.0
    )
    assert metrics["loss"] == pytest.approx(0.5 * math.log(2) + 0.5 * alone["loss"], abs=1e-4)


def test_without_a_preference_term_the_rejected_side_does_not_matter(
    family_folder: FamilyFolder, tmp_path: Path
) -> None:
    pairs = swap_rows(8, "de")
    emptied = [Pair(**{**pair, "rejected": [{"role": "assistant", "content": ""}]}) for pair in pairs]  # type: ignore[typeddict-item]
    one, _ = fit(family_folder("llama"), tmp_path / "a", pairs, preference_weight=0.0)
    other, _ = fit(family_folder("llama"), tmp_path / "b", emptied, preference_weight=0.0)
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma3", "mistral"])
def test_attention_alone_is_trained(family: str, family_folder: FamilyFolder, tmp_path: Path) -> None:
    before = load_model(family_folder(family), device="cpu").state_dict()
    after, _ = fit(family_folder(family), tmp_path / "a", swap_rows(4, "de"), train_modules="attention")
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert all(name.split(".")[-2] in ("q_proj", "k_proj", "v_proj", "o_proj") for name in moved)
    projections = attention_projections(load_model(family_folder(family), device="cpu"))
    assert {name.removesuffix(".weight").removesuffix(".bias") for name in moved} == set(projections)


def test_lora_on_attention_alone(family_folder: FamilyFolder) -> None:
    config = TrainingConfig(lora=LoraConfig(r=2), train_modules="attention")
    model = trainable_policy(
        family_folder("llama"), config, device="cpu", dtype="float32", trust_remote_code=False
    )
    trained = {name.split(".")[-5] for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {"self_attn"}


def test_rows_of_a_seed_share_a_step_and_micro_batches_change_nothing(
    family_folder: FamilyFolder, tmp_path: Path
) -> None:
    pairs = swap_rows(6, "de", "es")
    chat = ChatFormat(load_tokenizer(family_folder("llama")))
    groups = group_by_prompt(make_examples(encode_pairs(pairs, chat, MAX_LENGTH)[0], None))
    assert [{example.pair.prompt_id for example in group} for group in groups] == [
        {f"p{i}"} for i in range(6)
    ]
    assert [len(group) for group in groups] == [4] * 6
    settings = {"group_prompts": True, "nll_on": "targets"}
    one, first = fit(family_folder("llama"), tmp_path / "a", pairs, micro_batch_pairs=4, **settings)
    other, second = fit(family_folder("llama"), tmp_path / "b", pairs, micro_batch_pairs=8, **settings)
    assert first["epoch"] == second["epoch"] == 1.0
    assert max(float((one[name] - other[name]).abs().max()) for name in one) < 1e-5
