from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict

from lingualign.config import DataConfig
from lingualign.errors import InputError
from lingualign.prompts import ParallelPrompts, Prompt, read_prompts

ULTRAFEEDBACK = Path(__file__).parents[1] / ".." / "shared" / "data" / "ultrafeedback"
LANGUAGES = ["en", "de", "th"]
TEXTS = {
    "en": ["Name a river.", "First line.\n\n\nLast line, after two empty ones. 🌊", 'Say "hello", please'],
    "de": ["Nenne einen Fluss.", "Erste Zeile.\n\n\nLetzte, nach zwei leeren. 🌊", 'Sag bitte "hallo", ja'],
    "th": ["บอกชื่อแม่น้ำ", "บรรทัดแรก\n\n\nบรรทัดสุดท้าย 🌊", "พูดว่า สวัสดี"],
}
Rows = list[dict[str, Any]]


def text_rows(language: str) -> Rows:
    return [{"id": f"p{index}", "prompt": text} for index, text in enumerate(TEXTS[language])]


def message_rows(language: str) -> Rows:
    return [
        {
            "id": f"p{index}",
            "messages": [
                {"role": "system", "content": "Be kind."},
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": "Hello!"},
                {"role": "user", "content": text},
            ],
        }
        for index, text in enumerate(TEXTS[language])
    ]


def with_language(rows: Rows, language: str) -> Rows:
    return [{**row, "language": language} for row in rows]


def write(path: Path, rows: Rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows, ensure_ascii=False, indent=1), encoding="utf-8")
    elif path.suffix == ".csv":
        cells = [
            {key: value if isinstance(value, str) else json.dumps(value) for key, value in row.items()}
            for row in rows
        ]
        with path.open("w", encoding="utf-8", newline="") as handle:
            writer = csv.DictWriter(handle, list(rows[0]))
            writer.writeheader()
            writer.writerows(cells)
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        Dataset.from_list(rows).save_to_disk(path)


def read(source: Path, languages: Sequence[str] = LANGUAGES, **data: Any) -> ParallelPrompts:
    return read_prompts(str(source), list(languages), languages[0], DataConfig(**data))


def failure(source: Path, languages: Sequence[str] = LANGUAGES, **data: Any) -> InputError:
    with pytest.raises(InputError) as error:
        read(source, languages, **data)
    return error.value


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of parallel JSON lines; tests spoil one of its files."""
    for language in LANGUAGES:
        write(tmp_path / f"{language}.jsonl", text_rows(language))
    return tmp_path


# Formats


@pytest.mark.parametrize("make_rows", [text_rows, message_rows])
@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".parquet", ""])
@pytest.mark.parametrize("layout", ["a file a language", "one file with a language column"])
def test_every_format_and_layout_gives_the_same_prompts(
    tmp_path: Path, suffix: str, layout: str, make_rows: Any
) -> None:
    if layout == "a file a language":
        source = tmp_path
        for language in LANGUAGES:
            write(source / f"{language}{suffix}", make_rows(language))
    else:
        source = tmp_path / f"prompts{suffix}"
        write(source, [row for name in LANGUAGES for row in with_language(make_rows(name), name)])
    prompts = read(source)
    assert prompts.ids == ["p0", "p1", "p2"]
    assert list(prompts.by_language) == LANGUAGES
    for language in LANGUAGES:
        assert [prompt.messages[-1]["content"] for prompt in prompts.by_language[language]] == TEXTS[language]
        assert {prompt.language for prompt in prompts.by_language[language]} == {language}
        roles = [message["role"] for message in prompts.by_language[language][0].messages]
        assert roles == (["user"] if make_rows is text_rows else ["system", "user", "assistant", "user"])


def test_dataset_dict_with_a_split_a_language(tmp_path: Path) -> None:
    splits = {language: Dataset.from_list(text_rows(language)) for language in LANGUAGES}
    DatasetDict(splits).save_to_disk(tmp_path / "saved")
    assert read(tmp_path / "saved").get("p1", "de").messages[0]["content"] == TEXTS["de"][1]
    assert "no prompts in sw; it has de, en, th" in failure(tmp_path / "saved", ["en", "sw"]).message


def test_dataset_dict_with_one_split_and_a_language_column(tmp_path: Path) -> None:
    rows = [row for language in LANGUAGES for row in with_language(text_rows(language), language)]
    DatasetDict({"train": Dataset.from_list(rows)}).save_to_disk(tmp_path / "saved")
    assert read(tmp_path / "saved").get("p2", "th").messages[0]["content"] == TEXTS["th"][2]


def test_dataset_dict_with_other_splits_is_an_error(tmp_path: Path) -> None:
    split = Dataset.from_list(with_language(text_rows("en"), "en"))
    DatasetDict({"train": split, "test": split}).save_to_disk(tmp_path / "saved")
    assert "splits train, test" in failure(tmp_path / "saved").message


def test_field_names_are_found_or_given(tmp_path: Path) -> None:
    write(tmp_path / "en.jsonl", [{"instruction_id": 7, "instruction": "Name a river."}])
    write(tmp_path / "de.jsonl", [{"prompt_id": "7", "question": "Nenne einen Fluss."}])
    assert read(tmp_path, ["en", "de"]).ids == ["7"]
    write(tmp_path / "all.csv", [{"key": "7", "text": "Name a river.", "lang": "en"}])
    prompts = read(tmp_path / "all.csv", ["en"], id_field="key", prompt_field="text", language_field="lang")
    assert prompts.get("7", "en").messages[0]["content"] == "Name a river."


def test_alpaca_input_is_part_of_the_instruction(tmp_path: Path) -> None:
    write(
        tmp_path / "en.jsonl",
        [
            {"id": "a", "instruction": "Translate.", "input": "Guten Tag"},
            {"id": "b", "instruction": "Name a river.", "input": ""},
        ],
    )
    contents = [prompt.messages[0]["content"] for prompt in read(tmp_path, ["en"]).by_language["en"]]
    assert contents == ["Translate.\nGuten Tag", "Name a river."]


def test_byte_order_mark_blank_lines_and_line_separators(folder: Path) -> None:
    rows = [json.dumps(row, ensure_ascii=False) for row in text_rows("en")]
    rows[0] = rows[0].replace("river", "river\u2028\u0085")
    (folder / "en.jsonl").write_text("\n\n".join(rows) + "\r\n\n", encoding="utf-8-sig")
    assert read(folder).get("p0", "en").messages[0]["content"] == "Name a river\u2028\u0085."


def test_languages_outside_the_run_are_ignored(folder: Path) -> None:
    (folder / "fr.jsonl").write_text("not JSON at all", encoding="utf-8")
    assert list(read(folder, ["en", "de"]).by_language) == ["en", "de"]


def test_target_rows_follow_the_order_of_the_source(folder: Path) -> None:
    write(folder / "de.jsonl", text_rows("de")[::-1])
    assert [prompt.id for prompt in read(folder).by_language["de"]] == ["p0", "p1", "p2"]


# Content


@pytest.mark.parametrize(
    "text",
    [
        "Hi",
        "word " * 4000,
        "ما هي عاصمة مصر؟\u200f (القاهرة)",
        "नमस्ते क्षत्रिय",  # combining signs
        "e\u0301 is not \u00e9 here",  # two normal forms stay what they are
        "family: 👨‍👩‍👧‍👦, flag: 🇹🇿",
        "one\n\n\ntwo\r\n\r\nthree\t",
        "  spaces around  ",
        "{{ not a template }} <|im_start|>",
    ],
)
@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".parquet", ""])
def test_prompts_are_taken_as_they_are(tmp_path: Path, suffix: str, text: str) -> None:
    write(tmp_path / f"en{suffix}", [{"id": "1", "prompt": text}])
    assert read(tmp_path, ["en"]).by_language["en"][0].messages[0]["content"] == text


def test_untranslated_rows_are_kept_and_can_be_counted(folder: Path) -> None:
    write(folder / "de.jsonl", [*text_rows("de")[:2], text_rows("en")[2]])
    prompts = read(folder)
    assert len(prompts) == 3
    assert prompts.untranslated("de", "en") == ["p2"]
    assert prompts.untranslated("th", "en") == []


def test_real_prompts() -> None:
    if not ULTRAFEEDBACK.is_dir():
        pytest.skip(f"the real prompts of {ULTRAFEEDBACK} are not here")
    languages = ["en", "bn", "de", "es", "fr", "ru", "sw", "th", "zh"]
    prompts = read(ULTRAFEEDBACK, languages)
    assert len(prompts) == 300
    raw = [
        json.loads(line) for line in (ULTRAFEEDBACK / "th.jsonl").read_bytes().decode().split("\n") if line
    ]
    for row in raw:
        assert prompts.get(row["instruction_id"], "th").messages[0]["content"] == row["instruction"]
    assert all(len(prompts.untranslated(language, "en")) <= 12 for language in languages[1:])


# ParallelPrompts


def test_select_slice_and_get(folder: Path) -> None:
    prompts = read(folder)
    chosen = prompts.select(["p2", "p0"])
    assert chosen.ids == ["p2", "p0"]
    assert chosen.get("p0", "th") == prompts.get("p0", "th")
    assert prompts.slice(1, 3).ids == ["p1", "p2"]
    assert prompts.slice(2, 10).ids == ["p2"]
    with pytest.raises(KeyError):
        prompts.select(["p7"])


def test_misaligned_prompts_cannot_be_made() -> None:
    prompt = Prompt("a", "en", ({"role": "user", "content": "Hi"},))
    with pytest.raises(ValueError, match="en are not aligned"):
        ParallelPrompts(["b"], {"en": [prompt]})


# Bad input: one message each, with the place and the remedy


def test_missing_source(tmp_path: Path) -> None:
    error = failure(tmp_path / "nowhere")
    assert f"{tmp_path / 'nowhere'}: no such file or folder" in error.message
    assert error.remedy


def test_missing_language_file(folder: Path) -> None:
    (folder / "de.jsonl").unlink()
    error = failure(folder)
    assert "no file for de (it has en, th)" in error.message
    assert "de.jsonl" in error.remedy


def test_folder_without_prompt_files(tmp_path: Path) -> None:
    assert "no prompt file at all" in failure(tmp_path).message


def test_two_files_for_one_language(folder: Path) -> None:
    write(folder / "de.csv", text_rows("de"))
    assert "de.jsonl and de.csv" in failure(folder).message


def test_unreadable_file(folder: Path) -> None:
    (folder / "de.jsonl").unlink()
    (folder / "de.jsonl").mkdir()  # works as root too, whom no permission stops
    assert f"{folder / 'de.jsonl'} cannot be read" in failure(folder).message


def test_unknown_kind_of_file(tmp_path: Path) -> None:
    (tmp_path / "prompts.xlsx").write_bytes(b"PK")
    error = failure(tmp_path / "prompts.xlsx")
    assert "prompts.xlsx" in error.message
    assert ".jsonl, .json, .csv, .parquet" in error.remedy


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv"])
def test_empty_file(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"en{suffix}").write_text("\n", encoding="utf-8")
    assert "is empty" in failure(tmp_path, ["en"]).message


def test_malformed_json_line(folder: Path) -> None:
    with (folder / "de.jsonl").open("a", encoding="utf-8") as handle:
        handle.write('\n\n{"id": "p3", "prompt": "offen}')
    error = failure(folder)
    problem = "malformed JSON at column 24 (Unterminated string)"
    assert error.message == f"{folder / 'de.jsonl'}, line 5: {problem}."


@pytest.mark.parametrize(("line", "kind"), [("[1]", "a list"), ('"text"', "a string"), ("3", "a number")])
def test_json_line_that_is_no_object(folder: Path, line: str, kind: str) -> None:
    (folder / "de.jsonl").write_text(line, encoding="utf-8")
    assert f"line 1: an object with named fields is expected, not {kind}" in failure(folder).message


def test_json_lines_under_the_name_of_json(folder: Path) -> None:
    (folder / "de.jsonl").rename(folder / "de.json")
    error = failure(folder)
    assert f"{folder / 'de.json'}: malformed JSON" in error.message
    assert ".jsonl" in error.remedy


def test_json_that_is_no_list(folder: Path) -> None:
    (folder / "de.jsonl").unlink()
    (folder / "de.json").write_text('{"prompts": []}', encoding="utf-8")
    assert "a list of objects is expected, not an object" in failure(folder).message


def test_text_that_is_not_utf8(folder: Path) -> None:
    content = (folder / "de.jsonl").read_bytes()
    (folder / "de.jsonl").write_bytes(content + '\n{"id": "x", "prompt": "größer"}'.encode("latin-1"))
    assert "de.jsonl, line 4: not UTF-8 text" in failure(folder).message


def test_half_a_surrogate_pair(folder: Path) -> None:
    (folder / "de.jsonl").write_text('{"id": "p0", "prompt": "\\ud83c!"}', encoding="utf-8")
    assert "line 1: field 'prompt' has half a surrogate pair" in failure(folder).message


def test_malformed_csv(tmp_path: Path) -> None:
    (tmp_path / "en.csv").write_text('id,prompt\np0,fine\np1,"open\n', encoding="utf-8")
    assert "malformed CSV" in failure(tmp_path, ["en"]).message


def test_csv_with_too_many_cells_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "en.csv").write_text('id,prompt\np0,"two\nlines"\n\np1,no, quotes\n', encoding="utf-8")
    assert "en.csv, line 5: more cells" in failure(tmp_path, ["en"]).message


def test_csv_rows_are_placed_by_their_first_line(tmp_path: Path) -> None:
    (tmp_path / "en.csv").write_text('id,prompt\np0,fine\np0,"two\nlines"\n', encoding="utf-8")
    assert "en.csv, line 3: the id 'p0' was used before: " in failure(tmp_path, ["en"]).message


def test_broken_parquet(tmp_path: Path) -> None:
    (tmp_path / "en.parquet").write_bytes(b"PAR1 and no more")
    assert "en.parquet: not a readable Parquet file" in failure(tmp_path, ["en"]).message


def test_broken_saved_dataset(tmp_path: Path) -> None:
    write(tmp_path / "en", text_rows("en"))
    next((tmp_path / "en").glob("*.arrow")).unlink()
    assert "en: not a readable datasets folder" in failure(tmp_path, ["en"]).message


@pytest.mark.parametrize(
    ("row", "message", "setting"),
    [
        ({"prompt": "Hallo"}, "field 'id' is missing; it has prompt", "data.id_field"),
        ({"id": "p9", "text": "Hallo"}, "field 'prompt' is missing; it has id, text", "data.prompt_field"),
        ({"id": None, "prompt": "Hallo"}, "field 'id' is empty", "data.id_field"),
        ({"id": "p9", "prompt": None}, "field 'prompt' is empty", "data.prompt_field"),
    ],
)
def test_missing_field(folder: Path, row: dict[str, Any], message: str, setting: str) -> None:
    write(folder / "de.jsonl", [*text_rows("de"), row])
    error = failure(folder)
    assert error.message == f"{folder / 'de.jsonl'}, line 4: {message}."
    assert setting in error.remedy


def test_no_known_field_at_all(folder: Path) -> None:
    write(folder / "de.jsonl", [{"key": 1, "text": "Hallo"}])
    error = failure(folder)
    assert (
        "line 1: no field with an id, such as id, prompt_id, instruction_id; it has key, text"
        in error.message
    )
    assert "data.id_field=NAME" in error.remedy


def test_named_field_that_does_not_exist(folder: Path) -> None:
    assert (
        "en.jsonl, line 1: field 'key' is missing; it has id, prompt"
        in failure(folder, id_field="key").message
    )


def test_one_file_without_a_language_column(tmp_path: Path) -> None:
    write(tmp_path / "all.jsonl", text_rows("en"))
    error = failure(tmp_path / "all.jsonl")
    assert "all.jsonl, line 1: field 'language' is missing; it has id, prompt" in error.message
    assert "data.language_field=NAME" in error.remedy
    assert "a file a language" in error.remedy


def test_one_file_without_a_language_of_the_run(tmp_path: Path) -> None:
    write(
        tmp_path / "all.jsonl",
        with_language(text_rows("en"), "en") + with_language(text_rows("de"), "German"),
    )
    assert "no prompts in de, th; it has German, en" in failure(tmp_path / "all.jsonl").message


def test_duplicate_id(folder: Path) -> None:
    write(folder / "de.jsonl", [*text_rows("de"), text_rows("de")[1]])
    path = folder / "de.jsonl"
    assert failure(folder).message == f"{path}, line 4: the id 'p1' was used before: {path}, line 2."


@pytest.mark.parametrize("value", [1.5, True, ["p0"], {"id": 1}])
def test_id_that_is_no_id(folder: Path, value: Any) -> None:
    write(folder / "de.jsonl", [{"id": value, "prompt": "Hallo"}])
    assert "line 1: field 'id' is" in failure(folder).message


@pytest.mark.parametrize("empty", ["", "  \n\t "])
@pytest.mark.parametrize("field", ["prompt", "messages", "id"])
def test_empty_prompt_or_id(folder: Path, field: str, empty: str) -> None:
    row: dict[str, Any] = {"id": "p9", "prompt": "Hallo"}
    if field == "messages":
        rows = [{"id": "p0", "messages": [{"role": "user", "content": empty}]}]
    else:
        rows = [*text_rows("de"), {**row, field: empty}]
    write(folder / "de.jsonl", rows)
    error = failure(folder)
    assert f"de.jsonl, line {len(rows)}: field {field!r} is empty" in error.message
    assert error.remedy


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ([], "neither text nor a list of messages"),
        (7, "neither text nor a list of messages"),
        ("not JSON", "not a JSON list"),
        (["Hi"], "not {role, content}"),
        ([{"role": "user", "content": [{"type": "text", "text": "Hi"}]}], "not {role, content}"),
        ([{"role": "human", "content": "Hi"}], "role 'human'"),
        (
            [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}],
            "ends with a message",
        ),
    ],
)
def test_messages_that_are_no_prompt(folder: Path, messages: Any, problem: str) -> None:
    write(folder / "de.jsonl", [{"id": "p0", "messages": messages}])
    error = failure(folder)
    assert "de.jsonl, line 1: field 'messages'" in error.message
    assert problem in error.message


def test_ids_that_do_not_match(folder: Path) -> None:
    write(folder / "de.jsonl", [{"id": f"q{index}", "prompt": "Hallo"} for index in range(4)])
    write(folder / "th.jsonl", text_rows("th")[:2])
    error = failure(folder)
    assert "de lacks 3 ids (p0, p1, p2) of en" in error.message
    assert "de has 4 ids (q0, q1, q2, ...) that en lacks" in error.message
    assert "th lacks 1 id (p2) of en" in error.message
    assert error.remedy == "Mend the files."


def test_ids_that_match_in_part_can_be_kept(folder: Path) -> None:
    write(folder / "th.jsonl", text_rows("th")[:2])
    assert "keep the 2 ids that all have: --allow-missing" in failure(folder).remedy


def test_allow_missing_keeps_what_all_languages_have(folder: Path) -> None:
    write(folder / "de.jsonl", [*text_rows("de")[1:], {"id": "q", "prompt": "Hallo"}])
    write(folder / "th.jsonl", text_rows("th")[:2])
    prompts = read(folder, allow_missing=True)
    assert prompts.ids == ["p1"]
    assert prompts.left_out == ("p0", "p2", "q")


def test_allow_missing_with_nothing_in_common(folder: Path) -> None:
    write(folder / "de.jsonl", [{"id": "q", "prompt": "Hallo"}])
    assert "no id occurs in every language" in failure(folder, allow_missing=True).message


def test_unknown_language(folder: Path) -> None:
    error = failure(folder, ["en", "german"])
    assert "'german'" in error.message
    assert "Did you mean de" in error.remedy


def test_reading_touches_nothing(folder: Path) -> None:
    write(folder / "saved", [row for name in LANGUAGES for row in with_language(text_rows(name), name)])
    before = sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*"))
    read(folder)
    read(folder / "saved")
    assert sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*")) == before
