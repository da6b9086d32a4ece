"""Preference objectives: pure functions of log-probabilities, one a file.

A new objective is a function from `PairLogps` and its own settings to losses and margins, in a file of its
own, a line in `OBJECTIVES`, and its name in `training.objective`.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from lingualign.config import TrainingConfig
from lingualign.training.objectives.base import PairLogps, chosen_nll
from lingualign.training.objectives.dpo import dpo_loss
from lingualign.training.objectives.ipo import ipo_loss
from lingualign.training.objectives.kto_pair import kto_pair_loss
from lingualign.training.objectives.simpo import simpo_loss

Objective = Callable[[PairLogps, TrainingConfig], tuple[Tensor, Tensor]]  # -> losses [B], margins [B]

OBJECTIVES: dict[str, Objective] = {
    "dpo": lambda logps, config: dpo_loss(logps, beta=config.beta),
    "ipo": lambda logps, config: ipo_loss(logps, beta=config.beta),
    "simpo": lambda logps, config: simpo_loss(logps, beta=config.beta, gamma=config.simpo_gamma),
    "kto-pair": lambda logps, config: kto_pair_loss(logps, beta=config.beta),
}

NEED_STEP_RATIOS = {"kto-pair"}  # they read PairLogps.step_ratios, which takes a forward pass more


def preference_loss(
    logps: PairLogps, config: TrainingConfig, nll_share: Tensor | float = 1.0
) -> tuple[Tensor, dict[str, Tensor]]:
    """`preference_weight` times the objective that is set, plus `nll_weight` times the NLL of the chosen
    response.

    Args:
        logps: Of B pairs.
        config: Names the objective and has its settings.
        nll_share: What each pair's NLL counts for [B], 1 on average over a step. CLO has it on targets alone.

    Returns:
        Loss of each pair [B], and detached values [B] to log: both terms (the objective under its own name,
        and `nll`), `margin` as the objective defines it, and `accuracy`, 1 where the margin is positive.
        Without a preference term, `nll` alone.

    Example:
        >>> c, r, rc, rr, n, m = (torch.tensor([x]) for x in (-120.0, -83.0, -125.0, -80.0, 100, 50))
        >>> config = TrainingConfig(objective="dpo", beta=0.1, nll_weight=1.0)
        >>> loss, values = preference_loss(PairLogps(c, r, rc, rr, n, m), config)
        >>> round(loss.item(), 4), round(values["dpo"].item(), 4), round(values["nll"].item(), 4)
        (1.5711, 0.3711, 1.2)
    """
    nll = chosen_nll(logps)
    loss, values = config.nll_weight * nll_share * nll, {"nll": nll}
    if config.preference_weight > 0:
        losses, margin = OBJECTIVES[config.objective](logps, config)
        loss = config.preference_weight * losses + loss
        values |= {
            config.objective: losses,
            "margin": margin,
            "accuracy": (margin > 0).to(margin.dtype),
        }
    return loss, {name: value.detach() for name, value in values.items()}


__all__ = [
    "NEED_STEP_RATIOS",
    "OBJECTIVES",
    "Objective",
    "PairLogps",
    "chosen_nll",
    "dpo_loss",
    "ipo_loss",
    "kto_pair_loss",
    "preference_loss",
    "simpo_loss",
]
