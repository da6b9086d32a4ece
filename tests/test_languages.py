from __future__ import annotations

from pathlib import Path

import pytest
from py3langid.langid import MODEL_FILE
from py3langid.langid import LanguageIdentifier as Py3LangId

from lingualign.errors import InputError
from lingualign.languages import LANGUAGES, LanguageIdentifier, prose_of, resolve

NTREX = Path(__file__).parents[1] / ".." / "shared" / "data" / "ntrex"
RUN = ["en", "de", "es", "sw", "th", "zh"]

SENTENCES = {
    "en": "The longest river in Europe is the Volga, which flows into the Caspian Sea.",
    "de": "Der längste Fluss in Europa ist die Wolga, die ins Kaspische Meer mündet.",
    "es": "El río más largo de Europa es el Volga, que desemboca en el mar Caspio.",
    "sw": "Mto mrefu kuliko yote barani Ulaya ni Volga, unaomwaga maji katika Bahari ya Kaspi.",
    "th": "แม่น้ำที่ยาวที่สุดในยุโรปคือแม่น้ำโวลกา ซึ่งไหลลงสู่ทะเลแคสเปียน",
    "zh": "欧洲最长的河流是伏尔加河，它流入里海。",
}


@pytest.fixture(scope="module")
def identifier() -> LanguageIdentifier:
    return LanguageIdentifier(RUN)


def test_resolve_knows_codes_as_they_are_written() -> None:
    assert resolve("sw").name == "Swahili"
    assert resolve("zh-Hant").script == "Hant"


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("german", "de"), ("Deutsch", "de"), ("DE", "de"), ("deu", "de"), ("de-AT", "de"), ("de_DE", "de"),
        ("jp", "ja"), ("iw", "he"), ("zh-cn", "zh-Hans"), ("swahilli", "sw"), ("pt-br", "pt-BR"),
    ],
)  # fmt: skip
def test_resolve_suggests_what_was_meant(wrong: str, meant: str) -> None:
    with pytest.raises(InputError) as error:
        resolve(wrong)
    assert repr(wrong) in error.value.message
    assert f"Did you mean {meant} (" in error.value.remedy


@pytest.mark.parametrize("wrong", ["xx", "", "klingon"])
def test_resolve_does_not_suggest_at_random(wrong: str) -> None:
    with pytest.raises(InputError) as error:
        resolve(wrong)
    assert "Did you mean" not in error.value.remedy
    assert "lingualign languages" in error.value.remedy


def test_every_language_can_be_identified() -> None:
    labels = set(Py3LangId.from_model_file(MODEL_FILE).labels)
    assert {code.split("-")[0] for code in LANGUAGES} <= labels
    assert all(code == language.code for code, language in LANGUAGES.items())


@pytest.mark.parametrize("language", RUN)
def test_sentences(identifier: LanguageIdentifier, language: str) -> None:
    assert identifier.identify(SENTENCES[language]) == language


@pytest.mark.parametrize(
    "text",
    [
        "", "  \n\t\n", "42", "12 + 30 = 42", "OK", "Danke!", "😀🎉👍" * 20, "https://example.com/a/long/path/to/it",
        "```python\nfor word in sentence:\n    print('this would look like English')\n```",
        "```\nan unfinished block of code that is all there is",
        "for (int i = 0; i < n; i++) { total += values[i]; }",
        "`print_the_whole_sentence_of_words`",
        "someone.with.a.long.name@some.long.domain.example",
    ],
)  # fmt: skip
def test_undecided_is_neither_right_nor_wrong(identifier: LanguageIdentifier, text: str) -> None:
    assert identifier.identify(text) is None


def test_code_and_formulas_do_not_hide_the_prose_around_them(identifier: LanguageIdentifier) -> None:
    code = "```python\n" + "print('the quick brown fox jumps over the lazy dog')\n" * 20 + "```"
    assert identifier.identify(f"{SENTENCES['de']}\n{code}\n12 * (3 + 4) = 84") == "de"
    assert identifier.identify(f"{SENTENCES['th']}\n{code}") == "th"


def test_few_letters_suffice_where_the_script_alone_decides(identifier: LanguageIdentifier) -> None:
    assert identifier.identify("答案是四十二。") == "zh"
    assert identifier.identify("คำตอบคือ 42") == "th"
    assert identifier.identify("好") is None


def test_half_and_half_is_undecided(identifier: LanguageIdentifier) -> None:
    assert identifier.identify("The river is very long indeed. " + "แม่น้ำสายนี้ยาวมากจริงๆ นะครับ") is None


def test_english_is_always_a_candidate() -> None:
    assert LanguageIdentifier(["de", "sw"]).identify(SENTENCES["en"]) == "en"


def test_a_script_foreign_to_the_run_is_another_language(identifier: LanguageIdentifier) -> None:
    assert identifier.identify("Волга — самая длинная река в Европе и впадает в Каспийское море.") == "ru"
    assert identifier.identify("ヨーロッパで最も長い川はヴォルガ川です。") == "ja"


def test_kana_tells_japanese_from_chinese() -> None:
    both = LanguageIdentifier(["en", "ja", "zh"])
    assert both.identify("ヨーロッパで最も長い川はヴォルガ川で、カスピ海に注ぎます。") == "ja"
    assert both.identify(SENTENCES["zh"]) == "zh"


def test_right_to_left_and_combining_scripts() -> None:
    identifier = LanguageIdentifier(["en", "ar", "fa", "hi", "bn"])
    assert identifier.identify("أطول نهر في أوروبا هو نهر الفولغا الذي يصب في بحر قزوين.") == "ar"
    assert identifier.identify("طولانی‌ترین رود اروپا ولگا است که به دریای خزر می‌ریزد.") == "fa"
    assert identifier.identify("यूरोप की सबसे लंबी नदी वोल्गा है।") == "hi"
    assert identifier.identify("ইউরোপের দীর্ঘতম নদী ভোলগা।") == "bn"


def test_varieties_of_one_language() -> None:
    text = "O rio mais longo da Europa é o Volga, que deságua no mar Cáspio, segundo os livros."
    assert LanguageIdentifier(["en", "pt-BR"]).identify(text) == "pt-BR"
    assert LanguageIdentifier(["en", "pt-BR", "pt-PT"]).identify(text) is None
    assert LanguageIdentifier(["en", "zh-Hant"]).identify("歐洲最長的河流是伏爾加河。") == "zh-Hant"


def test_an_unknown_code_is_an_error() -> None:
    with pytest.raises(InputError, match="'xx'"):
        LanguageIdentifier(["en", "xx"])


@pytest.mark.parametrize(
    "language", ["ar", "bn", "de", "en", "es", "fr", "hi", "ja", "ko", "ru", "sw", "th", "zh"]
)
def test_real_sentences_are_right_or_undecided(language: str) -> None:
    path = NTREX / f"{language}.txt"
    if not path.exists():
        pytest.skip(f"the real sentences of {path} are not here")
    lines = path.read_text(encoding="utf-8").split("\n")[:200]
    identifier = LanguageIdentifier([*RUN, "ar", "bn", "fr", "hi", "ja", "ko", "ru"])
    found = [identifier.identify(line) for line in lines]
    assert found.count(language) >= 0.95 * len(lines)
    assert sum(code not in (language, None) for code in found) <= 0.01 * len(lines)


@pytest.mark.parametrize("piece", ["a", "ab_", "a@b", "x.y", "(", "变量", "`", "a@"])
def test_one_word_of_a_megabyte_is_looked_at_once(piece: str) -> None:
    """Quadratic time would be hours here."""
    word = piece * (1_000_000 // len(piece))
    assert len(prose_of(word)) <= len(word)


def test_a_name_in_code_takes_no_chinese_around_it_with_it() -> None:
    assert prose_of("变量my_name是一个字符串") == "变量 是一个字符串"
