from __future__ import annotations

import math
from collections import Counter

import pytest

pytest.importorskip("sacrebleu", reason="sacrebleu is not installed")

from lingualign.errors import InputError
from lingualign.measures.tasks.translation_quality import segment_chrf, tokenizer_of, translation_quality

REFERENCES = ["Habari za asubuhi", "Mvua ilinyesha jana usiku", "Asante sana kwa kuuliza"]
TRANSLATIONS = ["Habari ya asubuhi", "Mvua ilinyesha jana", "Asante sana kwa kuuliza"]


def chrf(texts: list[str], references: list[str]) -> float:
    """chrF of a corpus from its definition: mean over orders of the F-score of summed n-gram counts."""
    scores = []
    for n in range(1, 7):
        matches = said = wanted = 0
        for text, reference in zip(texts, references, strict=True):
            grams = [
                Counter(bare[place : place + n] for place in range(len(bare) - n + 1))
                for bare in (text.replace(" ", ""), reference.replace(" ", ""))
            ]
            matches += (grams[0] & grams[1]).total()
            said, wanted = said + grams[0].total(), wanted + grams[1].total()
        precision, recall = matches / said, matches / wanted
        scores.append((precision, recall))
    mean_precision = sum(precision for precision, _ in scores) / 6
    mean_recall = sum(recall for _, recall in scores) / 6
    return 100 * 5 * mean_precision * mean_recall / (4 * mean_precision + mean_recall)


def bleu(texts: list[str], references: list[str]) -> float:
    """BLEU of a corpus from its definition, for texts whose words are set apart by spaces alone."""
    logs = 0.0
    for n in range(1, 5):
        matches = said = 0
        for text, reference in zip(texts, references, strict=True):
            grams = [
                Counter(tuple(words[place : place + n]) for place in range(len(words) - n + 1))
                for words in (text.split(), reference.split())
            ]
            matches, said = matches + (grams[0] & grams[1]).total(), said + grams[0].total()
        logs += math.log(matches / said) / 4
    lengths = [sum(len(text.split()) for text in own) for own in (texts, references)]
    return 100 * math.exp(logs + min(0.0, 1 - lengths[1] / lengths[0]))


def test_scores_are_those_of_the_definitions() -> None:
    for metric, expected in (("chrf", chrf), ("bleu", bleu)):
        found = translation_quality({"sw": TRANSLATIONS}, {"sw": REFERENCES}, metric)["sw"]  # type: ignore[arg-type]
        assert found.score.mean == pytest.approx(expected(TRANSLATIONS, REFERENCES), abs=1e-6)
        assert 0 <= found.score.low <= found.score.mean <= found.score.high <= 100
        assert found.score.n == 3
        assert "bs:1000" in found.signature


def test_equal_texts_score_a_hundred_and_others_nothing() -> None:
    found = translation_quality({"sw": REFERENCES, "de": ["xyz"]}, {"sw": REFERENCES, "de": ["abc"]})
    assert (found["sw"].score.low, found["sw"].score.high) == pytest.approx((100, 100), abs=1e-4)
    assert (found["de"].score.low, found["de"].score.high) == (0, 0)


def test_bleu_finds_words_by_the_script() -> None:
    assert [tokenizer_of(code) for code in ("sw", "zh", "zh-Hant", "th", "ja")] == [
        "13a",
        "zh",
        "zh",
        "char",
        "char",
    ]
    found = translation_quality({"zh": ["答案是四十二。"]}, {"zh": ["答案是四十三。"]}, "bleu", resamples=10)
    assert "tok:zh" in found["zh"].signature


def test_segments_have_scores_of_their_own() -> None:
    found = segment_chrf(TRANSLATIONS, REFERENCES)
    assert found[2] == pytest.approx(100)
    assert found[0] == pytest.approx(chrf(TRANSLATIONS[:1], REFERENCES[:1]), abs=1e-6)


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(ValueError, match="sw: 1 translations and 2 references"):
        translation_quality({"sw": ["a"]}, {"sw": ["a", "b"]})
    with pytest.raises(InputError, match="ja-nothing"):
        translation_quality({"ja": ["a"]}, {"ja": ["a"]}, "bleu", "ja-nothing")
