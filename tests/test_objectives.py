"""The objectives, against numbers worked out by hand, against independent float64 and against autograd."""

from __future__ import annotations

import doctest
import importlib
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lingualign.config import TrainingConfig
from lingualign.training.objectives import (
    OBJECTIVES,
    PairLogps,
    dpo_loss,
    ipo_loss,
    kto_pair_loss,
    preference_loss,
    simpo_loss,
)

LOGPS = st.floats(-300, 0)
LENGTHS = st.integers(1, 500)
PAIRS = st.lists(st.tuples(LOGPS, LOGPS, LOGPS, LOGPS, LENGTHS, LENGTHS), min_size=1, max_size=5)
SETTINGS = {
    "dpo": {"beta": 0.1},
    "ipo": {"beta": 0.5},
    "simpo": {"beta": 2.0, "simpo_gamma": 0.5},
    "kto-pair": {"beta": 0.1},
}
# policy chosen and rejected, reference chosen and rejected, lengths
WORKED = (-120, -83, -125, -80, 100, 50)
WORKED_TOO = (-39, -59, -40, -60, 20, 40)

Row = tuple[float, float, float, float, int, int]


def tensors(*values: float) -> list[Tensor]:
    return [torch.tensor([value], dtype=torch.float64) for value in values]


def batch(rows: Sequence[Row]) -> PairLogps:
    columns = list(zip(*rows, strict=True))
    logps = [torch.tensor(column, dtype=torch.float64) for column in columns[:4]]
    return PairLogps(*logps, *(torch.tensor(column) for column in columns[4:]))


def settings(objective: str, **changes: Any) -> TrainingConfig:
    return TrainingConfig(**{"objective": objective, **SETTINGS[objective], **changes})


def dpo_with_nll(logps: PairLogps, beta: float, nll_weight: float) -> tuple[Tensor, dict[str, Tensor]]:
    return preference_loss(logps, settings("dpo", beta=beta, nll_weight=nll_weight))


def loss_of(*values: float, length: int = 10, beta: float = 0.1, nll_weight: float = 1.0) -> float:
    logps = PairLogps(*tensors(*values), torch.tensor([length]), torch.tensor([1]))
    return dpo_with_nll(logps, beta, nll_weight)[0].item()


@pytest.mark.parametrize("name", ["base", "dpo", "ipo", "simpo", "kto_pair", "__init__"])
def test_the_examples_in_the_documentation(name: str) -> None:
    module = importlib.import_module(f"lingualign.training.objectives.{name}".removesuffix(".__init__"))
    failed, tried = doctest.testmod(module, extraglobs={"torch": torch})
    assert failed == 0 and tried > 0
    assert name in ("base", "__init__") or module.CITATION.startswith("@inproceedings{")


# DPO, and the NLL beside it


def test_worked_example() -> None:
    """Log-ratios +5 and -3: z = 0.1 * 8 = 0.8, -log sigmoid(0.8) = 0.371101; NLL = 120 / 100 = 1.2."""
    loss, values = dpo_with_nll(batch([WORKED]), beta=0.1, nll_weight=1.0)
    assert values["margin"].item() == pytest.approx(8)
    assert values["dpo"].item() == pytest.approx(0.371101, abs=1e-6)
    assert values["nll"].item() == pytest.approx(1.2)
    assert values["accuracy"].item() == 1
    assert loss.item() == pytest.approx(1.571101, abs=1e-6)


def test_policy_equal_to_reference_gives_log_2() -> None:
    assert loss_of(-7, -9, -7, -9, nll_weight=0) == pytest.approx(math.log(2))
    assert loss_of(-7, -9, -7, -9, length=7, nll_weight=0.5) == pytest.approx(math.log(2) + 0.5)


@given(LOGPS, LOGPS, LOGPS, LOGPS, st.floats(-50, 50))
def test_only_log_ratios_matter_to_dpo(a: float, b: float, c: float, d: float, shift: float) -> None:
    shifted = loss_of(a + shift, b, c + shift, d, nll_weight=0)
    assert shifted == pytest.approx(loss_of(a, b, c, d, nll_weight=0), abs=1e-9)
    assert loss_of(a, b + shift, c, d + shift) == pytest.approx(loss_of(a, b, c, d), abs=1e-9)


@given(LOGPS, LOGPS, LOGPS, LOGPS)
def test_exchanging_the_responses_mirrors_dpo(a: float, b: float, c: float, d: float) -> None:
    """-log s(z) + log s(-z) = -z."""
    difference = loss_of(a, b, c, d, nll_weight=0) - loss_of(b, a, d, c, nll_weight=0)
    assert difference == pytest.approx(-0.1 * ((a - c) - (b - d)), abs=1e-9)


@given(LOGPS, LOGPS, LOGPS, LOGPS, st.floats(0.01, 2), st.floats(0, 2), st.integers(1, 500))
def test_gradient(a: float, b: float, c: float, d: float, beta: float, weight: float, length: int) -> None:
    """d loss / d chosen = -beta s(-z) - weight / length, and d loss / d rejected = beta s(-z)."""
    inputs = tensors(a, b, c, d)
    chosen, rejected = (tensor.requires_grad_() for tensor in inputs[:2])
    logps = PairLogps(*inputs, torch.tensor([length]), torch.tensor([1]))
    dpo_with_nll(logps, beta, weight)[0].backward()
    slope = beta * torch.sigmoid(torch.tensor(-beta * ((a - c) - (b - d)), dtype=torch.float64)).item()
    assert chosen.grad is not None and rejected.grad is not None
    assert chosen.grad.item() == pytest.approx(-slope - weight / length, rel=1e-9, abs=1e-15)
    assert rejected.grad.item() == pytest.approx(slope, rel=1e-9, abs=1e-15)


def test_extreme_margins_stay_finite() -> None:
    assert loss_of(-1e4, -1.0, -1.0, -1e4, nll_weight=0) == pytest.approx(0.1 * 19998)
    assert loss_of(-1.0, -1e4, -1e4, -1.0, nll_weight=0) == pytest.approx(0)


def test_empty_chosen_response_has_no_nll() -> None:
    assert loss_of(0, -5, 0, -5, length=0) == pytest.approx(math.log(2))


# The others, by hand


def test_ipo_worked_example() -> None:
    """Token means 5/100 and -3/50 are 0.11 apart; 1 / (2 * 2.5) is 0.2; the square of 0.09 is 0.0081."""
    loss, margin = ipo_loss(batch([WORKED]), beta=2.5)
    assert margin.item() == pytest.approx(0.11)
    assert loss.item() == pytest.approx(0.0081)


def test_simpo_worked_example() -> None:
    """-120/100 and -83/50 are 0.46 apart; 2 * 0.46 - 0.5 = 0.42; -log sigmoid(0.42) = 0.505037.

    TRL 1.16's `CPOTrainer.cpo_loss` with `loss_type="simpo"` gives 0.5050 for these token means.
    """
    loss, margin = simpo_loss(batch([WORKED]), beta=2.0, gamma=0.5)
    assert margin.item() == pytest.approx(0.46)
    assert loss.item() == pytest.approx(0.505037, abs=1e-6)


def test_kto_pair_worked_example() -> None:
    """Chosen log-ratios 5 and 1, mean 3; rejected ones -3 and 1, mean -1, which counts as 0.

    First pair: 1 - s(0.1 * 5) + 1 - s(0.1 * (3 + 3)) = 0.377541 + 0.354344.
    Second: 1 - s(0.1 * 1) + 1 - s(0.1 * (3 - 1)) = 0.475021 + 0.450166.
    """
    loss, margin = kto_pair_loss(batch([WORKED, WORKED_TOO]), beta=0.1)
    assert margin.tolist() == pytest.approx([8, 0])
    assert loss.tolist() == pytest.approx([0.731884, 0.925187], abs=1e-6)


# All of them


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z)) if z > 0 else math.exp(z) / (1 + math.exp(z))


def softplus(z: float) -> float:
    return max(z, 0) + math.log1p(math.exp(-abs(z)))


def expected(objective: str, rows: Sequence[Row], beta: float, gamma: float) -> list[float]:
    """What TRL computes, a pair at a time: dpo, ipo as its DPOTrainer (1.16), simpo as its CPOTrainer.

    kto-pair as its DPOTrainer did up to 0.9, but with both responses of a pair added up.
    """
    chosen_kl = max(0.0, sum(w - rw for w, _, rw, _, _, _ in rows) / len(rows))
    rejected_kl = max(0.0, sum(l - rl for _, l, _, rl, _, _ in rows) / len(rows))  # noqa: E741
    losses = []
    for w, l, ref_w, ref_l, n_w, n_l in rows:  # noqa: E741
        if objective == "dpo":
            losses.append(softplus(-beta * ((w - l) - (ref_w - ref_l))))
        elif objective == "ipo":
            losses.append(((w - ref_w) / n_w - (l - ref_l) / n_l - 1 / (2 * beta)) ** 2)
        elif objective == "simpo":
            losses.append(softplus(-beta * (w / n_w - l / n_l - gamma / beta)))
        else:
            chosen = 1 - sigmoid(beta * (w - ref_w - rejected_kl))
            losses.append(chosen + 1 - sigmoid(beta * (chosen_kl - (l - ref_l))))
    return losses


@pytest.mark.parametrize("objective", OBJECTIVES)
@given(rows=PAIRS, beta=st.floats(0.01, 3), gamma=st.floats(0, 2), weight=st.floats(0, 2))
def test_independent_float64(
    objective: str, rows: list[Row], beta: float, gamma: float, weight: float
) -> None:
    config = TrainingConfig(objective=objective, beta=beta, simpo_gamma=gamma, nll_weight=weight)
    losses, values = preference_loss(batch(rows), config)
    alone = expected(objective, rows, beta, gamma)
    nll = [-row[0] / row[4] for row in rows]
    assert values.keys() == {objective, "nll", "margin", "accuracy"}
    assert values[objective].tolist() == pytest.approx(alone, rel=1e-9, abs=1e-12)
    assert values["nll"].tolist() == pytest.approx(nll)
    assert values["accuracy"].tolist() == [float(margin > 0) for margin in values["margin"]]
    together = [loss + weight * term for loss, term in zip(alone, nll, strict=True)]
    assert losses.tolist() == pytest.approx(together, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_each_pair_has_its_own_loss(objective: str) -> None:
    """No value of another pair enters, except those that come with the step."""
    step_ratios = torch.tensor([0.7, -0.2], dtype=torch.float64)

    def losses(rows: Sequence[Row]) -> list[float]:
        plain = batch(rows)
        names = [name for name in PairLogps.__slots__ if name != "step_ratios"]
        logps = PairLogps(**{name: getattr(plain, name) for name in names}, step_ratios=step_ratios)
        return preference_loss(logps, settings(objective))[0].tolist()

    rows = [WORKED, (-3.0, -30.0, -4.0, -20.0, 2, 7)]
    assert losses(rows) == pytest.approx([*losses(rows[:1]), *losses(rows[1:])])


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_gradient_against_finite_differences(objective: str) -> None:
    """With the means of the step fixed, as they are for the gradient of kto-pair."""
    generator = torch.Generator().manual_seed(0)
    inputs = [-20 * torch.rand(6, dtype=torch.float64, generator=generator) for _ in range(4)]
    differentiable = [tensor.requires_grad_() for tensor in inputs]
    rest = (torch.arange(1, 7), torch.arange(7, 1, -1), torch.tensor([1.5, 0.5], dtype=torch.float64))
    config = settings(objective, nll_weight=0.7)
    assert torch.autograd.gradcheck(
        lambda *logps: preference_loss(PairLogps(*logps, *rest), config)[0], differentiable
    )


@pytest.mark.parametrize("objective", [name for name in OBJECTIVES if name != "ipo"])
@given(rows=PAIRS, rise=st.floats(0, 50), weight=st.floats(0, 2))
def test_a_likelier_chosen_response_is_never_worse(
    objective: str, rows: list[Row], rise: float, weight: float
) -> None:
    config = settings(objective, nll_weight=weight)

    def total(rows: list[Row]) -> float:
        return preference_loss(batch(rows), config)[0].sum().item()

    (chosen, rejected, *rest), *others = rows
    before = total(rows)
    assert total([(chosen + rise, rejected, *rest), *others]) <= before + 1e-9
    assert total([(chosen, rejected + rise, *rest), *others]) >= before - 1e-9


@given(LOGPS, LOGPS, LENGTHS, LENGTHS, st.floats(-5, 5), st.floats(0.05, 3))
def test_ipo_is_least_at_its_target(
    chosen: float, rejected: float, n: int, m: int, beside: float, beta: float
) -> None:
    """At a margin of 1 / (2 beta), and as much more on either side of it."""

    def at(margin: float) -> tuple[float, float]:
        policy = torch.tensor([chosen + n * margin], dtype=torch.float64, requires_grad=True)
        rest = tensors(rejected, chosen, rejected)
        loss, _ = ipo_loss(PairLogps(policy, *rest, torch.tensor([n]), torch.tensor([m])), beta=beta)
        loss.backward()
        assert policy.grad is not None
        return loss.item(), policy.grad.item()

    target = 1 / (2 * beta)
    assert at(target) == pytest.approx((0, 0), abs=1e-9)
    assert at(target + beside)[0] == pytest.approx(beside**2, abs=1e-9)
    assert at(target + beside)[1] == pytest.approx(2 * beside / n, abs=1e-9)


def test_simpo_reads_no_reference() -> None:
    rows = [WORKED, WORKED_TOO]
    moved = [(w, l, ref_w - 9, ref_l + 4, n, m) for w, l, ref_w, ref_l, n, m in rows]  # noqa: E741
    first, second = (simpo_loss(batch(some), beta=2.0, gamma=0.5)[0].tolist() for some in (rows, moved))
    assert first == second


def test_no_gradient_goes_through_the_means_of_kto_pair() -> None:
    """d / d chosen of sigmoid(-beta * (chosen - kl)) alone, though the chosen mean is in the other term."""
    logps = batch([WORKED])
    logps.policy_chosen.requires_grad_()
    kto_pair_loss(logps, beta=0.1)[0].backward()
    s = sigmoid(0.5)
    assert logps.policy_chosen.grad is not None
    assert logps.policy_chosen.grad.item() == pytest.approx(-0.1 * s * (1 - s))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_extreme_log_probabilities_and_empty_responses_stay_finite(objective: str) -> None:
    rows = [(-1e4, -1.0, -1.0, -1e4, 3, 1), (-1.0, -1e4, -1e4, -1.0, 1, 3), (0.0, -5.0, 0.0, -5.0, 0, 0)]
    logps = batch(rows)
    logps.policy_chosen.requires_grad_()
    losses, _ = preference_loss(logps, settings(objective))
    losses.sum().backward()
    assert logps.policy_chosen.grad is not None
    assert losses.isfinite().all() and logps.policy_chosen.grad.isfinite().all()


def test_dpo_is_a_function_of_its_own() -> None:
    losses, margin = dpo_loss(batch([WORKED, WORKED_TOO]), beta=0.1)
    assert losses.tolist() == pytest.approx([0.371101, math.log(2)], abs=1e-6)
    assert margin.tolist() == pytest.approx([8, 0])
