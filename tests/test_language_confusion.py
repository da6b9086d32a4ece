from __future__ import annotations

import itertools
import json
import string
import zipfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lingualign.errors import InputError
from lingualign.identifiers import make_identifier
from lingualign.measures.language import confusion_tokens
from lingualign.measures.language.confusion_benchmark import read_completions, read_test_sets
from lingualign.measures.language.confusion_rates import language_confusion_pass_rate
from lingualign.measures.language.confusion_tokens import (
    is_latin_word,
    make_tokeniser,
    normalise,
    read_english_words,
)
from lingualign.measures.language.language_confusion import (
    Completion,
    LanguageConfusion,
    measure_language_confusion,
)

SHARED = Path(__file__).parents[1] / ".." / "shared" / "data"
TEST_SETS = SHARED / "language-confusion" / "test_sets.zip"
NTREX = SHARED / "ntrex"

FRENCH = "Le fleuve coule vers la mer."
ENGLISH = "The river flows to the sea."
WORDS = frozenset({"river", "flows", "towards"})


class FirstWord:
    """Takes the first word of a line for its language; `¿` is undecided."""

    def identify(self, text: str) -> str | None:
        first = text.split()[0]
        return None if first == "¿" else first


class Table:
    def __init__(self, **languages: str) -> None:
        self.languages = {normalise(text): code for code, text in languages.items()}

    def identify(self, text: str) -> str | None:
        return self.languages.get(text)


def measure(texts: Iterable[str], language: str, **options: object) -> LanguageConfusion:
    completions = [Completion(text, language) for text in texts]
    return measure_language_confusion(completions, FirstWord(), resamples=50, **options)  # type: ignore[arg-type]


def plain_rates(
    rows: list[tuple[str, str, str]], words: frozenset[str]
) -> dict[tuple[str, str], dict[str, float]]:
    """The benchmark's definition, written plainly: (source, language, text) -> rates, with "all"."""
    result: dict[tuple[str, str], dict[str, float]] = {}
    for source, language in sorted({row[:2] for row in rows}):
        accuracy: list[float] = []
        bad_lines = bad_words = 0
        for text in (row[2] for row in rows if row[:2] == (source, language)):
            text = text.partition("\nQ:")[0].strip()
            text = "".join(sign for sign in text if sign not in string.punctuation + "،").replace("—", " ")
            lines = [line for line in text.split("\n") if len(line.split()) >= 5]
            if not lines:
                continue
            wrong = [line for line in lines if FirstWord().identify(line) != language]
            accuracy.append(1 - len(wrong) / len(lines))
            if wrong:
                bad_lines += 1
            elif any(token in words for line in lines for token in line.split()):
                bad_words += 1
        n = len(accuracy)
        rates = {"acc": sum(accuracy) / n if n else 1.0, "lpr": 1 - bad_lines / max(1, n)}
        if language in ("ar", "hi", "ja", "ko", "ru", "zh"):
            rates["wpr"] = 1 - bad_words / max(1, n - bad_lines)
        result[source, language] = rates

    def mean(some: list[dict[str, float]]) -> dict[str, float]:
        having = {name: [each[name] for each in some if name in each] for name in ("acc", "lpr", "wpr")}
        return {name: sum(values) / len(values) for name, values in having.items() if values}

    cells = dict(result)
    by_language = defaultdict(list)
    for (source, language), rates in cells.items():
        by_language[language].append(rates)
        result[source, "all"] = mean([own for (name, _), own in cells.items() if name == source])
    result |= {("all", language): mean(own) for language, own in by_language.items()}
    result["all", "all"] = mean([result["all", language] for language in by_language])
    return result


def test_the_worked_example_of_french() -> None:
    texts = [FRENCH, f"{FRENCH}\n{ENGLISH}", "Trois mots seulement."]
    identifier = Table(fr=FRENCH, en=ENGLISH)
    measured = measure_language_confusion([Completion(text, "fr") for text in texts], identifier)
    cell = measured.cells["", "fr"]
    assert (cell.responses, cell.skipped, cell.line_errors) == (3, 1, 1)
    assert cell.lpr.mean == 0.5
    assert cell.line_accuracy.mean == 0.75
    assert (cell.wpr, cell.word_errors, cell.lcpr) == (None, None, None)
    assert cell.lpr.n == 2
    assert (cell.lpr.low, cell.lpr.high) == pytest.approx((0.0126, 0.9874), abs=1e-4)  # Clopper and Pearson


def test_lcpr_is_the_harmonic_mean() -> None:
    assert language_confusion_pass_rate(0.5, 0.8) == pytest.approx(0.61538, abs=1e-5)
    assert language_confusion_pass_rate(0.0, 0.0) == 0.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Oui.\nQ: Et toi?\nA: Non.", "Oui"),
        ("Q: Et toi?", "Q Et toi"),
        ("  a\n\n b  ", "a\n\n b"),
        ("un—deux, l'eau: 50%", "un deux leau 50"),
        ("أولا، ثانيا", "أولا ثانيا"),
        ("日本。（東京）", "日本。（東京）"),  # only ASCII punctuation goes
        ("", ""),
    ],
)
def test_normalisation(text: str, expected: str) -> None:
    assert normalise(text) == expected


def test_words_are_counted_in_responses_whose_lines_are_right() -> None:
    texts = ["ru a b c d", "ru a river c d", "en river flows c d", "ru River Flows c d", "ru a river"]
    cell = measure(texts, "ru", english_words=WORDS).cells["", "ru"]
    assert (cell.skipped, cell.line_errors, cell.word_errors) == (1, 1, 1)
    assert cell.lpr.mean == 0.75
    assert cell.wpr is not None and cell.wpr.mean == pytest.approx(2 / 3)
    assert cell.lcpr == pytest.approx(language_confusion_pass_rate(0.75, 2 / 3))


def test_words_of_a_list_count_in_the_languages_of_the_benchmark_alone() -> None:
    assert measure(["th a river c d"], "th", english_words=WORDS).cells["", "th"].wpr is None
    assert measure(["de a river c d"], "de", english_words=WORDS).cells["", "de"].wpr is None


def test_without_a_list_lower_case_latin_words_count_amid_other_scripts() -> None:
    found = measure(["ru на реке very long", "ru на Volga Mississippi реке GPT4o"], "ru")
    wpr = found.cells["", "ru"].wpr
    assert found.english_words == "script (ours)"
    assert wpr is not None and wpr.mean == 0.5
    assert measure(["bn very long river x"], "bn").cells["", "bn"].word_errors == 1
    assert measure(["de very long river x"], "de").cells["", "de"].wpr is None
    latin = ["word", "naïve", "Word", "abc", "слово", "wordслово", "word2"]
    assert [is_latin_word(word) for word in latin] == [True, True, False, False, False, False, False]


def test_undecided_lines_are_wrong_or_do_not_count() -> None:
    texts = ["¿ a b c d\nfr a b c d", "¿ a b c d"]
    wrong, skipped = measure(texts, "fr"), measure(texts, "fr", undecided="skip")
    assert (wrong.undecided, skipped.undecided) == ("wrong", "skip (ours)")
    assert wrong.cells["", "fr"].lpr.mean == 0.0
    cell = skipped.cells["", "fr"]
    assert (cell.lpr.mean, cell.lpr.n, cell.skipped, cell.undecided_lines) == (1.0, 1, 1, 2)


def test_where_nothing_counts_the_rates_are_one_and_nothing_is_known() -> None:
    found = measure(["", "too short"], "ru", english_words=WORDS)
    cell = found.cells["", "ru"]
    assert cell.wpr is not None
    for rate in (cell.lpr, cell.line_accuracy, cell.wpr):
        assert (rate.mean, rate.low, rate.high, rate.n) == (1.0, 0.0, 1.0, 0)
    with pytest.raises(ValueError, match="no completions"):
        measure([], "ru")


def test_means_are_over_cells_and_then_over_languages() -> None:
    right, bad = "{0} a b c d", "en a b c d"
    rows = [
        ("okapi", "ru", right), ("okapi", "ru", bad), ("aya", "ru", right), ("dolly", "ru", right),
        ("okapi", "de", bad), ("okapi", "fr", right), ("aya", "fr", bad),
    ]  # fmt: skip
    completions = [Completion(text.format(language), language, source) for source, language, text in rows]
    found = measure_language_confusion(completions, FirstWord(), english_words=WORDS, resamples=100)
    russian = (0.5 + 1 + 1) / 3
    assert found.languages["ru"].lpr.mean == pytest.approx(russian)
    assert found.sources["okapi"].lpr.mean == pytest.approx((0.5 + 0 + 1) / 3)
    assert found.overall.lpr.mean == pytest.approx((russian + 0 + 0.5) / 3)
    assert found.overall.wpr is not None and found.overall.wpr.mean == 1.0  # of Russian alone
    assert found.sources["okapi"].lpr.low <= found.sources["okapi"].lpr.high
    plain = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert plain["cells"]["okapi"]["ru"]["line_errors"] == 1
    assert plain["overall"]["lpr"]["mean"] == found.overall.lpr.mean


LINES = st.lists(st.sampled_from(["ru", "fr", "ja", "¿", "river", "b", "it's", "—", "Q:"]), max_size=7)
TEXTS = st.lists(LINES.map(" ".join), max_size=4).map("\n".join)
ROWS = st.lists(
    st.tuples(st.sampled_from(["okapi", "aya"]), st.sampled_from(["ru", "fr", "ko"]), TEXTS),
    min_size=1,
    max_size=25,
)


@settings(deadline=None, max_examples=60)
@given(ROWS)
def test_all_rates_equal_a_plain_computation(rows: list[tuple[str, str, str]]) -> None:
    completions = [Completion(text, language, source) for source, language, text in rows]
    found = measure_language_confusion(completions, FirstWord(), WORDS, "peer", resamples=2)
    ours = {
        **found.cells,
        **{(source, "all"): rates for source, rates in found.sources.items()},
        **{("all", language): rates for language, rates in found.languages.items()},
        ("all", "all"): found.overall,
    }
    expected = plain_rates(rows, WORDS)
    assert set(ours) == set(expected)
    for key, rates in expected.items():
        assert ours[key].lpr.mean == pytest.approx(rates["lpr"], abs=1e-12)
        assert ours[key].line_accuracy.mean == pytest.approx(rates["acc"], abs=1e-12)
        wpr = ours[key].wpr
        assert (wpr is None) == ("wpr" not in rates)
        if wpr is not None:
            assert wpr.mean == pytest.approx(rates["wpr"], abs=1e-12)


def test_one_response_a_language_is_enough_for_an_interval() -> None:
    languages = ["ru", "fr", "ko", "ar", "zh", "de", "es", "it", "tr", "hi"]
    completions = [Completion(f"{language} a b c d", language) for language in languages]
    mean = measure_language_confusion(completions, FirstWord(), resamples=50).overall.lpr
    assert (mean.mean, mean.low, mean.high) == (1.0, 0.0, 1.0)


def test_responses_to_one_prompt_are_no_independent_ones() -> None:
    texts = ["fr a b c d"] * 20 + ["en a b c d"] * 20
    apart = [Completion(text, "fr") for text in texts]
    together = [Completion(text, "fr", prompt_id=str(i // 10)) for i, text in enumerate(texts)]

    def lpr(completions: list[Completion]) -> tuple[float, float, int]:
        rate = measure_language_confusion(completions, FirstWord()).overall.lpr
        return rate.mean, rate.high - rate.low, rate.n

    assert lpr(apart)[0] == lpr(together)[0] == 0.5
    assert lpr(together)[1] > 2 * lpr(apart)[1]
    assert (lpr(apart)[2], lpr(together)[2]) == (40, 4)


def test_tokens_where_words_are_not_spaced() -> None:
    assert make_tokeniser("zh")("我有AI 2024年") == ["我", "有", "AI", "2024", "年"]
    assert make_tokeniser("zh-Hant")("歐洲") == make_tokeniser("th")("歐洲") == ["歐", "洲"]
    assert make_tokeniser("de")("zwei  Wörter") == ["zwei", "Wörter"]
    assert make_tokeniser("th", "peer")("ก ข") == ["ก", "ข"]  # the script knows no Thai


def test_a_missing_tokeniser_is_said_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(confusion_tokens, "import_module", missing)
    confusion_tokens._chinese.cache_clear()
    confusion_tokens._japanese.cache_clear()
    for language, package in (("zh", "jieba"), ("ja", "fugashi")):
        with pytest.raises(InputError, match=package) as error:
            make_tokeniser(language, "peer")
        assert "pip install jieba fugashi unidic-lite" in error.value.remedy


def test_the_tokenisers_of_the_peer() -> None:
    pytest.importorskip("jieba", reason="jieba is not installed")
    assert "".join(make_tokeniser("zh", "peer")("我来到北京 清华大学")) == "我来到北京 清华大学"


def test_english_words_are_lower_case_and_longer_than_three_letters(tmp_path: Path) -> None:
    path = tmp_path / "words"
    path.write_text("the\nriver\nPython\n  flows  \nit's\nwho\n", encoding="utf-8")
    assert read_english_words(path) == {"river", "flows", "it's"}
    path.write_text("A\nBc\n", encoding="utf-8")
    with pytest.raises(InputError, match="no lower-case word"):
        read_english_words(path)
    with pytest.raises(InputError, match="nothing"):
        read_english_words(tmp_path / "nothing")


def write_zip(path: Path, **members: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return path


def test_prompts_come_from_the_zip(tmp_path: Path) -> None:
    header = "prompt,source,language\n"
    path = write_zip(
        tmp_path / "sets.zip",
        **{
            "test_sets/monolingual/aya/tr.csv": header + '"Bir,\n""iki""",aya_human_annotated,tr\n',
            "test_sets/crosslingual/okapi/de.csv": header + "Reply in German.,okapi,de\n",
            "test_sets/crosslingual/okapi/zh.csv": header + "Reply in Chinese.,okapi,zh\n",
            "README.md": "nothing",
        },
    )
    sets = read_test_sets(path)
    (turkish,) = sets["aya_human_annotated", "monolingual", "tr"]
    assert turkish.messages == ({"role": "user", "content": 'Bir,\n"iki"'},)
    assert (turkish.id, turkish.language) == ("monolingual/aya_human_annotated/tr/0", "tr")
    german, chinese = (sets["okapi", "crosslingual", code][0] for code in ("de", "zh"))
    assert german.id == chinese.id == "crosslingual/okapi/0"


@pytest.mark.parametrize(
    ("member", "text", "message"),
    [
        ("notes.txt", "nothing", "no test set"),
        ("monolingual/a/de.csv", "prompt,source\nx,a\n", "row 1: the field 'language'"),
        ("monolingual/a/de.csv", "prompt,source,language\nx,a,german\n", "'german'"),
    ],
)
def test_a_wrong_zip_is_said(tmp_path: Path, member: str, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_test_sets(write_zip(tmp_path / "sets.zip", **{member: text}))


def test_a_file_that_is_no_zip_is_said(tmp_path: Path) -> None:
    path = tmp_path / "sets.zip"
    path.write_text("no zip")
    for wrong in (path, tmp_path / "missing.zip"):
        with pytest.raises(InputError, match="not a readable zip"):
            read_test_sets(wrong)


def test_the_test_sets_of_the_benchmark() -> None:
    if not TEST_SETS.exists():
        pytest.skip(f"the benchmark's {TEST_SETS} is not here")
    sets = read_test_sets(TEST_SETS)
    assert len(sets) == 24 + 42
    assert {len(prompts) for prompts in sets.values()} == {99, 100}
    assert len({language for _, _, language in sets}) == 15
    keys = [(prompt.id, prompt.language) for prompts in sets.values() for prompt in prompts]
    assert len(keys) == len(set(keys)) == 6586
    first = [sets["okapi", "crosslingual", code][0] for code in ("de", "zh")]
    assert first[0].id == first[1].id
    contents = [prompt.messages[0]["content"] for prompt in first]
    assert contents[0].replace("German", "Chinese") == contents[1]


def test_completions_come_from_a_file_like_the_benchmark_s(tmp_path: Path) -> None:
    path = tmp_path / "outputs.csv"
    rows = [
        ["model", "completion", "task", "source", "language"],
        ["m", '"Oui,\nnon"', "monolingual", "okapi", "fr"],
        ["m", "Ja", "crosslingual", "sharegpt", "de"],
    ]
    path.write_text("\n".join(map(",".join, rows)) + "\n", encoding="utf-8")
    french, german = Completion("Oui,\nnon", "fr", "okapi"), Completion("Ja", "de", "sharegpt")
    assert read_completions(path) == [french, german]
    assert read_completions(path, "crosslingual") == [german]
    with pytest.raises(InputError, match="no row of the task 'other'"):
        read_completions(path, "other")
    path.write_text("completion,source\nJa,okapi\n", encoding="utf-8")
    with pytest.raises(InputError, match="line 2: the field 'language'"):
        read_completions(path)


def test_real_text_in_the_right_language_passes() -> None:
    if not NTREX.is_dir():
        pytest.skip(f"the real sentences of {NTREX} are not here")
    languages = sorted(path.stem for path in NTREX.glob("*.txt"))
    lines = {code: (NTREX / f"{code}.txt").read_text("utf-8").split("\n")[:100] for code in languages}
    identifier = make_identifier("lingualign", languages)
    right = [
        Completion(line, code, "news", prompt_id=i)
        for code in languages
        for i, line in enumerate(lines[code])
    ]
    found = measure_language_confusion(right, identifier, undecided="skip", resamples=100)
    assert found.overall.lpr.mean >= 0.999
    assert found.overall.wpr is not None and found.overall.wpr.mean >= 0.98
    swapped = [
        Completion(line, code, "news")
        for code, other in itertools.pairwise(languages)
        for line in lines[other][:20]
    ]
    assert measure_language_confusion(swapped, identifier, resamples=100).overall.lpr.mean <= 0.05
