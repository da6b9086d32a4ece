"""CALM's reward: who wins, who agrees, who explains."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingualign.lab.grammar import render, say
from lingualign.prompts import Prompt
from lingualign.records import Response, Score
from lingualign.rewards import Candidates, Reward
from lingualign.rewards.votes import Settings, VotesReward, make, plural_vote, vote_consistency

Votes = Mapping[str, Sequence[str | None]]

FC1: Votes = {"en": ["A", "A", "B"], "zh": ["B", "B", "C"], "fr": ["B", "A", None]}


def groups(votes: Votes, source: str = "en") -> list[Candidates]:
    """The candidates of each language; a response's text is its answer."""
    parallel = {
        language: [
            Response(
                prompt_id="p1",
                language=language,
                index=i,
                text=answer or "",
                finish_reason="stop",
                num_tokens=1,
            )
            for i, answer in enumerate(answers)
        ]
        for language, answers in votes.items()
    }
    asked = {language: Prompt("p1", language, ({"role": "user", "content": "?"},)) for language in votes}
    return [Candidates(asked[language], asked[source], parallel[language], parallel) for language in votes]


def score(votes: Votes, min_vote_share: float = 0) -> dict[str, list[Score]]:
    reward: Reward = VotesReward(lambda response: response["text"] or None, min_vote_share)
    return dict(zip(votes, reward.score(groups(votes)), strict=True))


def rewards(scores: Mapping[str, Sequence[Score]]) -> dict[str, list[float | None]]:
    return {language: [one["reward"] for one in found] for language, found in scores.items()}


def component(scored: Score, name: str) -> float:
    return next(part["value"] for part in scored["components"] if part["name"] == name)


def explainers(scores: Mapping[str, Sequence[Score]]) -> list[tuple[str, int]]:
    return [
        (one["language"], one["index"])
        for found in scores.values()
        for one in found
        if one["components"] and component(one, "explains") == 1
    ]


def test_fc1_the_vote_of_all_languages() -> None:
    assert plural_vote([answer for answers in FC1.values() for answer in answers]) == ("B", 0.5)
    scores = score(FC1)
    assert rewards(scores) == {"en": [0, 0, 1], "zh": [1, 1, 0], "fr": [1, 0, None]}
    assert {component(one, "vote_share") for found in scores.values() for one in found} == {0.5}
    # Each of the 2 + 1 + 1 who disagree makes a pair; None makes none.
    assert Counter(reward for found in rewards(scores).values() for reward in found)[0] == 4


def test_fc2_the_first_of_equals_wins() -> None:
    assert plural_vote(["C", "A", "C", "A"]) == ("C", 0.5)
    assert plural_vote([None, "A", "C", "C", "A"]) == ("A", 0.5)
    assert plural_vote([None, None]) is None and plural_vote([]) is None


def test_fc3_consistency() -> None:
    assert vote_consistency(["B", "B", "A"]) == pytest.approx(1 / 3)
    assert vote_consistency(["A", "A", "B", "A", "C", "A"]) == pytest.approx(0.4)
    assert vote_consistency(["A"]) == vote_consistency(["A", None]) == vote_consistency([]) == 0


def test_fc4_a_winner_with_too_small_a_share_is_none() -> None:
    scores = score(FC1, min_vote_share=0.6)
    assert {reward for found in rewards(scores).values() for reward in found} == {None}
    assert explainers(scores) == []
    assert score(FC1, min_vote_share=0.5) == score(FC1)


def test_the_source_language_votes_last() -> None:
    tie: Votes = {"en": ["A"], "zh": ["B"], "fr": ["C"]}
    assert rewards(score(tie)) == {"en": [0], "zh": [1], "fr": [0]}


def test_one_response_explains_and_of_the_source_language_where_it_can_be() -> None:
    assert explainers(score(FC1)) == [("en", 2)]
    assert explainers(score({"en": ["A", "A", "C"], "zh": ["B", "B", "B"], "fr": ["B", "A", None]})) == [
        ("fr", 0)
    ]


def test_nobody_votes() -> None:
    assert rewards(score({"en": [None], "zh": [None, None]})) == {"en": [None], "zh": [None, None]}


answers = st.lists(st.sampled_from(["A", "B", "C", None]), min_size=1, max_size=4)


@given(st.dictionaries(st.sampled_from(["de", "zh", "fr"]), answers), answers)
def test_a_winner_has_most_votes_and_one_voice(votes: dict[str, list[str | None]], source: Any) -> None:
    votes["en"] = source
    scores = score(votes)
    counts = Counter(answer for found in votes.values() for answer in found if answer is not None)
    agreed = [reward for found in rewards(scores).values() for reward in found if reward is not None]
    assert len(agreed) == counts.total()
    if counts:
        assert sum(agreed) == max(counts.values())
        [(language, index)] = explainers(scores)
        assert scores[language][index]["reward"] == 1
        assert language == "en" or 1 not in rewards(scores)["en"]


@given(st.lists(st.sampled_from(["A", "B", None]), max_size=6))
def test_consistency_counts_pairs(said: list[str | None]) -> None:
    valid = [answer for answer in said if answer]
    same = [a == b for a, b in combinations(valid, 2)]
    assert vote_consistency(said) == pytest.approx(sum(same) / len(same) if same else 0)


def test_the_order_of_responses_and_the_batch_do_not_matter() -> None:
    reward = VotesReward(lambda response: response["text"] or None)
    first = groups(FC1)[1]
    mixed = {language: found[::-1] for language, found in first.parallel.items()}
    turned = Candidates(first.prompt, first.source_prompt, mixed["zh"], mixed)
    assert reward.score([turned, first]) == [reward.score([first])[0][::-1], reward.score([first])[0]]


def test_the_lab_votes() -> None:
    prompt_id, languages = "sum.anna.apple.3.5.none", ("en", "sw", "zh")
    said = {"en": 9, "sw": 8, "zh": 8}
    votes = {
        language: [render([say("sum.answer", name="anna", item="apple", c=said[language])], language)]
        for language in languages
    }
    found = groups(votes)
    for candidates in found:
        candidates.responses[0]["prompt_id"] = prompt_id
    scores = make(Settings(answers="lab"), SimpleNamespace()).score(found)  # type: ignore[arg-type]
    assert [one["reward"] for [one] in scores] == [0, 1, 1]
