"""Reward health: each number on rewards where it is known, each warning where it is due and only there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from lingualign.config import RewardConfig
from lingualign.records import Pair, Response, Score
from lingualign.rewards import CHECK_CONTEXT, Candidates, labelled_accuracy, reward_health, score_of


def responses(prompts: int, candidates: int, language: str = "de", alike: int = 0) -> list[Response]:
    """Texts of different lengths; the candidates of the first `alike` prompts all say the same."""
    return [
        Response(
            prompt_id=f"p{prompt}",
            language=language,
            index=index,
            text="same" if prompt < alike else "x" * (10 + index),
            finish_reason="stop",
            num_tokens=20 - index,
        )
        for prompt in range(prompts)
        for index in range(candidates)
    ]


def scores(of: Sequence[Response], rewards: Any) -> list[Score]:
    return [score_of(response, reward) for response, reward in zip(of, rewards, strict=True)]


def draws(seed: int, shape: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def test_two_noisy_readings_of_one_signal() -> None:
    """Signal of deviation 2, noise 1: each reading has deviation sqrt(5), they correlate by 4/5, and two
    normal variables that correlate by r have the same sign in 1/2 + asin(r) / pi of the cases."""
    shape = (600, 6)
    rows = responses(*shape)
    common = 30 * draws(3, (600, 1))  # between prompts: must not matter
    signal = 2 * draws(0, shape) + common
    health = reward_health(
        rows, scores(rows, (signal + draws(1, shape)).flat), scores(rows, (signal + draws(2, shape)).flat)
    )["de"]
    assert (health.prompts, health.checked) == (600, 600)
    assert health.spread == pytest.approx(5**0.5, rel=0.05)
    assert health.noise == pytest.approx(1, rel=0.05)
    assert health.agreement == pytest.approx(0.5 + np.arcsin(0.8) / np.pi, abs=0.02)
    assert health.length_correlation == pytest.approx(0, abs=0.05)
    assert health.alike == 0
    assert health.warnings == []


def test_pure_noise_is_warned_of() -> None:
    shape = (300, 4)
    rows = responses(*shape)
    health = reward_health(rows, scores(rows, draws(0, shape).flat), scores(rows, draws(1, shape).flat))["de"]
    assert health.agreement == pytest.approx(0.5, abs=0.03)
    assert health.spread == pytest.approx(health.noise, rel=0.1)
    assert len(health.warnings) == 2
    assert "agrees with itself" in health.warnings[0]
    assert "more than noise" in health.warnings[1]


def test_worked_numbers() -> None:
    """Rewards [0, 1, 5], and [0, 2, 1] under the other context: 0 < 1 and 0 < 2 are ordered alike, 1 and 2
    are not. Centred: [-2, -1, 3], spread sqrt(14 / 2); differences [0, -1, 4] - 1, noise sqrt(14 / 2 / 2).
    Lengths 10, 11, 12: correlation (2 + 3) / sqrt(14 * 2)."""
    rows = responses(1, 3)
    health = reward_health(rows, scores(rows, [0, 1, 5]), scores(rows, [0, 2, 1]))["de"]
    assert health.agreement == pytest.approx(2 / 3)
    assert health.spread == pytest.approx(7**0.5)
    assert health.noise == pytest.approx(3.5**0.5)
    assert health.length_correlation == pytest.approx(5 / 28**0.5)


@pytest.mark.parametrize(("sign", "word"), [(1, "longer"), (-1, "shorter")])
def test_a_reward_of_length_is_warned_of(sign: int, word: str) -> None:
    rows = responses(20, 4)
    rewards = [sign * len(row["text"]) + 1000 * hash_of(row) for row in rows]
    health = reward_health(rows, scores(rows, rewards))["de"]
    assert health.length_correlation == pytest.approx(sign)
    assert [word in warning for warning in health.warnings] == [True]
    by_tokens = reward_health(rows, scores(rows, rewards), unit="tokens")["de"]
    assert by_tokens.length_correlation == pytest.approx(-sign)  # here, longer texts have fewer tokens


def hash_of(row: Response) -> int:
    return int(row["prompt_id"][1:]) % 5


@pytest.mark.parametrize(("alike", "warned"), [(5, False), (6, True)])
def test_prompts_whose_candidates_are_all_alike(alike: int, warned: bool) -> None:
    rows = responses(10, 3, alike=alike)
    health = reward_health(rows, scores(rows, draws(0, (10, 3)).flat))["de"]
    assert health.alike == alike / 10
    assert any("candidates are the same" in warning for warning in health.warnings) is warned


def test_rows_are_joined_and_languages_kept_apart() -> None:
    german, swahili = responses(30, 3), responses(30, 3, language="sw")
    first = scores(german, draws(0, (30, 3)).flat) + scores(swahili, draws(1, (30, 3)).flat)
    second = scores(german, draws(0, (30, 3)).flat)  # the same again, and nothing for Swahili
    health = reward_health(german + swahili, first[::-1], second[10:40][::-1])
    assert list(health) == ["de", "sw"]
    assert health["de"].agreement == 1
    assert health["de"].noise == 0
    assert (
        health["de"].checked == 10
    )  # rows 10 and 11 of prompt 3 to row 39 of prompt 13, of which one is alone
    assert (health["sw"].agreement, health["sw"].noise, health["sw"].checked) == (None, None, 0)
    assert health["sw"].warnings == []


def test_nothing_to_examine() -> None:
    rows = responses(3, 1)
    health = reward_health(rows, scores(rows, [1, 2, 3]))["de"]
    assert (health.prompts, health.alike, health.spread, health.length_correlation) == (0, None, None, None)
    assert health.warnings == []
    assert reward_health([], []) == {}


class PrefersShort:
    """Rewards minus the length; sees the prompt, the texts and whether they were finished."""

    name = "short"

    def score(self, batch: Sequence[Candidates]) -> list[list[Score]]:
        for candidates in batch:
            assert candidates.prompt.messages == ({"role": "user", "content": "Question?"},)
            assert candidates.prompt is candidates.source_prompt
            assert [r["finish_reason"] for r in candidates.responses] == ["stop", "length"]
        return [[score_of(r, -len(r["text"])) for r in candidates.responses] for candidates in batch]


def labelled(chosen: str, rejected: str) -> Pair:
    return Pair(
        id="a/b/en",
        prompt_id="a/b",
        language="en",
        prompt=[{"role": "user", "content": "Question?"}],
        chosen=[{"role": "assistant", "content": chosen}],
        rejected=[{"role": "assistant", "content": rejected}],
        chosen_score=1.0,
        rejected_score=0.0,
        chosen_index=3,
        rejected_index=5,
        chosen_finished=True,
        rejected_finished=False,
    )


def test_accuracy_on_labelled_pairs() -> None:
    pairs = [labelled("ab", "abc"), labelled("abc", "ab"), labelled("", "a"), labelled("tie", "tie")]
    assert labelled_accuracy(PrefersShort(), pairs) == 0.5


@pytest.mark.parametrize(("accuracy", "warned"), [(0.64, True), (0.65, False)])
def test_a_reward_that_fails_its_own_preferences_is_warned_of(accuracy: float, warned: bool) -> None:
    rows = responses(30, 3, language="en") + responses(30, 3)
    rewards = scores(rows, draws(0, (60, 3)).flat)
    health = reward_health(rows, rewards, accuracy={"en": (accuracy, 200)})
    assert (health["en"].accuracy, health["en"].labelled) == (accuracy, 200)
    assert any("200 labelled pairs" in warning for warning in health["en"].warnings) is warned
    assert (health["de"].accuracy, health["de"].labelled, health["de"].warnings) == (None, 0, [])


def test_every_context_has_another_to_check_it() -> None:
    contexts = RewardConfig.model_fields["context"].annotation
    assert set(CHECK_CONTEXT) == set(contexts.__args__)  # type: ignore[union-attr]
    assert all(context != other for context, other in CHECK_CONTEXT.items())
