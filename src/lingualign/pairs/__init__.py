"""Pairs: who is chosen and who is rejected, among scored candidates or by other means."""

from lingualign.pairs.base import Pairing, PairingReport, PairingResult, Sources
from lingualign.pairs.best_worst import build_pairs
from lingualign.pairs.length_control import LengthControl, solve_penalty

__all__ = [
    "LengthControl",
    "Pairing",
    "PairingReport",
    "PairingResult",
    "Sources",
    "build_pairs",
    "solve_penalty",
]
