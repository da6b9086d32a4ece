"""Translations against references: chrF and BLEU as sacrebleu computes them, per language.

    chrF  F-score of character n-grams, n = 1..6, beta = 2 (Popović 2015, https://aclanthology.org/W15-3049)
    BLEU  geometric mean of n-gram precisions, n = 1..4, and a brevity penalty (Papineni et al. 2002,
          https://aclanthology.org/P02-1040)

Both are of the whole corpus, from 0 to 100, and come with the signature that says how they were computed
(Post 2018, https://aclanthology.org/W18-6319). Their intervals are sacrebleu's, which draws segments with
replacement and puts half the width between the percentiles on either side of the draws' mean; here they end
at 0 and 100. sacrebleu is optional: `pip install 'lingualign[translation]'`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lingualign.errors import InputError
from lingualign.languages import resolve
from lingualign.measures.intervals import Interval

Metric = Literal["chrf", "bleu"]

RESAMPLES = 1000  # sacrebleu's own number
DIGITS = 12  # what sacrebleu is asked to print

# How BLEU finds words in languages that write none apart (ours): sacrebleu's rules for Chinese, and else
# single characters, since its tokenizers for Japanese and Korean, and its SentencePiece models, are further
# downloads. Everything else is cut at spaces and punctuation.
TOKENIZERS = {"Hani": "zh", "Hans": "zh", "Hant": "zh"} | dict.fromkeys(
    ("Jpan", "Thai", "Laoo", "Khmr", "Mymr"), "char"
)
DEFAULT_TOKENIZER = "13a"


@dataclass(frozen=True)
class CorpusScore:
    """One metric of one language.

    Attributes:
        score: With its 95 % interval, 0 to 100; n counts segments.
        signature: How sacrebleu computed it.
    """

    score: Interval
    signature: str


def translation_quality(
    translations: Mapping[str, Sequence[str]],
    references: Mapping[str, Sequence[str]],
    metric: Metric = "chrf",
    tokenizer: str | None = None,
    resamples: int = RESAMPLES,
) -> dict[str, CorpusScore]:
    """Scores the translations into each language.

    Args:
        translations: A language -> translations, one a segment.
        references: A language -> one reference a segment, in the same order.
        metric: `chrf` or `bleu`.
        tokenizer: sacrebleu's name of BLEU's tokenizer; None: by the language's script.
        resamples: Draws of the bootstrap.

    Raises:
        InputError: sacrebleu is not installed, or lacks what a tokenizer needs.
        ValueError: A language has no segments, or not as many references.

    Example:
        >>> translation_quality({"sw": ["Habari ya asubuhi"]}, {"sw": ["Habari za asubuhi"]})["sw"].signature
        'nrefs:1|bs:1000|seed:12345|case:mixed|eff:yes|nc:6|nw:0|space:no|version:2.6.0'
    """
    scores = {}
    for language, texts in translations.items():
        own = references[language]
        if not texts or len(texts) != len(own):
            raise ValueError(f"{language}: {len(texts)} translations and {len(own)} references")
        scores[language] = _score(_metric(metric, tokenizer or tokenizer_of(language)), texts, own, resamples)
    return scores


def segment_chrf(translations: Sequence[str], references: Sequence[str]) -> list[float]:
    """chrF of each segment by itself, 0 to 100: for `lingualign.measures.intervals.compare_paired`.

    The mean over segments is not the corpus's chrF, which weighs long segments more.
    """
    chrf = _metric("chrf", DEFAULT_TOKENIZER)
    return [
        float(chrf.sentence_score(text, [reference]).score)
        for text, reference in zip(translations, references, strict=True)
    ]


def tokenizer_of(language: str) -> str:
    """sacrebleu's name of the tokenizer that BLEU is computed with in a language."""
    return TOKENIZERS.get(resolve(language).script, DEFAULT_TOKENIZER)


def _metric(metric: Metric, tokenizer: str) -> Any:
    try:
        from sacrebleu.metrics import BLEU, CHRF
    except ImportError as error:
        raise InputError(
            f"sacrebleu is not installed ({error}).", "pip install 'lingualign[translation]'"
        ) from error
    if metric == "chrf":
        return CHRF()
    try:
        return BLEU(tokenize=tokenizer)
    except (KeyError, RuntimeError, ImportError) as error:
        raise InputError(f"sacrebleu cannot tokenize with {tokenizer!r}: {error}") from error


def _score(metric: Any, texts: Sequence[str], references: Sequence[str], resamples: int) -> CorpusScore:
    found = metric.corpus_score(list(texts), [list(references)], n_bootstrap=resamples)
    signature = str(metric.get_signature())
    # Its JSON is the public way to the bootstrap's mean and half width; it has neither where the mean is 0.
    told = json.loads(found.format(width=DIGITS, signature=signature, is_json=True))
    mean, half = told.get("confidence_mean", found.score), told.get("confidence_var", 0.0)
    score = float(found.score)
    low, high = max(0.0, min(score, mean - half)), min(100.0, max(score, mean + half))
    interval = Interval(score, low, high, len(texts))
    return CorpusScore(interval, signature)
