"""Pairs that no best and worst make: all ordered, random, by disagreement, imbalance, swap, translation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingualign.config import LengthControlConfig, PairsConfig
from lingualign.errors import InputError
from lingualign.pairs import (
    PairingResult,
    Sources,
    all_pairs,
    disagreement,
    imbalance,
    random_pair,
    ranked,
    swap,
)
from lingualign.pairs import translated as translating
from lingualign.pairs.random_pair import ordered_pairs
from lingualign.prompts import ParallelPrompts, Prompt
from lingualign.records import Pair, Response, Score
from lingualign.rewards.base import score_of

PLAIN = PairsConfig(length_control=LengthControlConfig(method="none"), wrong_language="keep")


class Tagged:
    """Reads the language off a text that begins with it."""

    def identify(self, text: str) -> str | None:
        return text.partition(": ")[0] if ": " in text else None


def prompts(ids: Sequence[str], languages: Sequence[str]) -> ParallelPrompts:
    return ParallelPrompts(
        list(ids),
        {
            code: [Prompt(i, code, ({"role": "user", "content": f"{code}: question {i}"},)) for i in ids]
            for code in languages
        },
    )


def response(
    text: str, language: str, index: int = 0, prompt_id: str = "a", finish: str = "stop"
) -> Response:
    return Response(
        prompt_id=prompt_id,
        language=language,
        index=index,
        text=text,
        finish_reason="stop" if finish == "stop" else "length",
        num_tokens=1,
    )


def translate(texts: Sequence[str], source: str, target: str) -> list[str | None]:
    """Changes the tag; a text with `?` fails."""
    return [None if "?" in text else text.replace(f"{source}: ", f"{target}: ") for text in texts]


def sides(result: PairingResult) -> list[tuple[str, str, str]]:
    return [
        (pair["language"], pair["chosen"][0]["content"], pair["rejected"][0]["content"])
        for pair in result.pairs
    ]


def labelled(prompt_id: str, chosen: str, rejected: str) -> Pair:
    return Pair(
        id=f"{prompt_id}/en",
        prompt_id=prompt_id,
        language="en",
        prompt=[{"role": "user", "content": f"en: question {prompt_id}"}],
        chosen=[{"role": "assistant", "content": chosen}],
        rejected=[{"role": "assistant", "content": rejected}],
        chosen_score=1.0,
        rejected_score=0.0,
        chosen_index=0,
        rejected_index=1,
        chosen_finished=True,
        rejected_finished=True,
    )


# All ordered pairs, and one of them


def scored(rewards: Sequence[float], texts: Sequence[str] | None = None) -> Sources:
    said = texts or [f"answer {i}" for i in range(len(rewards))]
    rows = [response(text, "de", index) for index, text in enumerate(said)]
    scores = [score_of(row, reward) for row, reward in zip(rows, rewards, strict=True)]
    return Sources(prompts(["a"], ["en", "de"]), "en", PLAIN, Tagged(), responses=rows, scores=scores)


def indices(result: PairingResult) -> list[tuple[int, int]]:
    return [(pair["chosen_index"], pair["rejected_index"]) for pair in result.pairs]


def test_mapo_chooses_only_right_answers(tmp_path: Path) -> None:
    """FD3: the second candidate is wrong and cannot be chosen; the last has nobody below it."""
    gold = tmp_path / "gold.jsonl"
    gold.write_text('{"id": "a", "answer": "1,234"}\n', encoding="utf-8")
    pair = ranked.make(ranked.Settings(gold_path=str(gold)))
    result = all_pairs(pair, scored([0.9, 0.7, 0.5], ["it is 1234", "it is 7", "so 1,234."]))
    assert indices(result) == [(0, 1), (0, 2)]
    assert len({row["id"] for row in result.pairs}) == 2


@pytest.mark.parametrize(
    ("kind", "written", "said", "other"),
    [
        ("boxed", '"1,000"', r"\boxed{1,000}", r"\boxed{4}"),
        ("boxed", "7.0", r"\boxed{7}", r"\boxed{}"),
        ("choice", '"b"', "Antwort: B", "Antwort: A"),
    ],
)
def test_right_answers_are_spelled_as_those_of_responses(
    kind: Any, written: str, said: str, other: str, tmp_path: Path
) -> None:
    gold = tmp_path / "gold.jsonl"
    gold.write_text(f'{{"id": "a", "answer": {written}}}\n', encoding="utf-8")
    pair = ranked.make(ranked.Settings(gold_path=str(gold), answers=kind))
    assert indices(all_pairs(pair, scored([0.9, 0.5], [said, other]))) == [(0, 1)]
    assert all_pairs(pair, scored([0.9, 0.5], [other, said])).report["de"].dropped == {"no choice": 1}


def test_without_gold_all_ordered_pairs_but_ties() -> None:
    pair = ranked.make(ranked.Settings())
    assert indices(all_pairs(pair, scored([0.5, 0.9, 0.5]))) == [(1, 0), (1, 2)]
    assert len(all_pairs(ranked.make(ranked.Settings(max_pairs=2)), scored([4, 3, 2, 1])).pairs) == 2


def test_a_row_of_gold_without_an_answer_is_named(tmp_path: Path) -> None:
    gold = tmp_path / "gold.jsonl"
    gold.write_text('{"id": "a"}\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"gold.jsonl, line 1"):
        ranked.read_gold(str(gold), "number")


@given(st.lists(st.integers(0, 3).map(float), min_size=1, max_size=6), st.floats(0, 3))
def test_ordered_pairs_are_ordered_and_complete(rewards: list[float], bound: float) -> None:
    pairs = ordered_pairs(rewards, bound)
    assert all(rewards[a] >= rewards[b] and rewards[a] <= bound for a, b in pairs)
    decided = {(a, b) for a in range(len(rewards)) for b in range(len(rewards)) if rewards[a] > rewards[b]}
    assert {(a, b) for a, b in pairs if rewards[a] > rewards[b]} == {
        c for c in decided if rewards[c[0]] <= bound
    }


def test_a_random_pair_is_one_of_them_and_belongs_to_seed_and_prompt() -> None:
    pair = random_pair.make(random_pair.Settings())
    sources = scored([3.0, 1.0, 2.0, 1.0])
    (choice,) = indices(all_pairs(pair, sources))
    assert choice in {(0, 2), (0, 1), (0, 3), (2, 1), (2, 3)}
    assert indices(all_pairs(pair, sources)) == [choice]
    ids = [f"p{i}" for i in range(40)]
    rows = [response(f"answer {k}", "de", k, i) for i in ids for k in range(4)]
    many = Sources(
        prompts(ids, ["de"]),
        "en",
        PLAIN,
        Tagged(),
        responses=rows,
        scores=[score_of(row, float(row["index"])) for row in rows],
    )
    assert len(set(indices(all_pairs(pair, many)))) > 3
    assert all_pairs(pair, scored([1.0, 1.0])).report["de"].dropped == {"tie": 1}


# CALM


def votes(
    texts: dict[str, list[str | None]], winner: str, speaker: tuple[str, int]
) -> tuple[list[Response], list[Score]]:
    rows, scores = [], []
    for language, answers in texts.items():
        for index, answer in enumerate(answers):
            row = response(f"{language}: {answer} {index}", language, index)
            rows.append(row)
            reward = None if answer is None else float(answer == winner)
            scores.append(score_of(row, reward, explains=float((language, index) == speaker)))
    return rows, scores


def test_calm_pairs_every_disagreement_with_the_translated_explanation() -> None:
    """FC1: B wins; pairs en 2, zh 1, fr 1, as no answer is no vote."""
    rows, scores = votes(
        {"en": ["A", "A", "B"], "zh": ["B", "B", "C"], "fr": ["B", "A", None]}, "B", ("en", 2)
    )
    result = all_pairs(
        disagreement.make(disagreement.Settings()),
        Sources(
            prompts(["a"], ["en", "zh", "fr"]),
            "en",
            PLAIN,
            Tagged(),
            responses=rows,
            scores=scores,
            translate=translate,
        ),
    )
    assert sides(result) == [
        ("en", "en: B 2", "en: A 0"),
        ("en", "en: B 2", "en: A 1"),
        ("zh", "zh: B 2", "zh: C 2"),
        ("fr", "fr: B 2", "fr: A 1"),
    ]
    assert len({pair["id"] for pair in result.pairs}) == 4
    assert all(pair["chosen_finished"] for pair in result.pairs)


def test_calm_trains_no_end_behind_an_explanation_that_was_cut() -> None:
    rows, scores = votes({"en": ["B", "A"]}, "B", ("en", 0))
    rows[0]["finish_reason"] = "length"
    sources = Sources(
        prompts(["a"], ["en"]), "en", PLAIN, Tagged(), responses=rows, scores=scores, translate=translate
    )
    [pair] = all_pairs(disagreement.make(disagreement.Settings()), sources).pairs
    assert (pair["chosen_finished"], pair["rejected_finished"]) == (False, True)


def test_calm_needs_the_scores_of_votes() -> None:
    rows = [response("en: A", "en")]
    with pytest.raises(InputError, match="do not say who explains"):
        all_pairs(
            disagreement.make(disagreement.Settings()),
            Sources(
                prompts(["a"], ["en"]),
                "en",
                PLAIN,
                Tagged(),
                responses=rows,
                scores=[score_of(rows[0], 0.0)],
                translate=translate,
            ),
        )


# LIDR


def test_lidr_prefers_english_on_both_sides() -> None:
    rows = [response("en: good", "en"), response("de: meh", "de"), response("es: no?", "es")]
    result = all_pairs(
        imbalance.make(imbalance.Settings()),
        Sources(
            prompts(["a"], ["en", "de", "es"]), "en", PLAIN, Tagged(), responses=rows, translate=translate
        ),
    )
    assert sides(result) == [
        ("en", "en: good", "en: meh"),
        ("de", "de: good", "de: meh"),
        ("es", "es: good", "es: no?"),
    ]
    assert result.report["en"].dropped == {"untranslated": 1}  # the Spanish answer, on its way to English


def test_lidr_on_targets_alone_and_without_cut_answers() -> None:
    rows = [
        response("en: cut", "en", 0, finish="length"),
        response("en: good", "en", 1),
        response("de: meh", "de"),
    ]
    config = PLAIN.model_copy(update={"languages": "targets"})
    result = all_pairs(
        imbalance.make(imbalance.Settings()),
        Sources(prompts(["a"], ["en", "de"]), "en", config, Tagged(), responses=rows, translate=translate),
    )
    assert sides(result) == [("de", "de: good", "de: meh")]


# CLO and translated data


def sources_of(pairs: list[Pair], languages: Sequence[str]) -> Sources:
    ids = [pair["prompt_id"] for pair in pairs]
    return Sources(prompts(ids, languages), "en", PLAIN, Tagged(), labelled=pairs, translate=translate)


@given(st.integers(1, 5), st.integers(1, 3))
def test_clo_makes_two_rows_a_seed_and_language_with_the_same_strings(seeds: int, targets: int) -> None:
    languages = ["en", "de", "es", "sw"][: targets + 1]
    pairs = [labelled(f"p{i}", f"en: answer {i}", "en: bad") for i in range(seeds)]
    result = all_pairs(swap.make(swap.Settings()), sources_of(pairs, languages))
    assert len(result.pairs) == 2 * seeds * targets
    assert len({pair["id"] for pair in result.pairs}) == len(result.pairs)
    texts = [{pair["chosen"][0]["content"], pair["rejected"][0]["content"]} for pair in result.pairs]
    assert all(texts.count(both) == 2 for both in texts)
    for pair in result.pairs:
        assert pair["prompt"][0]["content"].startswith(f"{pair['language']}: ")
        assert pair["chosen"][0]["content"].startswith(f"{pair['language']}: ")
    assert all(report.other_language == report.pairs for report in result.report.values())


def test_what_cannot_be_translated_is_counted() -> None:
    result = all_pairs(
        swap.make(swap.Settings()), sources_of([labelled("a", "en: hm?", "en: bad")], ["en", "de"])
    )
    assert not result.pairs
    assert [report.dropped for report in result.report.values()] == [{"untranslated": 1}] * 2


def test_translated_pairs_keep_both_sides_or_the_chosen_one() -> None:
    sources = sources_of([labelled("a", "en: good", "en: bad")], ["en", "de"])
    both = all_pairs(translating.make(translating.Settings()), sources)
    assert sides(both) == [("en", "en: good", "en: bad"), ("de", "de: good", "de: bad")]
    chosen = all_pairs(translating.make(translating.Settings(sides="chosen")), sources)
    assert sides(chosen) == [("en", "en: good", ""), ("de", "de: good", "")]
    assert both.report["de"].other_language == 0
