"""Preference objectives: pure functions of log-probabilities, one a file.

A new objective is a function with the arguments of `dpo_nll_loss` in a file of its own, and a line here.
"""

from lingualign.training.objectives.dpo import dpo_nll_loss

OBJECTIVES = {"dpo": dpo_nll_loss}

__all__ = ["OBJECTIVES", "dpo_nll_loss"]
