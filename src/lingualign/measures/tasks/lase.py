"""LaSE: how good a summary is against a reference in another language.

    LaSE = meaning x language confidence x length penalty

The meaning is the dot product of the sentence embeddings (LaBSE's, of length 1) of summary and reference;
which encoder and which language identifier make the parts is the caller's choice.

References:
    - CrossSum: https://arxiv.org/abs/2112.08804; details after the authors' scorer
"""

from __future__ import annotations

from collections.abc import Mapping
from math import exp

SLACK = 6  # tokens that a summary may be longer than its reference


def length_penalty(predicted: int, reference: int, slack: int = SLACK) -> float:
    """What is left of the score of a summary that is too long: 1 up to the reference's length and the slack.

    Args:
        predicted: Tokens of the summary.
        reference: Tokens of the reference.
        slack: Tokens that are forgiven.

    Example:
        >>> round(length_penalty(20, 10), 4)
        0.7788
    """
    allowed = reference + slack
    return 1.0 if predicted <= allowed else exp(1 - predicted / allowed)


def language_confidence(probabilities: Mapping[str, float], target: str) -> float:
    """How sure it is that a summary is in its language.

    Args:
        probabilities: A language that the identifier knows -> its probability.
        target: The language that the summary should be in.

    Returns:
        1 where the target is the likeliest language or the identifier does not know it, else its probability.
    """
    if target not in probabilities or probabilities[target] == max(probabilities.values()):
        return 1.0
    return probabilities[target]


def lase(meaning: float, language_confidence: float, length_penalty: float) -> float:
    """The product of the three parts."""
    return meaning * language_confidence * length_penalty
