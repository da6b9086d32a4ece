"""What a translator is: texts in, texts out, and None where it failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Translator(Protocol):
    """Translates responses."""

    @property
    def name(self) -> str:
        """Short name, for tables."""

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str | None]:
        """Translates texts from one language to another; what else is in the batch must not matter to a text.

        Args:
            texts: Any number.
            source: BCP-47 code of the language they are in.
            target: BCP-47 code of the language to translate to, another one.

        Returns:
            A translation a text, in order; None where the translator failed (an answer that cannot be parsed,
            code that was lost). Failures are counted and left out, never guessed.
        """


class Likelihood(Protocol):
    """A translator that can say how likely a translation is."""

    def likelihoods(
        self, pairs: Sequence[tuple[str, str]], source: str, target: str
    ) -> list[tuple[float, int]]:
        """Log-probabilities of given translations, teacher-forced.

        Args:
            pairs: (text, its translation).
            source: BCP-47 code of the texts' language.
            target: Of the translations'.

        Returns:
            For each pair, the log-probability of the translation given the text in nats, summed over its
            tokens with the end token, and the number of tokens that it is summed over. Padding counts
            nowhere.
        """
