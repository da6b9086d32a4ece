"""The lab's exact translator: an upper bound, and what translates where no model is in question."""

from __future__ import annotations

from collections.abc import Sequence

from lingualign.errors import InputError
from lingualign.lab.grammar import LANGUAGES
from lingualign.lab.translate import translate


class ExactTranslator:
    """Translates responses of the lab by its grammar.

    It never fails: what no grammar of the lab can read is kept as it is (`lingualign.lab.translate`).
    """

    name = "exact"

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str | None]:
        """See `Translator.translate`.

        Raises:
            InputError: A language is not one of the lab's.
        """
        foreign = [language for language in (source, target) if language not in LANGUAGES]
        if foreign:
            raise InputError(
                f"The lab's exact translator has no {', '.join(foreign)}.",
                f"Choose from {', '.join(LANGUAGES)}, or another translator.",
            )
        return [translate(text, source, target) for text in texts]
