"""Whether a response wins against a baseline's to the same prompt.

Each prompt gives 1 for a win, 1/2 for a tie and 0 for a loss; the win rate is their mean. Ties count half,
as in AlpacaEval (Dubois et al. 2024, "Length-Controlled AlpacaEval"), so that a model against itself has
0.5 exactly.
"""

from __future__ import annotations

WIN, TIE, LOSS = 1.0, 0.5, 0.0


def outcome(
    score: float, baseline_score: float, text: str, baseline_text: str, tolerance: float = 1e-6
) -> float:
    """Whether a response wins against a baseline's.

    Args:
        score: Of the response; higher is better.
        baseline_score: Of the baseline's response, by the same judge.
        text: The response. Equal texts tie, whatever rounding did to their scores.
        baseline_text: The baseline's response.
        tolerance: Scores closer than this, relative to the larger and at least absolutely, tie.

    Returns:
        1 (win), 0.5 (tie) or 0 (loss).
    """
    near = abs(score - baseline_score) <= tolerance * max(1.0, abs(score), abs(baseline_score))
    if near or text == baseline_text:
        return TIE
    return WIN if score > baseline_score else LOSS
