"""DPO with the negative log-likelihood of the chosen response beside it."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid

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


def dpo_nll_loss(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    ref_chosen_logps: Tensor,
    ref_rejected_logps: Tensor,
    chosen_lengths: Tensor,
    beta: float,
    nll_weight: float,
) -> tuple[Tensor, dict[str, Tensor]]:
    """DPO plus the NLL of the chosen response, a loss a pair.

        margin = (log pi(y_w|x) - log ref(y_w|x)) - (log pi(y_l|x) - log ref(y_l|x))
        loss   = -log sigmoid(beta * margin)  +  nll_weight * (-log pi(y_w|x) / |y_w|)

    The NLL is a mean over the tokens of one response. Where it is instead summed, or averaged over the tokens
    of a batch, long responses count for more, and the loss depends on what else is in the batch.

    References:
        - Direct Preference Optimization: https://arxiv.org/abs/2305.18290
        - Iterative Reasoning Preference Optimization, for the NLL term: https://arxiv.org/abs/2404.19733
        - Implicit Cross-Lingual Rewarding, which uses beta 0.1 and NLL weight 1:
        https://arxiv.org/abs/2503.04647

    Inputs:
        ====================== ===== =======================================================
        log-probability        shape of
        ====================== ===== =======================================================
        policy_chosen_logps    [B]   the chosen responses under the model in training, nats
        policy_rejected_logps  [B]   the rejected responses under it
        ref_chosen_logps       [B]   the chosen responses under the frozen reference
        ref_rejected_logps     [B]   the rejected responses under it
        ====================== ===== =======================================================

    Args:
        policy_chosen_logps: See above; sums over response tokens, as all four are.
        policy_rejected_logps: See above.
        ref_chosen_logps: See above.
        ref_rejected_logps: See above.
        chosen_lengths: Tokens of the chosen responses [B], the end token counted where it is scored.
        beta: How strongly the policy is held to the reference: the larger, the closer.
        nll_weight: Weight of the NLL term; 0 is plain DPO.

    Returns:
        Loss of each pair [B], and detached values [B] to log: both terms (`dpo`, `nll`), `margin` in nats,
        and `accuracy`, 1 where the policy prefers the chosen response more than the reference does.

    Example:
        >>> c, r, rc, rr, n = (torch.tensor([x]) for x in (-120.0, -83.0, -125.0, -80.0, 100))
        >>> loss, values = dpo_nll_loss(c, r, rc, rr, n, beta=0.1, nll_weight=1.0)
        >>> round(loss.item(), 4), round(values["dpo"].item(), 4), round(values["nll"].item(), 4)
        (1.5711, 0.3711, 1.2)
    """
    margin = (policy_chosen_logps - ref_chosen_logps) - (policy_rejected_logps - ref_rejected_logps)
    dpo = -logsigmoid(beta * margin)
    nll = -policy_chosen_logps / chosen_lengths.clamp(min=1)  # an empty response has log-probability 0
    values = {"dpo": dpo, "nll": nll, "margin": margin, "accuracy": (margin > 0).to(margin.dtype)}
    return dpo + nll_weight * nll, {name: value.detach() for name, value in values.items()}
