"""The final answer of a response, as something that compares across languages.

Rewards that let answers vote or match need no more of a response than this: a number, the letter of an
option, what stands in a box. An extractor says None where it reads no answer; it never guesses.

References:
    - `number`: MAPO, https://arxiv.org/abs/2401.06838, whose code has 0.0 where there is no number; here that
      is None, so that two responses without an answer do not agree
    - `choice`: CALM, https://arxiv.org/abs/2501.18457
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Literal

from lingualign.errors import InputError
from lingualign.records import Response

AnswerKind = Literal["number", "choice", "boxed", "lab"]

# What introduces the letter of an option. CALM's are en, zh, fr, de, it and ja; the others are ours.
MARKERS = {
    "ar": "الإجابة",
    "bn": "উত্তর",
    "de": "Antwort",
    "en": "Answer",
    "es": "Respuesta",
    "fr": "Réponse",
    "hi": "उत्तर",
    "id": "Jawaban",
    "it": "Risposta",
    "ja": "答え",
    "ko": "정답",
    "nl": "Antwoord",
    "pl": "Odpowiedź",
    "pt": "Resposta",
    "ru": "Ответ",
    "sw": "Jibu",
    "te": "సమాధానం",
    "th": "คำตอบ",
    "tr": "Cevap",
    "uk": "Відповідь",
    "vi": "Đáp án",
    "yo": "Ìdáhùn",
    "zh": "答案",
}

# Digits in groups of three, or as in India of two and then three; then a decimal point, or one or two digits
# behind a decimal comma (ours). A hyphen between digits is not a sign. A hundred groups are more digits than
# a float has; without that bound, a response that repeats "11," is read in quadratic time.
NUMBER = re.compile(
    r"(?P<sign>(?<!\d)[-−])?"
    r"(?P<whole>\d{1,3}(?:,\d{2,3}){0,100},\d{3}(?!\d)|\d+)"
    r"(?:\.(?P<point>\d+)|,(?P<comma>\d{1,2})(?!\d))?"
)
BOX = re.compile(r"\\boxed\s*\{")
BRACE = re.compile(r"[{}]")


def last_number(text: str) -> str | None:
    """The last number in a text.

    Args:
        text: With digits of any script. Commas that group thousands are left out.

    Returns:
        The number to three decimals (MAPO takes numbers for equal that differ by less than 0.001), without
        trailing zeros. None where there is none.

    Example:
        >>> last_number("so 1,234.5 then 7")
        '7'
        >>> last_number("costs $1,234")
        '1234'
    """
    numbers = list(NUMBER.finditer(text))
    return _canonical(numbers[-1]) if numbers else None


def choice(text: str, language: str) -> str | None:
    """The letter of the option that a response chooses: the last one behind its language's answer marker.

    The letter is the first or second character after the colon (`Answer:B`, `Answer: B`, `Answer:(B)`), which
    may be a full-width one, and begins no word.

    Args:
        text: A response.
        language: BCP-47 code of the language that it should be in.

    Returns:
        A capital letter, or None.

    Raises:
        InputError: No marker is known for the language.
    """
    marker = MARKERS.get(language.split("-")[0])
    if marker is None:
        raise InputError(
            f"answers=choice: no answer marker is known for {language}.",
            f"There are markers for {', '.join(MARKERS)}; ask for \\boxed{{}} and set answers=boxed.",
        )
    letters = re.findall(rf"(?i:{marker})\s*[:：].?([A-Z])(?![A-Za-z])", text, re.DOTALL)
    return letters[-1] if letters else None


def boxed(text: str) -> str | None:
    r"""What the last complete `\boxed{...}` holds, braces inside it included.

    A number is written as `last_number` writes it; of anything else only the spaces at the ends are removed.
    An empty box holds no answer.
    """
    found: tuple[int, int] | None = None  # the complete box that begins last
    opened: list[int | None] = []  # the braces that are open: where a box begins, None for any other
    boxes = {match.end() for match in BOX.finditer(text)}
    for brace in BRACE.finditer(text):
        if brace[0] == "{":
            opened.append(brace.end() if brace.end() in boxes else None)
        elif opened and (start := opened.pop()) is not None and (found is None or start > found[0]):
            found = (start, brace.start())
    if found is None:
        return None
    return spelled(text[slice(*found)].strip(), "boxed") or None


def spelled(answer: str, kind: AnswerKind) -> str:
    """A right answer that somebody wrote down, as the extractor of its kind writes those of responses."""
    if kind == "number":
        return last_number(answer) or answer
    if kind == "choice":
        return answer.upper()
    number = NUMBER.fullmatch(answer) if kind == "boxed" else None
    return _canonical(number) if number else answer


def extractor(kind: AnswerKind) -> Callable[[Response], str | None]:
    """The function that reads the final answer of a response.

    Args:
        kind: number: `last_number`. choice: `choice`. boxed: `boxed`. lab: what the answer statement of a
            response of the lab says (`lingualign.lab.answers`).
    """
    if kind == "lab":
        from lingualign.lab.answers import answer

        return answer
    if kind == "choice":
        return lambda response: choice(response["text"], response["language"])
    read = last_number if kind == "number" else boxed
    return lambda response: read(response["text"])


def _canonical(number: re.Match[str]) -> str:
    decimals = number["point"] or number["comma"] or "0"
    whole = number["whole"].replace(",", "")
    value = float(f"{whole}.{decimals}")
    # More digits than a float has room for: they are all there is to compare.
    text = f"{value:.3f}".rstrip("0").rstrip(".") if math.isfinite(value) else whole
    return f"-{text}" if number["sign"] and text != "0" else text
