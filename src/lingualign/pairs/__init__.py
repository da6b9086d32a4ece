"""Pairs: who is chosen and who is rejected, among scored candidates or by other means."""

from lingualign.pairs.base import Pairing, PairingReport, PairingResult, Side, Tally, all_pairs
from lingualign.pairs.best_worst import build_pairs
from lingualign.pairs.length_control import LengthControl, solve_penalty
from lingualign.pairs.sources import Sources

__all__ = [
    "LengthControl",
    "Pairing",
    "PairingReport",
    "PairingResult",
    "Side",
    "Sources",
    "Tally",
    "all_pairs",
    "build_pairs",
    "solve_penalty",
]
