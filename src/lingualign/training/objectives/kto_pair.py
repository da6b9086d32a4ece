"""KTO on pairs: each response is judged alone, against how far the policy has moved on the other ones."""

from __future__ import annotations

import torch
from torch import Tensor

from lingualign.training.objectives.base import PairLogps

CITATION = """\
@inproceedings{ethayarajh2024kto,
    title = {Model Alignment as Prospect Theoretic Optimization},
    author = {Kawin Ethayarajh and Winnie Xu and Niklas Muennighoff and Dan Jurafsky and Douwe Kiela},
    booktitle = {International Conference on Machine Learning},
    year = {2024},
    url = {https://arxiv.org/abs/2402.01306},
}
"""


def kto_pair_loss(logps: PairLogps, *, beta: float) -> tuple[Tensor, Tensor]:
    """KTO for as many chosen as rejected responses, a loss a pair.

        chosen_ratio   = log pi(y_w|x) - log ref(y_w|x),  chosen_kl   = max(0, mean of chosen_ratio)
        rejected_ratio = log pi(y_l|x) - log ref(y_l|x),  rejected_kl = max(0, mean of rejected_ratio)
        margin         = chosen_ratio - rejected_ratio
        loss           = 1 - sigmoid(beta * (chosen_ratio - rejected_kl))
                       + 1 - sigmoid(beta * (chosen_kl - rejected_ratio))

    The loss of a pair depends on the other pairs: both means are over all pairs of the optimiser step
    (`PairLogps.step_ratios`), which the trainer computes in a forward pass of its own before the first
    gradient. Means over micro-batches would be another loss for every micro-batch size. The means stand for
    how far the policy has moved from the reference, and no gradient goes through them.

    This is `loss_type="kto_pair"` of TRL up to 0.9, with two differences. TRL lets gradients through the
    means, which the paper rules out. And it averages over responses where the two terms are added here: half
    the loss. The paper itself estimates one divergence, on prompts with the responses of other prompts.

    References:
        - KTO: Model Alignment as Prospect Theoretic Optimization: https://arxiv.org/abs/2402.01306

    Inputs:
        ================ ===== =======================================================
        log-probability  shape of
        ================ ===== =======================================================
        policy_chosen    [B]   the chosen responses under the model in training, nats
        policy_rejected  [B]   the rejected responses under it
        ref_chosen       [B]   the chosen responses under the frozen reference
        ref_rejected     [B]   the rejected responses under it
        step_ratios      [2]   mean log-ratios of the step; None: those of these pairs
        ================ ===== =======================================================

    Args:
        logps: See above; sums over response tokens.
        beta: How soon the loss of a response saturates: the larger, the closer to the reference.

    Returns:
        Loss of each pair [B], and its margin in nats [B].

    Example:
        >>> c, r = torch.tensor([-120.0, -39.0]), torch.tensor([-83.0, -59.0])
        >>> rc, rr, n, m = torch.tensor([-125.0, -40.0]), torch.tensor([-80.0, -60.0]), *torch.ones(2, 2)
        >>> loss, margin = kto_pair_loss(PairLogps(c, r, rc, rr, n, m), beta=0.1)
        >>> margin.tolist()  # log-ratios 5, 1 and -3, 1: the estimates are 3 and 0, not -1
        [8.0, 0.0]
        >>> [round(x, 4) for x in loss.tolist()]  # 1 - s(.5) + 1 - s(.6); 1 - s(.1) + 1 - s(.2)
        [0.7319, 0.9252]
    """
    chosen, rejected = logps.chosen_ratios, logps.rejected_ratios
    means = logps.step_ratios
    if means is None:
        means = torch.stack([chosen.mean(), rejected.mean()])
    chosen_kl, rejected_kl = means.detach().clamp(min=0)
    # 1 - sigmoid(z) is sigmoid(-z), which does not round to 0 where z is large.
    loss = torch.sigmoid(-beta * (chosen - rejected_kl)) + torch.sigmoid(-beta * (chosen_kl - rejected))
    return loss, chosen - rejected
