"""May this model be shipped? Retention of what must not be lost, and proof of what was to be gained.

The thresholds are ours. A guard fails when the measured loss is beyond its tolerance; whether its interval
also holds less is said next to it, so that a small sample is not taken for proof.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lingualign.config import RetentionConfig
from lingualign.measures.intervals import Interval

SHIP, DO_NOT_SHIP = "ship", "do not ship"


@dataclass(frozen=True)
class Guard:
    """Something that must not fall below a threshold.

    Attributes:
        name: For people: "English wins against the start".
        value: As measured, with its interval if it has one.
        least: The threshold.
    """

    name: str
    value: Interval | float
    least: float

    @property
    def mean(self) -> float:
        """The measured value."""
        return self.value.mean if isinstance(self.value, Interval) else self.value

    @property
    def passed(self) -> bool:
        """Whether the measured value is not below the threshold."""
        return self.mean >= self.least - 1e-12  # a loss of exactly the tolerance is within it

    @property
    def sure(self) -> bool | None:
        """Whether the interval does not hold the threshold; None without an interval."""
        if not isinstance(self.value, Interval):
            return None
        return self.value.low > self.least or self.value.high < self.least


@dataclass(frozen=True)
class Verdict:
    """What all guards say together.

    Attributes:
        guards: In the order of the tables.
    """

    guards: Sequence[Guard]

    @property
    def ship(self) -> bool:
        """Whether every guard passed."""
        return all(guard.passed for guard in self.guards)

    def sentence(self) -> str:
        """The verdict in words: what failed, or that nothing did."""
        failed = [guard for guard in self.guards if not guard.passed]
        if not failed:
            unsure = [guard.name for guard in self.guards if guard.sure is False]
            doubt = f" Not sure beyond chance: {'; '.join(unsure)}." if unsure else ""
            return f"Verdict: {SHIP}. All {len(self.guards)} guards passed.{doubt}"
        reasons = [f"{guard.name} {guard.mean:.3f}, least {guard.least:.3f}" for guard in failed]
        return f"Verdict: {DO_NOT_SHIP}. {'; '.join(reasons)}."

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "verdict": SHIP if self.ship else DO_NOT_SHIP,
            "sentence": self.sentence(),
            "guards": [
                {**asdict(guard), "passed": guard.passed, "sure": guard.sure} for guard in self.guards
            ],
        }


def run_verdict(
    retention: RetentionConfig, source_language: str, start: Mapping[str, Any], iteration: Mapping[str, Any]
) -> Verdict:
    """The verdict on one iteration, from what `measures.json` says of it and of the start.

    Guarded are, sampled and greedy: wins in the target languages and in the source language, the share of
    answers in the right language where it changed for the worst, and each guarded component of the judge in
    the mean over languages.
    """
    guards: list[Guard] = []
    for decoding in ("sampled", "greedy"):
        before, after = start[decoding]["languages"], iteration[decoding]["languages"]
        target = Interval(**iteration[decoding]["target_win_rate"])
        source = Interval(**after[source_language]["win_rate"])
        guards.append(Guard(f"wins in the targets ({decoding})", target, retention.target_wins))
        guards.append(Guard(f"wins in {source_language} ({decoding})", source, retention.source_wins))
        changes = {
            code: found["right_language"] - before[code]["right_language"]
            for code, found in after.items()
            if found["right_language"] is not None and before[code]["right_language"] is not None
        }
        if changes:
            worst = min(changes, key=lambda code: changes[code])
            guards.append(
                Guard(
                    f"change of answers in the right language, {worst} ({decoding})",
                    changes[worst],
                    -retention.right_language_loss,
                )
            )
        for name in retention.guarded:
            lost = [
                found["traits"][name] - before[code]["traits"][name]
                for code, found in after.items()
                if name in found["traits"] and name in before[code]["traits"]
            ]
            if lost:
                guards.append(
                    Guard(f"change of {name!r} ({decoding})", sum(lost) / len(lost), -retention.guarded_loss)
                )
    return Verdict(guards)
