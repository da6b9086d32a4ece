"""The pair browser's data: what is drawn, how large it gets, and that no text can be more than text.

What the browser does with it is looked at in a real one: `test_report_in_browser.py`.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lingualign.errors import InputError
from lingualign.records import PAIRS, write_table
from lingualign.report import browser
from lingualign.report.browser import browser_section, written
from lingualign.report.browser_sample import AGAINST, CERTAIN, CHANCE, CONTEXTS, MOST, UNCERTAIN, kinds
from lingualign.report.differences import differing
from lingualign.report.section import Section
from lingualign.texts import visible
from synthetic_run import Size, make_run

SMALL = Size(languages=("en", "de", "zh", "ar"), iterations=2, prompts=150, candidates=3, sentences=4)
ISLAND = re.compile(r'<script type="application/json" id="pairs-data">(.*?)</script>', re.DOTALL)
LONG_WORD = "w" * 1_000_000
HOSTILE = {
    "closing": "</script><script>alert(1)</script>",
    "comment": "<!--<script>",
    "entity": "&lt;/script&gt; ]]> '\"`${x}",
    "override": "pay \u202elatot\u202c \u2066now\u2069 \u200fplease",
    "controls": "null \x00 bell \x07 escape \x1b[31m next \x85",
    "separators": "one\u2028two\u2029three",
    "marks": "Z" + "\u0301" * 10_000,
    "long": LONG_WORD,
    "angles": "<" * 100_000,
    "nulls": "\x00" * 100_000,
    "empty": "",
    "names": "__proto__",
    "astral": "😀" * 10_000 + "👩‍👩‍👧",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("report") / "run", SMALL)


@pytest.fixture(scope="module")
def section(run: Path) -> Section:
    found = browser_section(run)
    assert found is not None
    return found


def island(section: Section) -> Any:
    (text,) = ISLAND.findall(section.body)
    return json.loads(text)


def replaced(table: pa.Table, name: str, values: Any) -> pa.Table:
    """A table of pairs with another column."""
    column = pa.array(values, PAIRS.field(name).type)
    return table.set_column(table.column_names.index(name), PAIRS.field(name), column)


def hostile_run(folder: Path, texts: dict[str, str], language: str = "en") -> Path:
    """A run whose pairs have these texts everywhere: in prompts, responses and ids."""
    rows = [
        {
            "id": f"{name}/{text[:300]}",
            "prompt_id": text[:300],
            "language": language,
            "prompt": [{"role": "user", "content": text}],
            "chosen": [{"role": "assistant", "content": f"{text} chosen"}],
            "rejected": [{"role": "assistant", "content": f"rejected {text}"}],
            "chosen_score": 1.0 + place,
            "rejected_score": 0.0,
            "chosen_index": 0,
            "rejected_index": 1,
            "chosen_finished": True,
            "rejected_finished": True,
        }
        for place, (name, text) in enumerate(texts.items())
    ]
    write_table(folder / "iteration-1" / "pairs.parquet", rows, PAIRS)
    (folder / "config.yaml").write_text("languages: [en, de]\nseed: 3\n", encoding="utf-8")
    return folder


def test_every_number_is_that_of_the_tables(run: Path, section: Section) -> None:
    scores = {
        (row["prompt_id"], row["language"], row["index"]): row
        for row in pq.read_table(run / "iteration-2" / "scores").to_pylist()
    }
    tokens = {
        (row["prompt_id"], row["language"], row["index"]): row["num_tokens"]
        for row in pq.read_table(run / "iteration-2" / "responses").to_pylist()
    }
    pairs = {row["id"]: row for row in pq.read_table(run / "iteration-2" / "pairs.parquet").to_pylist()}
    (found,) = [one for one in island(section)["iterations"] if one["number"] == 2]
    assert found["numbers"] == [
        "reward less length penalty", "reward", "policy_logprob", "reference_logprob", "num_tokens",
        "log_ratio:target",
    ]  # fmt: skip
    assert len(found["pairs"]) > 4 * 50
    for shown in found["pairs"]:
        pair = pairs[shown["id"]]
        for place, side in enumerate(("chosen", "rejected")):
            text = pair[side][0]["content"]
            key = (pair["prompt_id"], pair["language"], pair[f"{side}_index"])
            values = {part["name"]: part["value"] for part in scores[key]["components"]}
            expected = [pair[f"{side}_score"], scores[key]["reward"], *values.values()]
            assert [row[place] for row in shown["numbers"]] == pytest.approx(expected, rel=1e-5)
            assert "".join(shown[side]["pieces"]) == text
            assert (shown[side]["characters"], shown[side]["tokens"]) == (len(text), tokens[key])
        assert shown["margin"] == pytest.approx(pair["chosen_score"] - pair["rejected_score"], rel=1e-5)
        assert shown["prompt"] == {"text": pair["prompt"][0]["content"], "more": 0}


def test_the_most_and_the_least_certain_of_each_language_are_there(run: Path, section: Section) -> None:
    for one in island(section)["iterations"]:
        table = pq.read_table(run / f"iteration-{one['number']}" / "pairs.parquet").to_pylist()
        for language in SMALL.languages:
            margins = {
                row["id"]: row["chosen_score"] - row["rejected_score"]
                for row in table
                if row["language"] == language
            }
            drawn = {
                kind: {
                    pair["id"]
                    for pair in one["pairs"]
                    if kind in pair["drawn"] and pair["language"] == language
                }
                for kind in (CERTAIN, UNCERTAIN, CHANCE)
            }
            most = sorted(margins, key=lambda pair: -margins[pair])[: MOST[CERTAIN]]
            least = sorted(margins, key=lambda pair: abs(margins[pair]))[: MOST[UNCERTAIN]]
            assert drawn[CERTAIN] == set(most)
            assert drawn[UNCERTAIN] == set(least)
            assert len(drawn[CHANCE]) == MOST[CHANCE]
            assert not drawn[CHANCE] & (drawn[CERTAIN] | drawn[UNCERTAIN])


def test_contexts_disagree_where_the_other_one_turns_the_pair_round(run: Path, section: Section) -> None:
    for one in island(section)["iterations"]:
        reward, target = one["numbers"].index("reward"), one["numbers"].index("log_ratio:target")
        turned = [pair["numbers"][reward][2] * pair["numbers"][target][2] < 0 for pair in one["pairs"]]
        assert [pair["contexts"] == ["target"] for pair in one["pairs"]] == turned
        assert 0 < sum(turned) < len(turned)
        assert all(pair["contexts"] for pair in one["pairs"] if CONTEXTS in pair["drawn"])
    # And counted over all pairs, not only those on the page.
    pairs = pq.read_table(run / "iteration-2" / "pairs.parquet").to_pylist()
    scores = {
        (row["prompt_id"], row["index"]): {part["name"]: part["value"] for part in row["components"]}
        | {"reward": row["reward"]}
        for row in pq.read_table(run / "iteration-2" / "scores").to_pylist()
        if row["language"] == "de"
    }
    german = [pair for pair in pairs if pair["language"] == "de"]
    count = 0
    for pair in german:
        chosen, rejected = (
            scores[pair["prompt_id"], pair[f"{side}_index"]] for side in ("chosen", "rejected")
        )
        reward, other = (chosen[name] - rejected[name] for name in ("reward", "log_ratio:target"))
        count += reward * other < 0
    row = re.search(r'<tr><th scope="row">German</th><td>2</td>(.*?)</tr>', section.body)
    assert row is not None
    assert re.findall(r"<td>(.*?)</td>", row[1])[0] == str(len(german))
    assert re.findall(r"<td>(.*?)</td>", row[1])[2] == f"{count} ({100 * count / len(german):.1f} %)"


def test_the_page_says_how_many_were_drawn_and_how(section: Section) -> None:
    shown = sum(len(one["pairs"]) for one in island(section)["iterations"])
    text = re.sub(r"<[^>]+>", "", ISLAND.sub("", section.body))
    assert f"{shown} of the run's 1,200 pairs" in text
    assert f"{MOST[CERTAIN]} pairs with the largest margin" in text
    assert f"{MOST[CHANCE]} pairs drawn at random (seed 0)" in text
    assert "preferring the rejected" not in text


def test_the_same_run_gives_the_same_section(run: Path, section: Section) -> None:
    assert browser_section(run) == section


def test_another_seed_draws_others_by_chance(run: Path, section: Section, tmp_path: Path) -> None:
    other = shutil.copytree(run, tmp_path / "run")
    config = (other / "config.yaml").read_text(encoding="utf-8")
    (other / "config.yaml").write_text(config.replace("seed: 0", "seed: 1"), encoding="utf-8")
    again = browser_section(other)
    assert again is not None

    def drawn(of: Section, kind: str) -> set[tuple[int, str]]:
        return {
            (one["number"], pair["id"])
            for one in island(of)["iterations"]
            for pair in one["pairs"]
            if kind in pair["drawn"]
        }

    assert drawn(again, CERTAIN) == drawn(section, CERTAIN)
    assert drawn(again, CHANCE) != drawn(section, CHANCE)


def test_the_first_pairs_are_there_without_javascript(section: Section) -> None:
    without = ISLAND.sub("", section.body)
    last = island(section)["iterations"][0]
    assert last["number"] == 2
    assert without.count('<article class="pair-card"') == browser.STATIC
    first = last["pairs"][0]
    assert f'<code data-slot="id">{first["id"]}</code>' in without
    assert first["prompt"]["text"] in without
    assert f"<mark>{first['chosen']['pieces'][1]}</mark>" in without


def test_pairs_without_scores_are_shown_without_margins(run: Path, tmp_path: Path) -> None:
    other = shutil.copytree(run, tmp_path / "run")
    for number in (1, 2):
        shutil.rmtree(other / f"iteration-{number}" / "scores")
        path = other / f"iteration-{number}" / "pairs.parquet"
        table = pq.read_table(path)
        for name in ("chosen_score", "rejected_score"):
            table = table.set_column(
                table.column_names.index(name), PAIRS.field(name), [np.zeros(len(table))]
            )
        pq.write_table(table, path)
    found = browser_section(other)
    assert found is not None
    for one in island(found)["iterations"]:
        assert not one["ranked"]
        assert {kind for pair in one["pairs"] for kind in pair["drawn"]} == {CHANCE}
    assert "margin" not in re.sub(r"<form.*?</form>", "", ISLAND.sub("", found.body), flags=re.DOTALL).lower()


def test_a_translated_side_has_no_tokens_and_no_score_of_another_text(run: Path, tmp_path: Path) -> None:
    other = shutil.copytree(run, tmp_path / "run")
    path = other / "iteration-2" / "pairs.parquet"
    table = pq.read_table(path)
    said = pa.array(
        [[{"role": "assistant", "content": "Said by another."}]] * len(table), PAIRS.field("chosen").type
    )
    pq.write_table(table.set_column(table.column_names.index("chosen"), "chosen", said), path)
    found = browser_section(other)
    assert found is not None
    for pair in island(found)["iterations"][0]["pairs"]:
        assert (pair["chosen"]["tokens"], pair["rejected"]["tokens"] is None) == (None, False)
        assert [row[0] is None for row in pair["numbers"]] == [False, True, True, True, True, True]


def test_what_is_rejected_for_its_language_is_told(run: Path, tmp_path: Path) -> None:
    other = shutil.copytree(run, tmp_path / "run")
    config = (other / "config.yaml").read_text(encoding="utf-8")
    (other / "config.yaml").write_text(
        config.replace("wrong_language: drop", "wrong_language: reject"), encoding="utf-8"
    )
    path = other / "iteration-2" / "pairs.parquet"
    table = pq.read_table(path)
    english = "This is an answer in the English language, which nobody has asked for here."
    said = [
        [{"role": "assistant", "content": english}] if row["language"] == "de" else row["rejected"]
        for row in table.select(["language", "rejected"]).to_pylist()
    ]
    scores = 10.0 - table["rejected_score"].to_numpy()
    pq.write_table(replaced(replaced(table, "rejected", said), "rejected_score", scores), path)
    found = browser_section(other)
    assert found is not None
    (last,) = [one for one in island(found)["iterations"] if one["number"] == 2]
    german = [pair for pair in last["pairs"] if pair["language"] == "de"]
    assert {pair["rejected"]["language"] for pair in german} == {"en"}
    assert all("in another language" in pair["notes"][0] for pair in german)
    against = [pair for pair in german if AGAINST in pair["drawn"]]
    assert len(against) == MOST[AGAINST]
    assert all(pair["margin"] < 0 for pair in against)
    assert "12 pairs where the reward prefers the rejected response" in found.body


@pytest.mark.parametrize("name", HOSTILE)
def test_no_text_is_more_than_text(tmp_path: Path, name: str) -> None:
    text = HOSTILE[name]
    found = browser_section(hostile_run(tmp_path, {name: text, "other": "harmless"}))
    assert found is not None
    # Exactly the elements that the template has: a text that broke out would have added some.
    plain = browser_section(hostile_run(tmp_path / "plain", {name: "plain", "other": "harmless"}))
    assert plain is not None
    for tag in ("<script", "</script", "<!--", "<article", "<div"):
        assert found.body.count(tag) == plain.body.count(tag)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]", found.body)
    (one,) = island(found)["iterations"]
    assert len(one["pairs"]) == 2
    (pair,) = [pair for pair in one["pairs"] if pair["id"].startswith(f"{name}/")]
    shown = pair["prompt"]["text"]
    assert visible(text).startswith(shown)
    assert pair["prompt"]["more"] == len(text) - len(shown) if visible(text) == text else True
    assert pair["chosen"]["characters"] == len(text) + len(" chosen")
    assert (pair["prompt"]["more"] > 0) == (len(text) > 4000)
    found.body.encode("utf-8")  # no half of a surrogate pair


def test_however_large_the_texts_the_section_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser, "BUDGET", 60_000)
    texts = {f"{name}-{n}": f"{n} {text[:50_000]}" for n in range(8) for name, text in HOSTILE.items()}
    found = browser_section(hostile_run(tmp_path, texts))
    assert found is not None
    (one,) = island(found)["iterations"]
    assert len(one["pairs"]) >= 8
    assert len(ISLAND.findall(found.body)[0].encode("utf-8")) < 60_000 + 500


def test_the_first_texts_leave_room_for_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pair may have an eighth of its language's room, so that none pushes all others out."""
    monkeypatch.setattr(browser, "BUDGET", 100_000)
    found = browser_section(hostile_run(tmp_path, {str(n): f"{n} " + "<" * 100_000 for n in range(20)}))
    assert found is not None
    (one,) = island(found)["iterations"]
    assert len(one["pairs"]) >= 8
    assert all(pair["prompt"]["more"] > 90_000 for pair in one["pairs"])


def test_an_unreadable_table_is_named(tmp_path: Path) -> None:
    run = hostile_run(tmp_path, {"a": "b"})
    (run / "iteration-1" / "pairs.parquet").write_bytes(b"no parquet")
    with pytest.raises(InputError, match=r"iteration-1.pairs\.parquet"):
        browser_section(run)


def test_a_run_without_pairs_has_no_browser(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("languages: [en, de]\n", encoding="utf-8")
    assert browser_section(tmp_path) is None
    assert browser_section(hostile_run(tmp_path, {})) is None


@pytest.mark.parametrize(
    ("first", "second", "marked", "also_marked"),
    [
        ("one red apple", "one green apple", ["red"], ["green"]),
        ("same", "same", [], []),
        ("", "new words", [], ["new words"]),
        ("我喜欢红苹果。", "我喜欢绿苹果。", ["红"], ["绿"]),
        ("ฉันชอบแมว", "ฉันชอบหมา", ["แมว"], ["หมา"]),
        ("हिन्दी में लिखो", "हिन्दू में लिखो", ["हिन्दी"], ["हिन्दू"]),
        ("a, b", "c, d", ["a, b"], ["c, d"]),  # the comma alone is no agreement
        ("line one\nline two", "line one\nline three", ["two"], ["three"]),
        ("19 books", "20 books", ["19"], ["20"]),
    ],
)
def test_differences_are_words_or_characters(
    first: str, second: str, marked: list[str], also_marked: list[str]
) -> None:
    pieces, other = differing(first, second)
    assert (pieces[1::2], other[1::2]) == (marked, also_marked)


TEXTS = st.text(st.sampled_from("ab 我ก\n.é\u0301😀"), max_size=40)


@settings(max_examples=150, deadline=None)
@given(TEXTS, TEXTS)
def test_pieces_joined_are_the_text_and_what_is_common_is_common(first: str, second: str) -> None:
    pieces, other = differing(first, second)
    assert ("".join(pieces), "".join(other)) == (first, second)
    assert "".join("".join(pieces[::2]).split()) == "".join("".join(other[::2]).split())
    assert all(pieces[1::2])


def test_long_texts_of_few_words_are_compared_in_no_time() -> None:
    draw = Random(0)
    texts = [" ".join(draw.choice("ab") for _ in range(20_000)) for _ in range(2)]
    pieces, other = differing("begin " + texts[0] + " end", "begin " + texts[1] + " end")
    assert pieces[0].startswith("begin")
    assert pieces[-1].endswith("end")
    assert len(pieces) == len(other) == 3  # too much to look at closely: all between is one difference


def test_kinds_without_any_margin_leave_only_chance() -> None:
    rows = np.arange(5, 10)
    assert kinds(np.zeros(10), {}, rows, Random(0)).keys() == {AGAINST, CHANCE}
    assert sorted(kinds(np.zeros(10), {}, rows, Random(0))[CHANCE]) == rows.tolist()


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (23.0, "23"), (-16.0, "−16"), (0.37491, "0.375"), (-11.538, "−11.54"), (2.1e-5, "2.1e−05")],
)
def test_numbers_as_they_are_written(value: float | None, text: str) -> None:
    assert written(value) == text
