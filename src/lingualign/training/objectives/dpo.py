"""DPO: a classifier of the preferred response by the policy's own log-ratios."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid

from lingualign.training.objectives.base import PairLogps

CITATION = """\
@inproceedings{rafailov2023direct,
    title = {Direct Preference Optimization: Your Language Model is Secretly a Reward Model},
    author = {Rafael Rafailov and Archit Sharma and Eric Mitchell and Stefano Ermon and Christopher D. Manning
              and Chelsea Finn},
    booktitle = {Advances in Neural Information Processing Systems},
    year = {2023},
    url = {https://arxiv.org/abs/2305.18290},
}
"""


def dpo_loss(logps: PairLogps, *, beta: float) -> tuple[Tensor, Tensor]:
    """DPO, a loss a pair.

        margin = (log pi(y_w|x) - log ref(y_w|x)) - (log pi(y_l|x) - log ref(y_l|x))
        loss   = -log sigmoid(beta * margin)

    References:
        - Direct Preference Optimization: https://arxiv.org/abs/2305.18290
        - Implicit Cross-Lingual Rewarding, which uses beta 0.1 and an NLL weight of 1:
          https://arxiv.org/abs/2503.04647

    Inputs:
        ================ ===== =======================================================
        log-probability  shape of
        ================ ===== =======================================================
        policy_chosen    [B]   the chosen responses under the model in training, nats
        policy_rejected  [B]   the rejected responses under it
        ref_chosen       [B]   the chosen responses under the frozen reference
        ref_rejected     [B]   the rejected responses under it
        ================ ===== =======================================================

    Args:
        logps: See above; sums over response tokens.
        beta: How strongly the policy is held to the reference: the larger, the closer.

    Returns:
        Loss of each pair [B], and its margin in nats [B].

    Example:
        >>> c, r, rc, rr, n, m = (torch.tensor([x]) for x in (-120.0, -83.0, -125.0, -80.0, 100, 50))
        >>> loss, margin = dpo_loss(PairLogps(c, r, rc, rr, n, m), beta=0.1)
        >>> margin.item(), round(loss.item(), 4)  # 5 + 3 = 8; -log sigmoid(0.8)
        (8.0, 0.3711)
    """
    margin = logps.chosen_ratios - logps.rejected_ratios
    return -logsigmoid(beta * margin), margin
