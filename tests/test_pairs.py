"""From scored candidates to pairs: joins, filters and their counts."""

from __future__ import annotations

import random
from typing import Any

import pytest

from lingualign.config import LengthControlConfig, PairsConfig
from lingualign.errors import InputError
from lingualign.languages import LanguageIdentifier
from lingualign.pairs import PairingResult, build_pairs
from lingualign.prompts import ParallelPrompts, Prompt
from lingualign.records import PAIRS, Pair, Response, Score, read_table, write_table

NO_CONTROL = LengthControlConfig(method="none")


class Tagged:
    """Reads the language off a tag: "de: ..." is German, no tag undecided."""

    def identify(self, text: str) -> str | None:
        tag, colon, _ = text.partition(": ")
        return tag if colon else None


def response(text: str, index: int, prompt_id: str = "a", language: str = "de", **more: Any) -> Response:
    filled = {"finish_reason": "stop", "num_tokens": len(text.split()), **more}
    return Response(prompt_id=prompt_id, language=language, index=index, text=text, **filled)


def score(of: Response, reward: float) -> Score:
    return Score(
        prompt_id=of["prompt_id"], language=of["language"], index=of["index"], reward=reward, components=[]
    )


def prompts(ids: list[str], languages: list[str]) -> ParallelPrompts:
    return ParallelPrompts(
        ids,
        {
            language: [
                Prompt(i, language, ({"role": "user", "content": f"{language}: question {i}"},)) for i in ids
            ]
            for language in languages
        },
    )


def pair_up(
    scored: list[tuple[Response, float]], config: PairsConfig | None = None, identifier: Any = None
) -> PairingResult:
    """Pairs of the prompts that are answered."""
    ids = list(dict.fromkeys(answer["prompt_id"] for answer, _ in scored))
    languages = list(dict.fromkeys(answer["language"] for answer, _ in scored))
    return build_pairs(
        prompts(ids, languages),
        [answer for answer, _ in scored],
        [score(answer, reward) for answer, reward in scored],
        config or PairsConfig(length_control=NO_CONTROL),
        identifier or Tagged(),
    )


def indices(pairs: list[Pair]) -> list[tuple[str, int, int]]:
    return [(pair["id"], pair["chosen_index"], pair["rejected_index"]) for pair in pairs]


def candidates(
    rewards: list[float], prompt_id: str = "a", language: str = "de"
) -> list[tuple[Response, float]]:
    return [
        (response(f"{language}: answer {index}", index, prompt_id, language), reward)
        for index, reward in enumerate(rewards)
    ]


def test_a_pair_is_a_row_that_trainers_read(tmp_path: Any) -> None:
    scored = [
        (response("de: gut", 0), 3.5),
        (response("de: abgeschnitten", 1, finish_reason="length"), -2.0),
        (response("de: mittel", 2), 1.0),
    ]
    result = pair_up(scored, PairsConfig(length_control=NO_CONTROL, drop_truncated=False))
    assert result.pairs == [
        {
            "id": "a/de",
            "prompt_id": "a",
            "language": "de",
            "prompt": [{"role": "user", "content": "de: question a"}],
            "chosen": [{"role": "assistant", "content": "de: gut"}],
            "rejected": [{"role": "assistant", "content": "de: abgeschnitten"}],
            "chosen_score": 3.5,
            "rejected_score": -2.0,
            "chosen_index": 0,
            "rejected_index": 1,
            "chosen_finished": True,
            "rejected_finished": False,
        }
    ]
    write_table(tmp_path / "pairs.parquet", result.pairs, PAIRS)
    assert read_table(tmp_path / "pairs.parquet", PAIRS) == result.pairs


def test_joined_by_id_whatever_the_order_of_rows() -> None:
    """With ties and duplicates, where the order of candidates decides: it is that of their indices."""
    draw = random.Random(5)
    scored = [
        (response(f"{language}: answer {index % 4}", index, prompt_id, language), float(draw.randrange(3)))
        for language in ("de", "sw")
        for prompt_id in "abcdef"
        for index in range(6)
    ]
    asked = prompts(list("abcdef"), ["de", "sw"])
    answers, scores = [answer for answer, _ in scored], [score(*item) for item in scored]
    expected = build_pairs(asked, answers, scores, PairsConfig(), Tagged())
    assert len(expected.pairs) > 6
    for _ in range(5):
        draw.shuffle(answers)
        draw.shuffle(scores)
        assert build_pairs(asked, answers, scores, PairsConfig(), Tagged()) == expected


def test_indices_are_those_of_the_candidates_and_may_have_gaps() -> None:
    scored = [(response(f"de: {index}", index), reward) for index, reward in [(9, 5.0), (4, 1.0), (7, 2.0)]]
    assert indices(pair_up(scored).pairs) == [("a/de", 9, 4)]


def test_languages_are_controlled_apart() -> None:
    """In German the better answers are longer, at three prices a character; in Swahili all are as long."""

    def scored(language: str, extra: int) -> list[tuple[Response, float]]:
        return [
            (
                response(f"{language}: {index}" + "x" * extra * index, index, prompt_id, language),
                slope * index,
            )
            for prompt_id, slope in [("a", 2.0), ("b", 1.0), ("c", 4.0)]
            for index in range(3)
        ]

    report = pair_up(scored("de", 10) + scored("sw", 0), PairsConfig()).report
    german, swahili = report["de"].length_control, report["sw"].length_control
    assert (german.gap_before, german.gap_after) == (20, pytest.approx(20 / 3))
    assert german.alpha == pytest.approx(0.15)  # between the prices .1 and .2
    assert (swahili.gap_before, swahili.gap_after, swahili.alpha) == (0, 0, 0)


@pytest.mark.parametrize(("unit", "before"), [("chars", -9), ("tokens", -5), ("bytes", 13)])
def test_length_is_counted_in_the_unit(unit: str, before: int) -> None:
    """11 characters of 3 bytes in 4 tokens, against 20 characters in 9."""
    better, worse = response("答案是四十二因为六乘七", 0, num_tokens=4), response("x" * 20, 1, num_tokens=9)
    config = PairsConfig.model_validate({"length_control": {"unit": unit}})
    report = pair_up([(better, 1.0), (worse, 0.0)], config).report["de"]
    assert report.unit == unit
    assert report.length_control.gap_before == before


def test_each_filter_counts_what_it_removed() -> None:
    scored = [
        (response("de: gut", 0), 9.0),
        (response("de: gut", 1), 1.0),  # said before
        (response("en: good", 2), 8.0),  # another language
        (response("de: lang und", 3, finish_reason="length"), 10.0),  # cut
        (response("42", 4), 2.0),  # undecided: stays
        (response("de: schlecht", 5), 3.0),
    ]
    result = pair_up(scored)
    assert indices(result.pairs) == [("a/de", 0, 4)]
    report = result.report["de"]
    assert report.removed == {"no reward": 0, "truncated": 1, "duplicate": 1, "language": 1}
    assert (report.prompts, report.candidates, report.pairs, report.dropped) == (1, 6, 1, {})


def test_another_language_can_be_rejected_whatever_its_reward() -> None:
    config = PairsConfig(length_control=NO_CONTROL, wrong_language="reject", min_margin=1.0)
    scored = [
        (response("de: gut", 0), 3.0),
        (response("en: better", 1), 9.0),
        (response("en: good", 2), 8.0),
        (response("de: schlecht", 3), 1.0),
        *candidates([2.0, 5.0, 1.0], prompt_id="b"),  # all in German: as ever
        (response("de: allein", 0, prompt_id="c"), 1.0),
        (response("en: and a stranger", 1, prompt_id="c"), 4.0),
        (response("en: alone", 0, prompt_id="d"), 1.0),  # nothing to choose
        (response("en: among strangers", 1, prompt_id="d"), 4.0),
    ]
    result = pair_up(scored, config)
    assert indices(result.pairs) == [("a/de", 0, 2), ("b/de", 1, 2), ("c/de", 0, 1)]
    assert [(pair["chosen_score"], pair["rejected_score"]) for pair in result.pairs] == [
        (3.0, 8.0),
        (5.0, 1.0),
        (1.0, 4.0),
    ]
    report = result.report["de"]
    assert (report.pairs, report.other_language) == (3, 2)
    assert report.removed["language"] == 5
    assert report.dropped == {"too few": 1}


def test_pairs_against_another_language_are_no_part_of_length_control() -> None:
    """Their rejected responses are not chosen by the reward, so no penalty changes them."""
    scored = [
        (response("de: " + "x" * 100, 0), 3.0),
        (response("en: short", 1), 0.0),
        (response("de: y", 2), 1.0),
        (response("de: gleich", 0, prompt_id="b"), 2.0),
        (response("de: lang's", 1, prompt_id="b"), 1.0),
    ]
    result = pair_up(scored, PairsConfig(wrong_language="reject"))
    assert indices(result.pairs) == [("a/de", 0, 1), ("b/de", 0, 1)]
    assert result.report["de"].length_control.gap_before == 0


@pytest.mark.parametrize(
    ("switch", "expected", "counted"),
    [
        ("wrong_language", (2, 1), {"truncated": 1, "duplicate": 1}),
        ("drop_truncated", (3, 1), {"duplicate": 1, "language": 1}),
        ("drop_duplicates", (0, 4), {"truncated": 1, "language": 1}),
    ],
)
def test_each_filter_can_be_switched_off(
    switch: str, expected: tuple[int, int], counted: dict[str, int]
) -> None:
    scored = [
        (response("de: gut", 0), 5.0),
        (response("de: mittel", 1), 1.0),
        (response("en: good", 2), 8.0),
        (response("de: lang und", 3, finish_reason="length"), 10.0),
        (response("de: gut", 4), 0.0),
    ]
    off = "keep" if switch == "wrong_language" else False
    config = PairsConfig.model_validate({"length_control": NO_CONTROL, switch: off})
    # Without the filter on duplicates the first and the last say the same: identical, and no pair.
    result = pair_up(scored, config)
    if switch == "drop_duplicates":
        assert result.pairs == []
        assert result.report["de"].dropped == {"identical": 1}
    else:
        assert indices(result.pairs) == [("a/de", *expected)]
    assert result.report["de"].removed == {"no reward": 0, **counted}


def test_the_real_identifier_keeps_the_right_language() -> None:
    right = "Die Antwort ist zweiundvierzig, denn sechs mal sieben ergibt zweiundvierzig."
    wrong = "The answer is forty-two, because six times seven makes forty-two."
    short = "Nein, danke."
    scored = [(response(text, index), float(index)) for index, text in enumerate([right, wrong, short])]
    result = pair_up(scored, identifier=LanguageIdentifier(["en", "de"]))
    assert indices(result.pairs) == [("a/de", 2, 0)]
    assert result.report["de"].removed["language"] == 1


def test_ties_are_dropped() -> None:
    result = pair_up(candidates([4.0, 4.0, 4.0]))
    assert result.pairs == []
    assert result.report["de"].dropped == {"tie": 1}


def test_one_candidate_is_no_pair() -> None:
    result = pair_up(candidates([4.0]) + candidates([1.0, 2.0], prompt_id="b"))
    assert indices(result.pairs) == [("b/de", 1, 0)]
    assert result.report["de"].dropped == {"too few": 1}


@pytest.mark.parametrize(("margin", "made"), [(0.5, 1), (0.50001, 0)])
def test_the_margin_is_the_least_difference(margin: float, made: int) -> None:
    result = pair_up(candidates([1.0, 1.5, 1.25]), PairsConfig(length_control=NO_CONTROL, min_margin=margin))
    assert len(result.pairs) == made
    assert result.report["de"].dropped == ({} if made else {"margin": 1})


def test_the_margin_is_of_controlled_rewards() -> None:
    """Without the penalty the margin is 3; at equal length, where length is all there is, it is less."""
    scored = [(response("x" * 30, 0), 3.0), (response("y" * 10, 1), 1.0), (response("z" * 12, 2), 0.0)]
    pair = pair_up(scored, PairsConfig()).pairs[0]
    alpha = pair_up(scored, PairsConfig()).report["de"].length_control.alpha
    assert alpha > 0
    lengths = {0: 30, 1: 10, 2: 12}
    rewards = {0: 3.0, 1: 1.0, 2: 0.0}
    for side in ("chosen", "rejected"):
        index = pair[f"{side}_index"]  # type: ignore[literal-required]
        assert pair[f"{side}_score"] == rewards[index] - alpha * lengths[index]  # type: ignore[literal-required]


def test_outliers_above_the_quantile_cannot_be_chosen() -> None:
    """The highest 5 % of 20 rewards are the one of 500; the second best is chosen in its place."""
    scored = candidates([1.0, 2.0, 3.0, 4.0, 5.0])
    scored += candidates([1.0, 2.0, 3.0, 4.0, 500.0], prompt_id="b")
    scored += candidates([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 0.0], prompt_id="c")
    bounded = PairsConfig(length_control=NO_CONTROL, outlier_quantile=0.95)
    assert indices(pair_up(scored).pairs) == [("a/de", 4, 0), ("b/de", 4, 0), ("c/de", 8, 9)]
    assert indices(pair_up(scored, bounded).pairs) == [("a/de", 4, 0), ("b/de", 3, 0), ("c/de", 8, 9)]


def test_a_prompt_with_nothing_under_the_bound_is_dropped() -> None:
    """The published code takes the first candidate then."""
    scored = candidates([1.0, 2.0, 3.0]) + candidates([700.0, 800.0, 900.0], prompt_id="b")
    result = pair_up(scored, PairsConfig(length_control=NO_CONTROL, outlier_quantile=0.5))
    assert indices(result.pairs) == [("a/de", 2, 0)]
    assert result.report["de"].dropped == {"outliers": 1}


def test_a_language_without_responses_is_reported_empty() -> None:
    answers = candidates([1.0, 2.0])
    result = build_pairs(
        prompts(["a", "b"], ["de", "sw"]),
        [answer for answer, _ in answers],
        [score(*item) for item in answers],
        PairsConfig(),
        Tagged(),
    )
    assert [pair["language"] for pair in result.pairs] == ["de"]
    assert (result.report["sw"].prompts, result.report["sw"].pairs) == (0, 0)


@pytest.mark.parametrize("bad", ["missing", "twice scored", "twice sampled", "not a number"])
def test_tables_that_do_not_fit_are_refused(bad: str) -> None:
    answers = [answer for answer, _ in candidates([1.0, 2.0])]
    scores = [score(answer, 1.0) for answer in answers]
    if bad == "missing":
        scores.pop()
    elif bad == "twice scored":
        scores.append(score(answers[0], 2.0))
    elif bad == "twice sampled":
        answers.append(answers[0])
    else:
        scores[1] = score(answers[1], float("nan"))
    with pytest.raises(InputError, match=r"response \d to prompt a in de"):
        build_pairs(prompts(["a"], ["de"]), answers, scores, PairsConfig(), Tagged())
