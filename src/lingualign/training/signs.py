"""Signs of collapse, read from what a training logs: pure functions of its history.

A preference loss can fall while the model falls apart: it only asks that chosen responses lose less
likelihood than rejected ones. Three things give that away (thresholds, windows and their names are ours):

- the chosen responses themselves lose log-probability (`chosen_fall`; likelihood displacement,
  https://arxiv.org/abs/2410.08847, and why DPO is given an NLL term, https://arxiv.org/abs/2404.19733);
- the preference term is at its floor, or its margin beyond all need (`saturated`, `margin`): whatever told
  the pairs apart is learned, and further steps make the policy only more extreme;
- answers slip into another language, or into none (`language`).

Nothing here is kept beside the history, so a training that was killed and resumed, and every process of
one, comes to the same signs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

from lingualign.config import TrainingConfig

SignName = Literal["chosen_fall", "saturated", "margin", "language"]

RIGHT_LANGUAGE = "right_language/"
"""What the shares of answers in the right language are logged under, before the language's code."""

ALL_RIGHT = 0.999  # of the pairs of a window
SATURATING = {"dpo", "simpo", "kto-pair"}  # objectives whose gradient vanishes as the margin grows


@dataclass(frozen=True)
class Sign:
    """A sign of collapse, where it was first seen.

    Attributes:
        name: Which.
        step: Optimiser steps that were done.
        value: What was found.
        limit: What it was held against.
        good: The weights after this step are still beyond suspicion: where the window of the sign began, or
            the answers before were in the right language.
        language: In which language, of `language`.
    """

    name: SignName
    step: int
    value: float
    limit: float
    good: int
    language: str | None = None

    def __str__(self) -> str:
        """The sign in words."""
        if self.name == "chosen_fall":
            said = f"chosen responses have lost {self.value:.2f} nats a token since the first step"
        elif self.name == "saturated":
            said = f"every pair is ranked right, and the preference term is down to {self.value:.2g}"
        elif self.name == "margin":
            said = f"the margin times beta is {self.value:.1f}"
        else:
            said = f"{self.value:.0%} fewer answers in {self.language} are in that language than at the start"
        return f"{said} (limit {self.limit:g})"

    def as_dict(self) -> dict[str, Any]:
        """Plain values for `training.json`."""
        found = {"sign": self.name, "step": self.step, "value": self.value, "limit": self.limit}
        return found if self.language is None else {**found, "language": self.language}


class Watch:
    """Reads the entries that a training logs, one after the other.

    Attributes:
        signs: Found so far, the first of each name.

    Args:
        config: Of the training; `guard` has the thresholds.

    Example:
        >>> watch = Watch(TrainingConfig())
        >>> new = [sign for entry in history for sign in watch.see(entry)]
    """

    def __init__(self, config: TrainingConfig) -> None:
        self.signs: list[Sign] = []
        self._config = config
        self._first: dict[str, float] = {}
        self._window: deque[Mapping[str, float]] = deque(maxlen=config.guard.window)
        self._answered = 0  # step of the last look at answers

    def see(self, entry: Mapping[str, float]) -> list[Sign]:
        """Reads one entry: the metrics of a step, or shares of answers.

        Args:
            entry: As the Trainer logs it, with its `step`.

        Returns:
            Signs of names that were not there before.
        """
        if "loss" in entry:
            found = self._in_metrics(entry)
        elif any(key.startswith(RIGHT_LANGUAGE) for key in entry):
            found = self._in_answers(entry)
        else:
            return []
        known = {sign.name for sign in self.signs}
        new = [sign for sign in found if sign.name not in known]
        self.signs += new
        return new

    def _in_metrics(self, entry: Mapping[str, float]) -> list[Sign]:
        for name, value in entry.items():
            self._first.setdefault(name, value)
        self._window.append(entry)
        guard = self._config.guard
        if len(self._window) < guard.window:
            return []
        step = int(entry["step"])
        good = max(0, step - guard.window)
        signs = []
        fall = self._fall()
        if fall > guard.chosen_fall:
            signs.append(Sign("chosen_fall", step, fall, guard.chosen_fall, good))
        if self._config.preference_weight > 0:
            objective = self._config.objective
            loss, margin = self._mean(objective), self._config.beta * self._mean("margin")
            if (
                objective in SATURATING
                and loss < guard.saturated_loss
                and self._mean("accuracy") >= ALL_RIGHT
            ):
                signs.append(Sign("saturated", step, loss, guard.saturated_loss, good))
            if margin > guard.max_margin:
                signs.append(Sign("margin", step, margin, guard.max_margin, good))
        return signs

    def _fall(self) -> float:
        """What the chosen responses have lost since the first step, in nats a token.

        Against the reference where there is one: of the same responses, so that it does not matter which
        pairs a step has. With the policy itself for a reference, it is 0 at the first step.
        """
        if "chosen_ratio" in self._first:
            return self._first["chosen_ratio"] - self._mean("chosen_ratio")
        return self._mean("nll") - self._first["nll"]

    def _in_answers(self, entry: Mapping[str, float]) -> list[Sign]:
        shares = {key: value for key, value in entry.items() if key.startswith(RIGHT_LANGUAGE)}
        for key, share in shares.items():
            self._first.setdefault(key, share)
        good, self._answered = self._answered, int(entry["step"])
        worst = max(shares, key=lambda key: self._first[key] - shares[key])
        fall, limit = self._first[worst] - shares[worst], self._config.guard.language_fall
        if fall <= limit:
            return []
        return [Sign("language", self._answered, fall, limit, good, worst.removeprefix(RIGHT_LANGUAGE))]

    def _mean(self, name: str) -> float:
        return fmean(entry[name] for entry in self._window)


def find_signs(history: Iterable[Mapping[str, float]], config: TrainingConfig) -> list[Sign]:
    """The signs in a whole history, in the order in which they were seen.

    Args:
        history: What was logged, in order.
        config: Of the training.
    """
    watch = Watch(config)
    for entry in history:
        watch.see(entry)
    return watch.signs


def shares_of(history: Iterable[Mapping[str, float]]) -> list[dict[str, float]]:
    """The shares of answers in the right language: by `step`, a share a language.

    Languages are in one order, as entries that were read from a checkpoint are in another one.
    """
    found = []
    for entry in history:
        shares = {
            key.removeprefix(RIGHT_LANGUAGE): value
            for key, value in sorted(entry.items())
            if key.startswith(RIGHT_LANGUAGE)
        }
        if shares:
            found.append({"step": entry["step"], **shares})
    return found


def kept_checkpoints(config: TrainingConfig) -> int:
    """Checkpoints that have to be kept: the last, and with `roll-back` those that a sign can lead back to.

    A sign at step t leads back to the last checkpoint at or before t - window, or before the answers before
    the last; checkpoints are at the multiples of `save_steps`.
    """
    guard = config.guard
    if guard.action != "roll-back":
        return 1
    back = max(guard.window, guard.language_steps)
    return 1 + -(-back // config.save_steps)
