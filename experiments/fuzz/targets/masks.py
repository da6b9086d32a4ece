"""Placeholders for what is not translated: whatever comes back, nothing is lost or put in twice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from drawing import texts
from hypothesis import strategies as st
from sandbox import Finding

from lingualign.translation.mask import SPELLINGS, MaskingTranslator, mask, unmask

CASES = st.fixed_dictionaries(
    {
        "text": texts() | st.lists(texts(), max_size=4).map(" ".join),
        "edits": st.lists(st.sampled_from(("swap", "drop", "twice", "blank", "same")), max_size=3),
        "further": texts(),
    }
)


class _Translator:
    name = "careless"

    def __init__(self, edits: Sequence[str], further: str) -> None:
        self.edits, self.further = edits, further

    def translate(self, asked: Sequence[str], source: str, target: str) -> list[str | None]:
        return [self._one(text) for text in asked]

    def _one(self, text: str) -> str | None:
        for edit in self.edits:
            half = len(text) // 2
            changed = {
                "swap": text[half:] + text[:half],
                "drop": text[:half],
                "twice": text + text,
                "blank": f" {text} ",
            }
            text = changed.get(edit, text + self.further)
        return text


def check(case: dict[str, Any], folder: Path) -> None:
    """A text that comes back as it went is the same; one that is taken has every kept piece once."""
    text = case["text"]
    for spelling in SPELLINGS:
        masked, kept = mask(text, spelling)
        if unmask(masked, kept, spelling) != text:
            raise Finding(f"{text!r} comes back as {unmask(masked, kept, spelling)!r}")
        other = unmask(masked + case["further"], kept, spelling)
        if other is not None and not all(piece in other for piece in kept):
            raise Finding("a piece is lost")
    (found,) = MaskingTranslator(_Translator(case["edits"], case["further"])).translate([text], "en", "sw")
    if found is not None and not isinstance(found, str):
        raise Finding(f"{found!r} is no translation")
