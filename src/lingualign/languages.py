"""Languages by their BCP-47 codes, and identification of the language of a text.

Identification is built for short answers of chat models, where the question is not "which of all languages is
this?" but "is this the language that was asked for, or has the model slipped into another?". So it chooses
among the languages of the run and English, looks at the script before it asks a model, and says *undecided*
rather than guess: a sum, a URL, a piece of code or one word is in no language.
"""

from __future__ import annotations

import copy
import difflib
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from lingualign.errors import InputError


@dataclass(frozen=True)
class Language:
    """A language that the package knows.

    Attributes:
        code: BCP-47 code, the one that files, records and settings use.
        name: Name in English, as a directive says it.
        endonym: Name in the language itself.
        script: ISO 15924 code of the script it is usually written in.
    """

    code: str
    name: str
    endonym: str
    script: str


LANGUAGES: dict[str, Language] = {
    language.code: language
    for language in (
        Language("af", "Afrikaans", "Afrikaans", "Latn"),
        Language("am", "Amharic", "አማርኛ", "Ethi"),
        Language("ar", "Arabic", "العربية", "Arab"),
        Language("as", "Assamese", "অসমীয়া", "Beng"),
        Language("az", "Azerbaijani", "azərbaycanca", "Latn"),
        Language("be", "Belarusian", "беларуская", "Cyrl"),
        Language("bg", "Bulgarian", "български", "Cyrl"),
        Language("bn", "Bengali", "বাংলা", "Beng"),
        Language("br", "Breton", "brezhoneg", "Latn"),
        Language("bs", "Bosnian", "bosanski", "Latn"),
        Language("ca", "Catalan", "català", "Latn"),
        Language("cs", "Czech", "čeština", "Latn"),
        Language("cy", "Welsh", "Cymraeg", "Latn"),
        Language("da", "Danish", "dansk", "Latn"),
        Language("de", "German", "Deutsch", "Latn"),
        Language("el", "Greek", "ελληνικά", "Grek"),
        Language("en", "English", "English", "Latn"),
        Language("eo", "Esperanto", "Esperanto", "Latn"),
        Language("es", "Spanish", "español", "Latn"),
        Language("et", "Estonian", "eesti", "Latn"),
        Language("eu", "Basque", "euskara", "Latn"),
        Language("fa", "Persian", "فارسی", "Arab"),
        Language("fi", "Finnish", "suomi", "Latn"),
        Language("fo", "Faroese", "føroyskt", "Latn"),
        Language("fr", "French", "français", "Latn"),
        Language("fy", "Western Frisian", "Frysk", "Latn"),
        Language("ga", "Irish", "Gaeilge", "Latn"),
        Language("gd", "Scottish Gaelic", "Gàidhlig", "Latn"),
        Language("gl", "Galician", "galego", "Latn"),
        Language("gu", "Gujarati", "ગુજરાતી", "Gujr"),
        Language("ha", "Hausa", "Hausa", "Latn"),
        Language("he", "Hebrew", "עברית", "Hebr"),
        Language("hi", "Hindi", "हिन्दी", "Deva"),
        Language("hr", "Croatian", "hrvatski", "Latn"),
        Language("ht", "Haitian Creole", "kreyòl ayisyen", "Latn"),
        Language("hu", "Hungarian", "magyar", "Latn"),
        Language("hy", "Armenian", "հայերեն", "Armn"),
        Language("id", "Indonesian", "Bahasa Indonesia", "Latn"),
        Language("ig", "Igbo", "Igbo", "Latn"),
        Language("is", "Icelandic", "íslenska", "Latn"),
        Language("it", "Italian", "italiano", "Latn"),
        Language("ja", "Japanese", "日本語", "Jpan"),
        Language("jv", "Javanese", "Basa Jawa", "Latn"),
        Language("ka", "Georgian", "ქართული", "Geor"),
        Language("kk", "Kazakh", "қазақ тілі", "Cyrl"),
        Language("km", "Khmer", "ខ្មែរ", "Khmr"),
        Language("kn", "Kannada", "ಕನ್ನಡ", "Knda"),
        Language("ko", "Korean", "한국어", "Kore"),
        Language("ky", "Kyrgyz", "кыргызча", "Cyrl"),
        Language("la", "Latin", "Latina", "Latn"),
        Language("lb", "Luxembourgish", "Lëtzebuergesch", "Latn"),
        Language("lg", "Ganda", "Luganda", "Latn"),
        Language("ln", "Lingala", "lingála", "Latn"),
        Language("lo", "Lao", "ລາວ", "Laoo"),
        Language("lt", "Lithuanian", "lietuvių", "Latn"),
        Language("lv", "Latvian", "latviešu", "Latn"),
        Language("mg", "Malagasy", "Malagasy", "Latn"),
        Language("mk", "Macedonian", "македонски", "Cyrl"),
        Language("ml", "Malayalam", "മലയാളം", "Mlym"),
        Language("mn", "Mongolian", "монгол", "Cyrl"),
        Language("mr", "Marathi", "मराठी", "Deva"),
        Language("ms", "Malay", "Bahasa Melayu", "Latn"),
        Language("mt", "Maltese", "Malti", "Latn"),
        Language("my", "Burmese", "မြန်မာ", "Mymr"),
        Language("ne", "Nepali", "नेपाली", "Deva"),
        Language("nl", "Dutch", "Nederlands", "Latn"),
        Language("nn", "Norwegian Nynorsk", "nynorsk", "Latn"),
        Language("no", "Norwegian", "norsk", "Latn"),
        Language("nso", "Northern Sotho", "Sesotho sa Leboa", "Latn"),
        Language("oc", "Occitan", "occitan", "Latn"),
        Language("om", "Oromo", "Oromoo", "Latn"),
        Language("or", "Odia", "ଓଡ଼ିଆ", "Orya"),
        Language("pa", "Punjabi", "ਪੰਜਾਬੀ", "Guru"),
        Language("pl", "Polish", "polski", "Latn"),
        Language("ps", "Pashto", "پښتو", "Arab"),
        Language("pt", "Portuguese", "português", "Latn"),
        Language("pt-BR", "Brazilian Portuguese", "português do Brasil", "Latn"),
        Language("pt-PT", "European Portuguese", "português europeu", "Latn"),
        Language("qu", "Quechua", "Runasimi", "Latn"),
        Language("ro", "Romanian", "română", "Latn"),
        Language("ru", "Russian", "русский", "Cyrl"),
        Language("rw", "Kinyarwanda", "Ikinyarwanda", "Latn"),
        Language("si", "Sinhala", "සිංහල", "Sinh"),
        Language("sk", "Slovak", "slovenčina", "Latn"),
        Language("sl", "Slovenian", "slovenščina", "Latn"),
        Language("sn", "Shona", "chiShona", "Latn"),
        Language("so", "Somali", "Soomaali", "Latn"),
        Language("sq", "Albanian", "shqip", "Latn"),
        Language("sr", "Serbian", "српски", "Cyrl"),
        Language("st", "Southern Sotho", "Sesotho", "Latn"),
        Language("sv", "Swedish", "svenska", "Latn"),
        Language("sw", "Swahili", "Kiswahili", "Latn"),
        Language("ta", "Tamil", "தமிழ்", "Taml"),
        Language("te", "Telugu", "తెలుగు", "Telu"),
        Language("tg", "Tajik", "тоҷикӣ", "Cyrl"),
        Language("th", "Thai", "ไทย", "Thai"),
        Language("tk", "Turkmen", "türkmençe", "Latn"),
        Language("tl", "Tagalog", "Tagalog", "Latn"),
        Language("tr", "Turkish", "Türkçe", "Latn"),
        Language("tt", "Tatar", "татарча", "Cyrl"),
        Language("ug", "Uyghur", "ئۇيغۇرچە", "Arab"),
        Language("uk", "Ukrainian", "українська", "Cyrl"),
        Language("ur", "Urdu", "اردو", "Arab"),
        Language("uz", "Uzbek", "oʻzbekcha", "Latn"),
        Language("vi", "Vietnamese", "Tiếng Việt", "Latn"),
        Language("xh", "Xhosa", "isiXhosa", "Latn"),
        Language("yo", "Yoruba", "Yorùbá", "Latn"),
        Language("zh", "Chinese", "中文", "Hani"),
        Language("zh-Hans", "Simplified Chinese", "简体中文", "Hans"),
        Language("zh-Hant", "Traditional Chinese", "繁體中文", "Hant"),
        Language("zu", "Zulu", "isiZulu", "Latn"),
    )
}

# Codes that are in use for these languages, and are not the one above: suggested, never silently accepted.
_ALIASES = {
    "ara": "ar", "ben": "bn", "chi": "zh", "cmn": "zh", "cn": "zh", "deu": "de", "eng": "en", "farsi": "fa",
    "fil": "tl", "fra": "fr", "fre": "fr", "ger": "de", "hin": "hi", "in": "id", "ind": "id", "ita": "it",
    "iw": "he", "jp": "ja", "jpn": "ja", "kor": "ko", "kr": "ko", "mandarin": "zh", "nb": "no", "por": "pt",
    "rus": "ru", "spa": "es", "swa": "sw", "swh": "sw", "tha": "th", "tur": "tr", "ua": "uk", "vie": "vi",
    "vn": "vi", "zh-cn": "zh-Hans", "zh-tw": "zh-Hant", "zho": "zh",
}  # fmt: skip

# First word of a letter's Unicode name -> script, as far as languages above need it.
_SCRIPT_OF_NAME = {
    "ARABIC": "Arab", "ARMENIAN": "Armn", "BENGALI": "Beng", "CJK": "Hani", "CYRILLIC": "Cyrl",
    "DEVANAGARI": "Deva", "ETHIOPIC": "Ethi", "GEORGIAN": "Geor", "GREEK": "Grek", "GUJARATI": "Gujr",
    "GURMUKHI": "Guru", "HANGUL": "Kore", "HEBREW": "Hebr", "HIRAGANA": "Jpan", "KANNADA": "Knda",
    "KATAKANA": "Jpan", "KHMER": "Khmr", "LAO": "Laoo", "LATIN": "Latn", "MALAYALAM": "Mlym",
    "MYANMAR": "Mymr", "ORIYA": "Orya", "SINHALA": "Sinh", "TAMIL": "Taml", "TELUGU": "Telu", "THAI": "Thai",
}  # fmt: skip

# Scripts that a language may meet in a text beside the one in the table.
_OTHER_SCRIPTS = {
    "bs": {"Cyrl"}, "ja": {"Hani"}, "sr": {"Latn"}, "uz": {"Cyrl"}, "zh-Hans": {"Hani"}, "zh-Hant": {"Hani"},
}  # fmt: skip

_DENSE = {"Hani", "Jpan", "Kore"}
_DENSE_WEIGHT = 3  # a Han character or a Hangul syllable says about as much as three letters
_MIN_LETTERS = 20  # below this, statistics of letters decide nothing
_MIN_LETTERS_BY_SCRIPT = 6  # where the script alone decides
_MIN_SHARE = 0.6  # of the letters in the leading script; below it, the text is a mixture
_MIN_CONFIDENCE = 0.7  # full sentences of eight languages reach 0.89 in 99 of 100 cases, code often does not
_MIN_KANA = 0.1  # Japanese prose without any kana does not occur, Chinese that quotes some does

_NOT_PROSE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`|\bhttps?://\S+|\S+@\S+\.\S+", re.DOTALL)
_CODE_SYMBOLS = frozenset("{}[]()<>=;_/\\|&$#@*+^~")
_MAX_CODE_SYMBOLS = 0.1  # of a line's characters; a line of code has more, a line of prose less


def resolve(code: str) -> Language:
    """The language of a BCP-47 code.

    Codes are taken as they are written, because files and records use them as keys.

    Raises:
        InputError: The package does not know the code; the message suggests the one that was probably meant.
    """
    if code in LANGUAGES:
        return LANGUAGES[code]
    meant = _suggestion(code)
    remedy = f"Did you mean {meant} ({LANGUAGES[meant].name})? " if meant else ""
    raise InputError(f"{code!r} is not a known language code.", remedy + "`lingualign languages` lists them.")


def _suggestion(code: str) -> str | None:
    """The known code that an unknown one probably stands for: by alias, name, region or likeness of name."""
    wanted = code.strip().replace("_", "-").casefold()
    spellings = {language.code.casefold(): language.code for language in LANGUAGES.values()}
    for language in LANGUAGES.values():
        spellings.setdefault(language.name.casefold(), language.code)
        spellings.setdefault(language.endonym.casefold(), language.code)
    spellings |= _ALIASES
    for spelling in (wanted, wanted.split("-")[0]):
        if spelling in spellings:
            return spellings[spelling]
    # Two-letter codes all look alike, so likeness is a guess for names alone.
    near = difflib.get_close_matches(wanted, spellings, n=1, cutoff=0.75) if len(wanted) > 3 else []
    return spellings[near[0]] if near else None


class LanguageIdentifier:
    """Says which of some languages a text is in, or that it cannot be decided.

    1. Fenced and inline code, lines full of symbols, URLs and addresses are not looked at.
    2. The letters' scripts: a text of no leading script is undecided; otherwise the candidates are the given
       languages and English, as far as they are written in that script. A single candidate in a script other
       than the Latin needs no further proof. Where there is none, the text is in none of the given languages,
       and the likeliest language of that script is returned.
    3. py3langid decides among the candidates and `zxx` (no language), if the text has some twenty letters.

    Args:
        languages: BCP-47 codes of the run. English is always a candidate: it is what models slip into.
    """

    def __init__(self, languages: Sequence[str]) -> None:
        self.languages = [resolve(code) for code in dict.fromkeys([*languages, "en"])]

    def identify(self, text: str) -> str | None:
        """The code of the text's language, or None where it is undecided.

        Where the run holds two varieties of one language (`pt-BR` and `pt-PT`), a text in it is undecided
        between them.
        """
        prose = _prose(text)
        script, letters = _leading_script(prose)
        if script is None or letters < _MIN_LETTERS_BY_SCRIPT:
            return None
        candidates = [language for language in self.languages if script in _scripts(language)]
        if not candidates:
            return _likeliest(script, prose)
        by_label: dict[str, list[str]] = {}
        for candidate in candidates:
            by_label.setdefault(candidate.code.split("-")[0], []).append(candidate.code)
        if script != "Latn" and len(by_label) == 1:
            label = next(iter(by_label))
        elif letters < _MIN_LETTERS:
            return None
        else:
            label, confidence = _model(frozenset(by_label) | {"zxx"}).classify(prose)
            if label == "zxx" or confidence < _MIN_CONFIDENCE:
                return None
        return by_label[label][0] if len(by_label[label]) == 1 else None


def _likeliest(script: str, prose: str) -> str:
    """A language of a script that no language of the run has: a wrong one for certain, so a guess will do."""
    labels = {language.code.split("-")[0] for language in LANGUAGES.values() if script in _scripts(language)}
    return str(_model(frozenset(labels)).classify(prose)[0])


def _scripts(language: Language) -> set[str]:
    return {language.script} | _OTHER_SCRIPTS.get(language.code, set())


def _prose(text: str) -> str:
    """The lines that are neither code nor mostly symbols and numbers."""
    lines = []
    for line in _NOT_PROSE.sub(" ", text).splitlines():
        visible = [character for character in line if not character.isspace()]
        symbols = sum(character in _CODE_SYMBOLS for character in visible)
        if symbols <= _MAX_CODE_SYMBOLS * len(visible):
            lines.append(line)
    return "\n".join(lines)


def _leading_script(text: str) -> tuple[str | None, int]:
    """The script of most letters, if it leads clearly, and their number (of dense scripts, weighted)."""
    counts: Counter[str] = Counter()
    for character, count in Counter(text).items():
        script = _script(character)
        if script is not None:
            counts[script] += count * (_DENSE_WEIGHT if script in _DENSE else 1)
    # Japanese mixes Han characters with kana; how much kana there is tells it from Chinese.
    if counts["Jpan"] and counts["Jpan"] >= _MIN_KANA * (counts["Jpan"] + counts["Hani"]):
        counts["Jpan"] += counts.pop("Hani", 0)
    else:
        counts["Hani"] += counts.pop("Jpan", 0)
    script, letters = counts.most_common(1)[0]
    return (script, letters) if letters and letters >= _MIN_SHARE * counts.total() else (None, letters)


@lru_cache(maxsize=4096)
def _script(character: str) -> str | None:
    if not character.isalpha():
        return None
    return _SCRIPT_OF_NAME.get(unicodedata.name(character, "").split(" ")[0])


@lru_cache(maxsize=1)
def _full_model() -> Any:
    # Imported here, for the model takes most of a second to load and few commands need it.
    from py3langid.langid import MODEL_FILE
    from py3langid.langid import LanguageIdentifier as Py3LangId

    return Py3LangId.from_model_file(MODEL_FILE, norm_probs=True)


@lru_cache(maxsize=64)
def _model(labels: frozenset[str]) -> Any:
    """py3langid restricted to some labels, sharing its tables with the full model."""
    model = copy.copy(_full_model())
    model.set_languages(sorted(labels))
    return model
