"""Pairs: who is chosen and who is rejected among the scored candidates of a prompt."""

from lingualign.pairs.best_worst import PairingReport, PairingResult, build_pairs
from lingualign.pairs.length_control import LengthControl, solve_penalty

__all__ = ["LengthControl", "PairingReport", "PairingResult", "build_pairs", "solve_penalty"]
