"""SimPO: no reference; the mean log-probability of a token is the reward."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid

from lingualign.training.objectives.base import PairLogps, per_token

CITATION = """\
@inproceedings{meng2024simpo,
    title = {SimPO: Simple Preference Optimization with a Reference-Free Reward},
    author = {Yu Meng and Mengzhou Xia and Danqi Chen},
    booktitle = {Advances in Neural Information Processing Systems},
    year = {2024},
    url = {https://arxiv.org/abs/2405.14734},
}
"""


def simpo_loss(logps: PairLogps, *, beta: float, gamma: float) -> tuple[Tensor, Tensor]:
    """SimPO, a loss a pair.

        margin = log pi(y_w|x) / |y_w| - log pi(y_l|x) / |y_l|
        loss   = -log sigmoid(beta * margin - gamma)

    Nothing holds the policy to where it started. As in TRL (1.16, `CPOTrainer`), gamma is the margin to reach
    times beta; the authors' code takes the ratio gamma / beta instead.

    References:
        - SimPO, with beta 2.0 or 2.5 and gamma / beta from 0.1 to 0.8: https://arxiv.org/abs/2405.14734

    Inputs:
        ================ ===== =======================================================
        log-probability  shape of
        ================ ===== =======================================================
        policy_chosen    [B]   the chosen responses under the model in training, nats
        policy_rejected  [B]   the rejected responses under it
        ================ ===== =======================================================

    Args:
        logps: See above; sums over response tokens, and the lengths of both responses.
        beta: Scale of the margin. Token means are small: it has to be much larger than that of DPO.
        gamma: Margin to reach, times beta.

    Returns:
        Loss of each pair [B], and its margin in nats a token [B].

    Example:
        >>> c, r, rc, rr, n, m = (torch.tensor([x]) for x in (-120.0, -83.0, -125.0, -80.0, 100, 50))
        >>> loss, margin = simpo_loss(PairLogps(c, r, rc, rr, n, m), beta=2.0, gamma=0.5)
        >>> round(margin.item(), 4), round(loss.item(), 4)  # -1.2 + 1.66 = 0.46; -log sigmoid(0.92 - 0.5)
        (0.46, 0.505)
    """
    chosen = per_token(logps.policy_chosen, logps.chosen_lengths)
    rejected = per_token(logps.policy_rejected, logps.rejected_lengths)
    margin = chosen - rejected
    return -logsigmoid(beta * margin - gamma), margin
