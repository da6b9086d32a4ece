"""Python's garbage collector in a process of our own."""

from __future__ import annotations

import gc

ROUNDS = 100  # of collecting among young objects until it looks at the old ones too; Python has 10


def collect_less_often() -> None:
    """Makes the collector look at old objects less often: for the start of a process.

    Loading torch and transformers makes 400,000 objects that stay. To look for garbage among them seven times
    takes 1.4 s of nine. Only for processes that are ours: a program that imports lingualign has its own say.
    """
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, ROUNDS)
