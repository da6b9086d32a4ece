from __future__ import annotations

from typing import Any

import pytest

from lingualign.config import RetentionConfig
from lingualign.measures.intervals import Interval
from lingualign.measures.verdict import Guard, Verdict, run_verdict


def decoded(wins: float, right: float, facts: float, english: float = 0.5) -> dict[str, Any]:
    def language(win: float) -> dict[str, Any]:
        interval = {"mean": win, "low": win - 0.05, "high": win + 0.05, "n": 100}
        return {"win_rate": interval, "right_language": right, "traits": {"right": facts}}

    languages = {"en": language(english), "sw": language(wins)}
    both = {"languages": languages, "target_win_rate": languages["sw"]["win_rate"]}
    return {"sampled": both, "greedy": both}


START = decoded(0.5, 0.99, 0.95)


def verdict(after: dict[str, Any]) -> Verdict:
    return run_verdict(RetentionConfig(), "en", START, after)


def test_a_gain_that_costs_nothing_is_shipped() -> None:
    found = verdict(decoded(0.6, 0.99, 0.95))
    assert found.ship
    assert found.sentence().startswith("Verdict: ship. All 8 guards passed.")


@pytest.mark.parametrize(
    ("after", "reason"),
    [
        (decoded(0.4, 0.99, 0.95), "wins in the targets"),
        (decoded(0.6, 0.99, 0.95, english=0.4), "wins in en"),
        (decoded(0.6, 0.9, 0.95), "right language"),
        (decoded(0.6, 0.99, 0.9), "'right'"),
    ],
)
def test_whatever_is_lost_turns_the_verdict_and_is_named(after: dict[str, Any], reason: str) -> None:
    found = verdict(after)
    assert not found.ship
    assert "do not ship" in found.sentence()
    failed = [guard.name for guard in found.guards if not guard.passed]
    assert len(failed) == 2  # sampled and greedy
    assert all(reason in name for name in failed)


def test_a_loss_of_exactly_the_tolerance_is_within_it() -> None:
    assert verdict(decoded(0.6, 0.99, 0.95 - 0.02)).ship


def test_a_threshold_within_the_interval_is_not_sure() -> None:
    assert Guard("x", Interval(0.52, 0.48, 0.56, 100), 0.5).sure is False
    assert Guard("x", Interval(0.6, 0.55, 0.65, 100), 0.5).sure is True
    assert Guard("x", Interval(0.4, 0.35, 0.45, 100), 0.5).sure is True
    assert Guard("x", Interval(0.5, 0.5, 0.5, 100), 0.5).sure is False
    assert Guard("x", 0.6, 0.5).sure is None
    assert "Not sure beyond chance: wins in en" in verdict(decoded(0.6, 0.99, 0.95)).sentence()


def test_a_judge_without_components_and_undecided_languages_have_no_guard() -> None:
    after = decoded(0.6, 0.99, 0.95)
    for found in after["sampled"]["languages"].values():
        found |= {"right_language": None, "traits": {}}
    assert len(run_verdict(RetentionConfig(), "en", START, after).guards) == 4
