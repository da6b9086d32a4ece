"""IPO: a margin to reach, and not to pass."""

from __future__ import annotations

from torch import Tensor

from lingualign.training.objectives.base import PairLogps, per_token

CITATION = """\
@inproceedings{azar2024general,
    title = {A General Theoretical Paradigm to Understand Learning from Human Preferences},
    author = {Mohammad Gheshlaghi Azar and Mark Rowland and Bilal Piot and Daniel Guo and Daniele Calandriello
              and Michal Valko and R{\\'e}mi Munos},
    booktitle = {International Conference on Artificial Intelligence and Statistics},
    year = {2024},
    url = {https://arxiv.org/abs/2310.12036},
}
"""


def ipo_loss(logps: PairLogps, *, beta: float) -> tuple[Tensor, Tensor]:
    """IPO with log-ratios averaged over tokens, a loss a pair.

        margin = (log pi(y_w|x) - log ref(y_w|x)) / |y_w| - (log pi(y_l|x) - log ref(y_l|x)) / |y_l|
        loss   = (margin - 1 / (2 * beta))^2

    The paper's equation 17 has sums over tokens, and calls beta tau. As in TRL (1.16, `loss_type="ipo"`),
    each log-ratio is here divided by the length of its response: with sums, the same target would ask less a
    token of long responses than of short ones. TRL's source says that the authors confirmed it.

    References:
        - A General Theoretical Paradigm to Understand Learning from Human Preferences:
          https://arxiv.org/abs/2310.12036

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
        logps: See above; sums over response tokens, and the lengths of both responses.
        beta: How strongly the policy is held to the reference. The margin to reach is 1 / (2 * beta) nats a
            token.

    Returns:
        Loss of each pair [B], and its margin in nats a token [B].

    Example:
        >>> c, r, rc, rr, n, m = (torch.tensor([x]) for x in (-120.0, -83.0, -125.0, -80.0, 100, 50))
        >>> loss, margin = ipo_loss(PairLogps(c, r, rc, rr, n, m), beta=2.5)
        >>> round(margin.item(), 4), round(loss.item(), 4)  # 5/100 + 3/50 = 0.11; (0.11 - 0.2)^2
        (0.11, 0.0081)
    """
    chosen = per_token(logps.chosen_ratios, logps.chosen_lengths)
    rejected = per_token(logps.rejected_ratios, logps.rejected_lengths)
    margin = chosen - rejected
    return (margin - 1 / (2 * beta)) ** 2, margin
