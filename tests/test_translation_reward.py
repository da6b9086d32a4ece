"""MAPO's reward: how references are picked and put together, and that padding and batches count nowhere."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from conftest import FamilyFolder
from lingualign.config import RunConfig
from lingualign.errors import InputError
from lingualign.models import load_model, load_tokenizer
from lingualign.prompts import ChatFormat, Prompt
from lingualign.records import Response
from lingualign.rewards import Candidates
from lingualign.rewards.translation import (
    Settings,
    TranslationReward,
    check,
    combine_entropies,
    pick_references,
)
from lingualign.settings import load_config
from lingualign.translation.policy import PolicyTranslator


def response(text: str, language: str = "de", index: int = 0, finish: str = "stop") -> Response:
    return Response(
        prompt_id="a",
        language=language,
        index=index,
        text=text,
        finish_reason="stop" if finish == "stop" else "length",
        num_tokens=1,
    )


def candidates(texts: Sequence[str], references: Sequence[str], language: str = "de") -> Candidates:
    def prompt(code: str) -> Prompt:
        return Prompt("a", code, ({"role": "user", "content": f"{code}?"},))

    responses = [response(text, language, index) for index, text in enumerate(texts)]
    english = [response(text, "en", index) for index, text in enumerate(references)]
    return Candidates(prompt(language), prompt("en"), responses, {"en": english, language: responses})


class OneNatAToken:
    """Finds every token worth one nat; a token is a word."""

    asked: list[tuple[str, str]]

    def __init__(self) -> None:
        self.asked = []

    def likelihoods(
        self, pairs: Sequence[tuple[str, str]], source: str, target: str
    ) -> list[tuple[float, int]]:
        assert (source, target) == ("de", "en")
        self.asked += pairs
        return [(-float(len(reference.split())), len(reference.split())) for _, reference in pairs]


@pytest.mark.parametrize(("how", "reward"), [("mean", 0.583333), ("max", 1.0), ("inverse-of-mean", 0.428571)])
def test_entropies_are_put_together_as_the_settings_say(how: str, reward: float) -> None:
    """FD1."""
    assert combine_entropies([1.0, 2.0, 4.0], how) == pytest.approx(reward, abs=1e-6)  # type: ignore[arg-type]


def test_short_references_score_no_better_than_long_ones() -> None:
    """FD2: two references of 2 and 4 tokens, one nat each; padded to 4, the first would be worth 2."""
    (scores,) = TranslationReward(OneNatAToken(), Settings()).score(
        [candidates(["gut"], ["one two", "one two three four"])]
    )
    assert scores[0]["reward"] == 1.0
    for text in ("one two", "one two three four"):
        ((score,),) = TranslationReward(OneNatAToken(), Settings()).score([candidates(["gut"], [text])])
        assert score["reward"] == 1.0


def test_source_language_and_prompts_without_references_have_no_reward() -> None:
    translator = OneNatAToken()
    batch = [
        candidates(["good"], ["good"], "en"),
        candidates(["gut", "ja"], []),
        candidates(["gut"], ["good"]),
    ]
    scores = TranslationReward(translator, Settings()).score(batch)
    assert [[score["reward"] for score in row] for row in scores] == [[None], [None, None], [1.0]]
    assert translator.asked == [("gut", "good")]


def test_references_are_the_different_finished_ones_without_repetition() -> None:
    rows = [
        response("a\na"),
        response("b"),
        response("b", index=1),
        response("c", finish="length"),
        response(" "),
        response("d"),
    ]
    assert pick_references(rows, None, True) == ["b", "d"]
    assert pick_references(rows, 1, True) == ["b"]
    assert pick_references(rows, None, False) == ["a\na", "b", "d"]
    assert pick_references(rows[:1], None, True) == ["a\na"]  # nothing else is there


def test_a_score_does_not_depend_on_its_batch(family_folder: FamilyFolder) -> None:
    folder = family_folder("qwen3")
    translator = PolicyTranslator(load_model(folder, device="cpu"), ChatFormat(load_tokenizer(folder)))
    reward = TranslationReward(translator, Settings())
    batch = [
        candidates(
            ["Der Rhein.", "Nein, wirklich nicht, gar nicht."], ["The Rhine.", "A long answer, this one."]
        ),
        candidates(["Ja."], ["Yes."]),
    ]
    together = reward.score(batch)
    for one, scores in zip(batch, together, strict=True):
        (alone,) = reward.score([one])
        assert [score["reward"] for score in alone] == pytest.approx(
            [score["reward"] for score in scores], rel=1e-5
        )


def test_a_translator_that_cannot_say_is_refused() -> None:
    config: RunConfig = load_config("mapo", ["translation.kind=lab"])
    with pytest.raises(InputError, match="cannot say"):
        check(Settings(), config)
    check(Settings(), load_config("mapo", []))
