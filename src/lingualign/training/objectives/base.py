"""What every objective reads, and the NLL of the chosen response, which any of them can have beside it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class PairLogps:
    """Log-probabilities of the responses of B pairs, summed over response tokens, in nats.

    Attributes:
        policy_chosen: float32 [B], the chosen responses under the model in training.
        policy_rejected: float32 [B], the rejected responses under it.
        ref_chosen: float32 [B], the chosen responses under the frozen reference.
        ref_rejected: float32 [B], the rejected responses under it.
        chosen_lengths: int64 [B], tokens of the chosen responses, the end token counted where it is scored.
        rejected_lengths: int64 [B], tokens of the rejected responses.
        step_ratios: float32 [2], means of `chosen_ratios` and of `rejected_ratios` over all pairs of the
            optimiser step that these are a part of. None: these are all.
    """

    policy_chosen: Tensor
    policy_rejected: Tensor
    ref_chosen: Tensor
    ref_rejected: Tensor
    chosen_lengths: Tensor
    rejected_lengths: Tensor
    step_ratios: Tensor | None = None

    @property
    def chosen_ratios(self) -> Tensor:
        """How much likelier the policy makes the chosen responses than the reference does, in nats [B]."""
        return self.policy_chosen - self.ref_chosen

    @property
    def rejected_ratios(self) -> Tensor:
        """How much likelier the policy makes the rejected responses than the reference does, in nats [B]."""
        return self.policy_rejected - self.ref_rejected


def per_token(logps: Tensor, lengths: Tensor) -> Tensor:
    """Sums over responses as means over their tokens [B]; an empty response has log-probability 0."""
    return logps / lengths.clamp(min=1)


def chosen_nll(logps: PairLogps) -> Tensor:
    """The NLL of the chosen responses, -log pi(y_w|x) / |y_w|, in nats a token [B].

    A mean over the tokens of one response. Where it is instead summed, or averaged over the tokens of a
    batch, long responses count for more, and the loss depends on what else is in the batch.

    References:
        - Iterative Reasoning Preference Optimization: https://arxiv.org/abs/2404.19733
        - Implicit Cross-Lingual Rewarding, which gives it weight 1: https://arxiv.org/abs/2503.04647

    Example:
        >>> c, r, rc, rr, n, m = (torch.tensor([x]) for x in (-120.0, -83.0, -125.0, -80.0, 100, 50))
        >>> round(chosen_nll(PairLogps(c, r, rc, rr, n, m)).item(), 4)
        1.2
    """
    return -per_token(logps.policy_chosen, logps.chosen_lengths)
