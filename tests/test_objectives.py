"""The DPO + NLL objective, against numbers worked out by hand and against autograd."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lingualign.training.objectives import dpo_nll_loss

LOGPS = st.floats(-300, 0)


def tensors(*values: float) -> list[Tensor]:
    return [torch.tensor([value], dtype=torch.float64) for value in values]


def loss_of(*values: float, length: int = 10, beta: float = 0.1, nll_weight: float = 1.0) -> float:
    return dpo_nll_loss(*tensors(*values), torch.tensor([length]), beta, nll_weight)[0].item()


def test_worked_example() -> None:
    """Log-ratios +5 and -3: z = 0.1 * 8 = 0.8, -log sigmoid(0.8) = 0.371101; NLL = 120 / 100 = 1.2."""
    inputs = tensors(-120, -83, -125, -80)
    loss, values = dpo_nll_loss(*inputs, torch.tensor([100]), beta=0.1, nll_weight=1.0)
    assert values["margin"].item() == pytest.approx(8)
    assert values["dpo"].item() == pytest.approx(0.371101, abs=1e-6)
    assert values["nll"].item() == pytest.approx(1.2)
    assert values["accuracy"].item() == 1
    assert loss.item() == pytest.approx(1.571101, abs=1e-6)


def test_policy_equal_to_reference_gives_log_2() -> None:
    assert loss_of(-7, -9, -7, -9, nll_weight=0) == pytest.approx(math.log(2))
    assert loss_of(-7, -9, -7, -9, length=7, nll_weight=0.5) == pytest.approx(math.log(2) + 0.5)


def test_each_pair_has_its_own_loss() -> None:
    """No value of another pair enters, unlike a token mean over the batch."""
    rows = [(-120.0, -83.0, -125.0, -80.0, 100), (-3.0, -30.0, -4.0, -20.0, 2)]
    columns = [torch.tensor(column) for column in zip(*rows, strict=True)]
    together, _ = dpo_nll_loss(*columns, beta=0.1, nll_weight=1.0)
    alone = [loss_of(*row[:4], length=row[4]) for row in rows]
    assert together.tolist() == pytest.approx(alone, rel=1e-6)


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
    dpo_nll_loss(*inputs, torch.tensor([length]), beta, weight)[0].backward()
    slope = beta * torch.sigmoid(torch.tensor(-beta * ((a - c) - (b - d)), dtype=torch.float64)).item()
    assert chosen.grad is not None and rejected.grad is not None
    assert chosen.grad.item() == pytest.approx(-slope - weight / length, rel=1e-9, abs=1e-15)
    assert rejected.grad.item() == pytest.approx(slope, rel=1e-9, abs=1e-15)


def test_gradient_against_finite_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = [-20 * torch.rand(6, dtype=torch.float64, generator=generator) for _ in range(4)]
    lengths = torch.arange(1, 7)
    differentiable = [tensor.requires_grad_() for tensor in inputs]
    assert torch.autograd.gradcheck(
        lambda *logps: dpo_nll_loss(*logps, lengths, beta=0.3, nll_weight=0.7)[0], differentiable
    )


def test_extreme_margins_stay_finite() -> None:
    assert loss_of(-1e4, -1.0, -1.0, -1e4, nll_weight=0) == pytest.approx(0.1 * 19998)
    assert loss_of(-1.0, -1e4, -1e4, -1.0, nll_weight=0) == pytest.approx(0)


def test_empty_chosen_response_has_no_nll() -> None:
    assert loss_of(0, -5, 0, -5, length=0) == pytest.approx(math.log(2))
