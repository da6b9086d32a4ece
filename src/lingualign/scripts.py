"""Scripts of letters, by their Unicode names, and the script that leads in a text."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import lru_cache

# First word of a letter's Unicode name -> ISO 15924 code, as far as the languages of the package need it.
_SCRIPT_OF_NAME = {
    "ARABIC": "Arab", "ARMENIAN": "Armn", "BENGALI": "Beng", "CJK": "Hani", "CYRILLIC": "Cyrl",
    "DEVANAGARI": "Deva", "ETHIOPIC": "Ethi", "FULLWIDTH": "Latn", "GEORGIAN": "Geor", "GREEK": "Grek",
    "GUJARATI": "Gujr", "GURMUKHI": "Guru", "HALFWIDTH": "Jpan", "HANGUL": "Kore", "HEBREW": "Hebr",
    "HIRAGANA": "Jpan", "KANNADA": "Knda", "KATAKANA": "Jpan", "KATAKANA-HIRAGANA": "Jpan",
    "KHMER": "Khmr", "LAO": "Laoo", "LATIN": "Latn", "MALAYALAM": "Mlym", "MYANMAR": "Mymr",
    "ORIYA": "Orya", "SINHALA": "Sinh", "TAMIL": "Taml", "TELUGU": "Telu", "THAI": "Thai",
}  # fmt: skip

_DENSE = {"Hani", "Jpan", "Kore"}
_DENSE_WEIGHT = 3  # a Han character or a Hangul syllable says about as much as three letters
_MIN_SHARE = 0.6  # of the letters in the leading script; below it, the text is a mixture
_MIN_KANA = 0.1  # Japanese prose without any kana does not occur, Chinese that quotes some does
_CAPITALISED = re.compile(r"(?<![A-Za-zÀ-ɏ])[A-ZÀ-Þ][A-Za-zÀ-ɏ'’]*")


@lru_cache(maxsize=4096)
def script_of(character: str) -> str | None:
    """The ISO 15924 code of a letter's script; None for a sign that is no letter, or a script not known here.

    Kana are `Jpan` and Hangul is `Kore`, for in them alone one language is written.

    Example:
        >>> script_of("я"), script_of("か"), script_of("7")
        ('Cyrl', 'Jpan', None)
    """
    if not character.isalpha():
        return None
    return _SCRIPT_OF_NAME.get(unicodedata.name(character, "").split(" ")[0])


def leading_script(text: str) -> tuple[str | None, int]:
    """The script of most of a text's letters, if it leads clearly, and how many they are.

    Beside another script, Latin words with a capital are left out: sentences of all languages quote names and
    acronyms as they are written at home.

    Returns:
        The script, None where none has 60 % of the letters, and its letters; a Han character, a kana or a
        Hangul syllable counts as three.

    Example:
        >>> leading_script("ชม Daniel Sturridge")
        ('Thai', 2)
    """
    counts = _count_letters(text)
    if len(counts) > 1 and "Latn" in counts:
        counts = _count_letters(_CAPITALISED.sub(" ", text))
    # Japanese mixes Han characters with kana; how much kana there is tells it from Chinese.
    kana, han = counts.pop("Jpan", 0), counts.pop("Hani", 0)
    if kana or han:
        counts["Jpan" if kana and kana >= _MIN_KANA * (kana + han) else "Hani"] = kana + han
    if not counts:
        return None, 0
    script, letters = counts.most_common(1)[0]
    return (script if letters >= _MIN_SHARE * counts.total() else None), letters


def _count_letters(text: str) -> Counter[str]:
    counts: Counter[str] = Counter()
    for character, count in Counter(text).items():
        script = script_of(character)
        if script is not None:
            counts[script] += count * (_DENSE_WEIGHT if script in _DENSE else 1)
    return counts


def written_in_chinese(text: str) -> bool | None:
    """Whether Han characters show that a text is Chinese, or that it is Japanese; None where they do not.

    Both scripts were reformed apart. A character that no Japanese character set has (Windows-31J) is Chinese;
    one that neither GB 2312 nor Big5 has is Japanese.

    Example:
        >>> written_in_chinese("研究历史"), written_in_chinese("経済"), written_in_chinese("研究")
        (True, False, None)
    """
    han = [character for character in set(text) if script_of(character) == "Hani"]
    chinese = any(not _encodes(character, "cp932") for character in han)
    japanese = any(not _encodes(character, "gb2312") and not _encodes(character, "big5") for character in han)
    return chinese if chinese != japanese else None


@lru_cache(maxsize=16384)
def _encodes(character: str, encoding: str) -> bool:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
