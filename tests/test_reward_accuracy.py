from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from lingualign.errors import InputError
from lingualign.logprobs import ScoredSequence, sequence_logprobs
from lingualign.measures.intervals import exact_share
from lingualign.measures.reward_accuracy import (
    PairRewards,
    pair_rewards_of_file,
    reward_accuracy,
    verdicts,
    weighted_mean,
)
from lingualign.measures.reward_bench import PUBLISHED_COUNTS, SECTIONS, XSTEST_SWAPPED
from lingualign.prompts import ChatFormat, Prompt
from lingualign.records import Message, Pair, Score
from lingualign.rewards import Candidates, ImplicitReward, pair_rewards, score_of

XSTEST = ("xstest-should-refuse", "xstest-should-respond")


def of_verdicts(judged: Sequence[float], **more: Sequence[str]) -> PairRewards:
    return PairRewards([1.0 if right else -1.0 for right in judged], [0.0] * len(judged), **more)


def test_a_tie_is_wrong_and_silence_is_half() -> None:
    assert verdicts([2.0, 1.0, 0.0, None, 1.0], [1.0, 1.0, 3.0, 0.0, None]) == [1.0, 0.0, 0.0, 0.5, 0.5]


def test_a_broken_reward_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        verdicts([float("nan")], [0.0])


def test_pairs_of_unequal_number_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        verdicts([1.0, 2.0], [0.0])


@pytest.mark.parametrize(("counts", "expected"), [(PUBLISHED_COUNTS, 0.8762), (XSTEST_SWAPPED, 0.9238)])
def test_the_two_versions_of_the_xstest_counts_give_the_published_scores(
    counts: dict[str, float], expected: float
) -> None:
    judged = [1.0] * 4 + [0.0] + [1.0] * 5
    pairs = of_verdicts(judged, subsets=[XSTEST[0]] * 5 + [XSTEST[1]] * 5)
    found = reward_accuracy({"sw": pairs}, counts=counts)["sw"]
    assert found.subsets[XSTEST[0]].mean == 0.8
    assert found.subsets[XSTEST[1]].mean == 1.0
    assert found.sections["Safety"].mean == pytest.approx(expected, abs=5e-5)
    assert found.score is not None
    assert found.score.mean == found.sections["Safety"].mean
    assert set(found.sections) == {"Safety"}


def test_counts_at_hand_pool_the_pairs_of_a_section_with_an_exact_interval() -> None:
    pairs = of_verdicts([1, 0, 1, 1, 1], subsets=["hep-go", "hep-go", "math-prm", "math-prm", "math-prm"])
    found = reward_accuracy({"en": pairs})["en"]
    expected = binomtest(4, 5).proportion_ci(method="exact")
    reasoning = found.sections["Reasoning"]
    assert (reasoning.mean, reasoning.low, reasoning.high) == pytest.approx(
        (0.8, expected.low, expected.high)
    )
    assert found.accuracy == exact_share(4, 5)


def test_the_score_is_the_plain_mean_of_the_sections_of_rewardbench() -> None:
    generator = np.random.default_rng(0)
    subsets = [subset for subset in PUBLISHED_COUNTS for _ in range(int(generator.integers(2, 9)))]
    judged = generator.integers(0, 2, len(subsets)).astype(float)
    found = reward_accuracy({"en": of_verdicts(judged.tolist(), subsets=subsets)}, counts=PUBLISHED_COUNTS)[
        "en"
    ]
    by_section = {}
    for section, names in SECTIONS.items():
        own = [judged[np.array(subsets) == name].mean() for name in names]
        by_section[section] = np.average(own, weights=[PUBLISHED_COUNTS[name] for name in names])
    assert {name: share.mean for name, share in found.sections.items()} == pytest.approx(by_section)
    assert found.score is not None
    assert found.score.mean == pytest.approx(np.mean(list(by_section.values())))


def test_the_sections_hold_the_2985_pairs_of_rewardbench() -> None:
    assert sorted(subset for own in SECTIONS.values() for subset in own) == sorted(PUBLISHED_COUNTS)
    assert sum(PUBLISHED_COUNTS.values()) - 984 + 447 == 2985


def test_a_subset_of_no_section_counts_in_the_accuracy_alone() -> None:
    found = reward_accuracy({"sw": of_verdicts([1, 1, 0], subsets=["ours", "ours", "hep-go"])})["sw"]
    assert found.accuracy.mean == pytest.approx(2 / 3)
    assert {name: share.mean for name, share in found.sections.items()} == {"Reasoning": 0.0}
    assert found.subsets["ours"].mean == 1.0


def test_without_subsets_there_is_one_accuracy() -> None:
    found = reward_accuracy({"sw": PairRewards([1.0, None], [0.0, 0.0])})["sw"]
    assert (found.accuracy.mean, found.unsaid, found.subsets, found.sections) == (0.75, 1, {}, {})
    assert found.score is None
    assert found.agreement is None


def test_given_counts_must_weigh_every_subset() -> None:
    with pytest.raises(ValueError, match="hep-go"):
        reward_accuracy({"sw": of_verdicts([1], subsets=["hep-go"])}, counts={"hep-cpp": 1})


def test_the_interval_of_a_weighted_mean_has_the_variance_of_a_stratified_one() -> None:
    generator = np.random.default_rng(1)
    values = {"a": generator.integers(0, 2, 400).tolist(), "b": generator.integers(0, 2, 100).tolist()}
    found = weighted_mean(values, {"a": 1.0, "b": 3.0}, range(500))
    variance = np.var(values["a"]) / 400 / 16 + np.var(values["b"]) / 100 * 9 / 16
    assert found.mean == pytest.approx(np.mean(values["a"]) / 4 + np.mean(values["b"]) * 3 / 4)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * variance**0.5, rel=0.03)


def test_pairs_on_one_prompt_make_an_interval_no_surer() -> None:
    judged = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0]
    once = weighted_mean({"": judged}, {"": 1.0}, range(6))
    twice = reward_accuracy({"sw": of_verdicts(judged * 2, prompts=[*"abcdef"] * 2)})["sw"].accuracy
    assert twice.mean == pytest.approx(once.mean)
    assert twice.n == 6
    assert twice.high - twice.low > 0.7 * (once.high - once.low)


def test_agreement_with_english_is_over_the_same_pairs_in_any_order() -> None:
    english = of_verdicts([1, 1, 0, 0, 1], items=[*"abcde"])
    swahili = of_verdicts([0, 1, 1, 0], items=["d", "a", "b", "c"])
    found = reward_accuracy({"en": english, "sw": swahili})
    assert found["en"].agreement is None
    agreement = found["sw"].agreement
    assert agreement is not None
    assert agreement.n == 4
    assert agreement.kappa == 1.0
    assert agreement.gap.difference.mean == 0.0


@pytest.mark.parametrize(("swahili", "expected"), [([1, 0, 1, 0], 0.5), ([0, 0, 0, 0], 0.0)])
def test_kappa_is_agreement_beyond_chance(swahili: list[float], expected: float) -> None:
    found = reward_accuracy({"en": of_verdicts([1, 0, 0, 0]), "sw": of_verdicts(swahili)})["sw"].agreement
    assert found is not None
    assert found.kappa == pytest.approx(expected)
    assert found.kappa_interval is not None
    assert found.kappa_interval.low <= expected <= found.kappa_interval.high


def test_kappa_is_not_defined_where_everything_is_right() -> None:
    found = reward_accuracy({"en": of_verdicts([1, 1]), "sw": of_verdicts([1, 1])})["sw"].agreement
    assert found is not None
    assert found.kappa is None


def test_languages_without_common_pairs_have_no_agreement() -> None:
    pairs = {"en": of_verdicts([1, 0], items=["a", "b"]), "sw": of_verdicts([1, 0], items=["c", "d"])}
    assert reward_accuracy(pairs)["sw"].agreement is None


def test_an_item_may_stand_once_in_a_language() -> None:
    with pytest.raises(ValueError, match="twice"):
        reward_accuracy({"en": of_verdicts([1, 0], items=["a", "a"])})


class Length:
    """Rewards length, and says nothing of an empty response."""

    name = "length"

    def score(self, batch: Sequence[Candidates]) -> list[list[Score]]:
        return [[score_of(r, len(r["text"]) or None) for r in candidates.responses] for candidates in batch]


def write_rows(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_file_is_scored_with_any_reward(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"id": "a", "subset": "hep-go", "prompt": "Swali?", "chosen": "Jibu refu", "rejected": "Jibu"},
        {"id": "b", "subset": "hep-go", "prompt": "Swali?", "chosen": "Ndiyo", "rejected": "Hapana"},
    ]
    pairs = pair_rewards_of_file(write_rows(tmp_path / "sw.jsonl", rows), "sw", Length())
    assert pairs == PairRewards([9, 5], [4, 6], ["hep-go", "hep-go"], ["a", "b"])
    assert reward_accuracy({"sw": pairs})["sw"].sections["Reasoning"].mean == 0.5


def test_a_file_without_subsets_has_none(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "sw.jsonl", [{"prompt": "Swali?", "chosen": "Jibu", "rejected": "Hapana"}])
    assert pair_rewards_of_file(path, "sw", Length()) == PairRewards([4], [6])


def test_a_row_without_a_rejected_response_is_named(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "sw.jsonl", [{"prompt": "Swali?", "chosen": "Jibu"}])
    with pytest.raises(InputError, match=r"line 1.*'rejected'"):
        pair_rewards_of_file(path, "sw", Length())


def a_pair(prompt_id: str, chosen: str, rejected: str) -> Pair:
    return Pair(
        id=f"{prompt_id}/sw",
        prompt_id=prompt_id,
        language="sw",
        prompt=[Message(role="user", content="Jina lako nani?")],
        chosen=[Message(role="assistant", content=chosen)],
        rejected=[Message(role="assistant", content=rejected)],
        chosen_score=1.0,
        rejected_score=0.0,
        chosen_index=0,
        rejected_index=1,
        chosen_finished=True,
        rejected_finished=False,
    )


def test_the_implicit_reward_of_a_pair_is_its_sum_of_log_ratios(
    load_family: Callable[..., object], family_folder: Callable[..., Path]
) -> None:
    from transformers import AutoTokenizer

    policy, reference = load_family("qwen3"), load_family("qwen3", 1)
    chat = ChatFormat(AutoTokenizer.from_pretrained(family_folder("qwen3")))
    pairs = [a_pair("p", "Jina langu ni Juma.", "Sijui"), a_pair("q", "Asha", "Hapana kitu")]
    found = pair_rewards(ImplicitReward(policy, reference, chat, context="target"), pairs)  # type: ignore[arg-type]
    prompt = chat.prompt_ids(pairs[0]["prompt"])
    finished = ScoredSequence(prompt, chat.response_ids("Jina langu ni Juma.", True))
    cut = ScoredSequence(prompt, chat.response_ids("Sijui", False))
    sums = [sequence_logprobs(model, [finished, cut], 4096) for model in (policy, reference)]  # type: ignore[arg-type]
    assert found[0] == pytest.approx(tuple(sums[0] - sums[1]), abs=1e-4)
    assert len(found) == 2


def test_rewards_that_read_the_source_prompt_get_it() -> None:
    seen: list[Candidates] = []

    class Spy(Length):
        def score(self, batch: Sequence[Candidates]) -> list[list[Score]]:
            seen.extend(batch)
            return super().score(batch)

    english = Prompt("p", "en", (Message(role="user", content="What is your name?"),))
    assert pair_rewards(Spy(), [a_pair("p", "", "Juma")], {"p": english}) == [(None, 4.0)]
    assert seen[0].source_prompt == english
    assert seen[0].prompt.language == "sw"
    assert [response["finish_reason"] for response in seen[0].responses] == ["stop", "length"]
