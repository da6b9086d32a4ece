from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from lingualign.errors import InputError
from lingualign.languages import LanguageIdentifier
from lingualign.measures.intervals import exact_share
from lingualign.measures.language.code_switching import (
    Switches,
    find_switches,
    scripts_of_words,
    summarise_switches,
)
from lingualign.scripts import leading_script, script_of, written_in_chinese

NTREX = Path(__file__).parents[1] / ".." / "shared" / "data" / "ntrex"

THAI = "แม่น้ำที่ยาวที่สุดในยุโรปคือแม่น้ำโวลกา ซึ่งไหลลงสู่ทะเลแคสเปียน"
ENGLISH = "The longest river in Europe is the Volga, which flows into the Caspian Sea."
GERMAN = "Der längste Fluss in Europa ist die Wolga, die ins Kaspische Meer mündet."


@pytest.fixture(scope="module")
def identifier() -> LanguageIdentifier:
    return LanguageIdentifier(["en", "de", "th", "zh"])


@pytest.mark.parametrize(
    ("text", "scripts"),
    [
        ("Das ist ένα тест2", ["Latn", "Latn", "Grek", "Cyrl"]),
        ("AI기술이 ok", ["Latn", "Kore", "Latn"]),
        ("ผู้ใหญ่", ["Thai"]),  # marks do not end a word
        ("नमस्ते दुनिया", ["Deva", "Deva"]),
        ("می‌ریزد", ["Arab"]),  # nor does a joiner
        ("e\u0301te\u0301", ["Latn"]),
        ("12 + 3 = 😀 ①", []),
        ("", []),
    ],
)
def test_words_are_runs_of_letters_of_one_script(text: str, scripts: list[str]) -> None:
    assert scripts_of_words(text) == scripts


def test_a_response_in_its_language_has_no_switches(identifier: LanguageIdentifier) -> None:
    found = find_switches(f"{THAI}\n\n{THAI}", "th", identifier)
    assert found == Switches(
        off_target=False, words=4, foreign_words=0, lines=2, foreign_lines=0, undecided_lines=0
    )


def test_words_and_lines_of_another_language_are_counted(identifier: LanguageIdentifier) -> None:
    found = find_switches(f"{THAI}\n{THAI} is the longest river.\n{ENGLISH}\nOK", "th", identifier)
    assert (found.foreign_words, found.lines, found.foreign_lines) == (4 + 14 + 1, 3, 1)
    assert found.undecided_lines == 1
    assert find_switches(f"{GERMAN}\n{ENGLISH}", "de", identifier).foreign_words == 0  # one script
    assert find_switches(f"{GERMAN}\n{ENGLISH}", "de", identifier).foreign_lines == 1


def test_what_cannot_be_told_is_not_wrong(identifier: LanguageIdentifier) -> None:
    for text in ("", "42", "Danke!", "Angela Merkel", "12 + 30 = 42", "```\nprint('hello world, dear')\n```"):
        found = find_switches(text, "th", identifier)
        assert (found.off_target, found.lines, found.foreign_lines) == (None, 0, 0)


def test_code_is_no_switch(identifier: LanguageIdentifier) -> None:
    code = "```python\nfor word in words:\n    print('a quick brown fox jumps over it')\n```"
    found = find_switches(f"{THAI}\n{code}\n`some_name` https://example.com/page", "th", identifier)
    assert (found.off_target, found.foreign_words, found.foreign_lines) == (False, 0, 0)


def test_shares_have_exact_intervals_and_undecided_responses_are_apart(
    identifier: LanguageIdentifier,
) -> None:
    texts = [THAI] * 6 + [ENGLISH] * 2 + ["42"] * 2
    summary = summarise_switches([find_switches(text, "th", identifier) for text in texts])
    assert (summary.responses, summary.undecided) == (10, 2)
    assert summary.off_target == exact_share(2, 8)
    assert summary.with_foreign_words == exact_share(2, 10)
    assert summary.with_foreign_lines == exact_share(2, 8)
    assert summary.foreign_words.mean == pytest.approx(2.8)
    assert asdict(summary)["off_target"]["n"] == 8


def test_without_a_decided_response_nothing_is_said(identifier: LanguageIdentifier) -> None:
    summary = summarise_switches([find_switches("42", "th", identifier)] * 3)
    assert (summary.off_target, summary.with_foreign_lines, summary.undecided) == (None, None, 3)
    with pytest.raises(ValueError):
        summarise_switches([])


def test_responses_to_one_prompt_are_drawn_together(identifier: LanguageIdentifier) -> None:
    found = [find_switches(text, "th", identifier) for text in [THAI] * 20 + [ENGLISH] * 20]
    apart, together = summarise_switches(found), summarise_switches(found, [i // 10 for i in range(40)])
    assert apart.off_target is not None and together.off_target is not None
    assert together.off_target.mean == apart.off_target.mean == 0.5
    assert together.off_target.n == 4
    assert together.off_target.high - together.off_target.low > apart.off_target.high - apart.off_target.low


def test_an_unknown_language_is_an_error(identifier: LanguageIdentifier) -> None:
    with pytest.raises(InputError, match="'xx'"):
        find_switches(ENGLISH, "xx", identifier)


def test_names_in_latin_letters_do_not_hide_the_script_around_them() -> None:
    text = "Daniel Sturridge ช่วย Liverpool จากการพ่ายแพ้ต่อ Chelsea ใน Premier League"
    assert leading_script(text)[0] == "Thai"
    assert leading_script("PBS、C-SPAN、Fox Business Networkなどの会社")[0] == "Jpan"
    assert leading_script("The river is very long indeed. แม่น้ำสายนี้ยาวมากจริงๆ นะครับ")[0] is None
    assert leading_script("The Lord Of The Rings") == ("Latn", 17)
    assert leading_script("42!") == (None, 0)
    assert [script_of(sign) for sign in "aЯ中かカー한ก7 "] == [
        "Latn", "Cyrl", "Hani", "Jpan", "Jpan", "Jpan", "Kore", "Thai", None, None,
    ]  # fmt: skip


def test_reformed_characters_tell_chinese_from_japanese() -> None:
    assert written_in_chinese("这是研究历史") is True
    assert written_in_chinese("経済産業省") is False
    assert written_in_chinese("研究") is None
    assert written_in_chinese("The Volga") is None
    assert LanguageIdentifier(["ja", "zh"]).identify("名师出高徒") == "zh"
    assert LanguageIdentifier(["ja", "zh"]).identify("経済産業省") == "ja"


def test_reformed_characters_are_never_wrong_of_real_text() -> None:
    if not NTREX.is_dir():
        pytest.skip(f"the real sentences of {NTREX} are not here")
    for code, wrong in (("zh", False), ("ja", True)):
        lines = (NTREX / f"{code}.txt").read_text("utf-8").split("\n")
        told = [written_in_chinese(line) for line in lines]
        assert wrong not in told
        assert told.count(not wrong) >= 0.6 * len(lines)
