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
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from lingualign.errors import InputError
from lingualign.scripts import leading_script, written_in_chinese


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

# Scripts that a language may meet in a text beside the one in the table.
_OTHER_SCRIPTS = {
    "bs": {"Cyrl"}, "ja": {"Hani"}, "sr": {"Latn"}, "uz": {"Cyrl"}, "zh-Hans": {"Hani"}, "zh-Hant": {"Hani"},
}  # fmt: skip

_MIN_LETTERS = 6  # below this, nothing is said of a text
_FEW_LETTERS = 20  # below this, a text must be a sentence, and the model as sure as of one that is none
_MIN_CONFIDENCE = 0.5  # of the model in a longer sentence; of news text 999 in 1,000 reach it
_MIN_CONFIDENCE_ELSE = 0.7  # code and lists of names seldom reach it

_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)  # fenced and inline
# In runs of Latin characters, so that one in the middle of Chinese, written without spaces, takes nothing
# else with it. Each run is looked at once: a single pattern for all would take quadratic time.
_RUN = re.compile("[!-~\u00c0-\u024f]+")
_NAMES_ITS_RUN = re.compile(r"\w_\w|[^@]@[^@]+\.[^@]")  # a_name; an address of mail
_IN_RUN = re.compile(
    r"\bhttps?://\S+"
    r"|\b[a-z]\w*\.[a-z]\w*|\b[A-Za-z_]\w*\("  # names in code: module.name, call(
)
_MAY_BE_IN_RUN = re.compile(r"[_@(]|://|\.[a-z]")  # one of them is in whatever these find
_CODE_SYMBOLS = frozenset("{}[]<>=;_/\\|&$#@*+^~")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
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

    1. Fenced and inline code, names in code, lines full of symbols, URLs and addresses are not looked at.
    2. The letters' scripts: a text of no leading script is undecided; otherwise the candidates are the given
       languages and English, as far as they are written in that script. A single candidate in a script other
       than the Latin needs no further proof. Where there is none, the text is in none of the given languages,
       and the likeliest language of that script is returned.
    3. Of Chinese and Japanese in Han characters alone, those decide that only one of the two has.
    4. Else py3langid decides among the candidates and `zxx` (no language), if it is sure: of a sentence it
       need be less so than of a name, a title or a word, and of a short one more than of a long one.

    Args:
        languages: BCP-47 codes of the run. English is always a candidate: it is what models slip into.
    """

    def __init__(self, languages: Sequence[str]) -> None:
        self.languages = tuple(resolve(code) for code in dict.fromkeys([*languages, "en"]))
        self._codes = tuple(language.code for language in self.languages)

    def identify(self, text: str) -> str | None:
        """The code of the text's language, or None where it is undecided.

        Where the run holds two varieties of one language (`pt-BR` and `pt-PT`), a text in it is undecided
        between them.
        """
        return _identify(self._codes, text)


@lru_cache(maxsize=16384)  # the same answers and lines are asked about by several measures
def _identify(codes: tuple[str, ...], text: str) -> str | None:
    prose = prose_of(text)
    script, letters = leading_script(prose)
    if script is None or letters < _MIN_LETTERS:
        return None
    by_label = _candidates(codes, script)
    if not by_label:
        return _likeliest(script, prose)
    if script != "Latn" and len(by_label) == 1:
        label: str | None = next(iter(by_label))
    else:
        label = _decide(frozenset(by_label), script, prose, letters)
    return by_label[label][0] if label is not None and len(by_label[label]) == 1 else None


@lru_cache(maxsize=256)
def _candidates(codes: tuple[str, ...], script: str) -> dict[str, list[str]]:
    """Of some languages those that are written in a script, by py3langid's label."""
    by_label: dict[str, list[str]] = {}
    for code in codes:
        if script in scripts_of(LANGUAGES[code]):
            by_label.setdefault(code.split("-")[0], []).append(code)
    return by_label


def _decide(labels: frozenset[str], script: str, prose: str, letters: int) -> str | None:
    """Which of several languages of one script a text is in, None where that is not sure enough."""
    if script == "Hani" and labels == {"ja", "zh"}:
        chinese = written_in_chinese(prose)
        if chinese is not None:
            return "zh" if chinese else "ja"
    short = letters < _FEW_LETTERS
    if short and not _reads_as_sentence(prose):
        return None
    label, confidence = _model(labels | {"zxx"}).classify(prose)
    if label == "zxx" or confidence < _MIN_CONFIDENCE:
        return None
    if confidence >= _MIN_CONFIDENCE_ELSE:
        return label
    return label if not short and _reads_as_sentence(prose) else None


def _reads_as_sentence(prose: str) -> bool:
    """Several words, most behind the first without a capital: no name, no title and no single word."""
    later = _WORD.findall(prose)[1:]
    return bool(later) and 2 * sum(not word[0].isupper() for word in later) > len(later)


def _likeliest(script: str, prose: str) -> str:
    """A language of a script that no language of the run has: a wrong one for certain, so a guess will do."""
    labels = {
        language.code.split("-")[0] for language in LANGUAGES.values() if script in scripts_of(language)
    }
    return str(_model(frozenset(labels)).classify(prose)[0])


def scripts_of(language: Language) -> set[str]:
    """The scripts that a text in a language may be written in, ISO 15924, the usual one among them."""
    return {language.script} | _OTHER_SCRIPTS.get(language.code, set())


def prose_of(text: str) -> str:
    """A text without code, names in code, addresses, and lines full of symbols."""
    lines, prose = [], _CODE.sub(" ", text)
    if _MAY_BE_IN_RUN.search(prose):
        prose = _RUN.sub(_prose_of_run, prose)
    for line in prose.splitlines():
        if not _CODE_SYMBOLS.isdisjoint(line):
            visible = [character for character in line if not character.isspace()]
            symbols = sum(character in _CODE_SYMBOLS for character in visible)
            if symbols > _MAX_CODE_SYMBOLS * len(visible):
                continue
        lines.append(line)
    return "\n".join(lines)


def _prose_of_run(run: re.Match[str]) -> str:
    """A run of Latin characters without addresses and names in code."""
    return " " if _NAMES_ITS_RUN.search(run[0]) else _IN_RUN.sub(" ", run[0])


@lru_cache(maxsize=1)
def py3langid_model() -> Any:
    """py3langid's model of all its languages, with probabilities; loaded once."""
    # Imported here, for the model takes most of a second to load and few commands need it.
    from py3langid.langid import MODEL_FILE
    from py3langid.langid import LanguageIdentifier as Py3LangId

    return Py3LangId.from_model_file(MODEL_FILE, norm_probs=True)


@lru_cache(maxsize=64)
def _model(labels: frozenset[str]) -> Any:
    """py3langid restricted to some labels, sharing its tables with the full model."""
    model = copy.copy(py3langid_model())
    model.set_languages(sorted(labels))
    return model
