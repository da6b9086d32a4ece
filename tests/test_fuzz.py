"""Readers of what others wrote: each target of experiments/fuzz for a moment, and all that it ever found."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from lingualign.answers import boxed, last_number
from lingualign.config import DataConfig
from lingualign.errors import InputError
from lingualign.judges.grading import grading_templates, parse_grade
from lingualign.measures.answers.alpaca_files import read_annotations, read_gamed_baseline
from lingualign.measures.answers.files import match_answers, read_answers
from lingualign.measures.choices import read_choices
from lingualign.measures.language.confusion_benchmark import read_test_sets
from lingualign.measures.representation.parallel_text import read_parallel_text
from lingualign.measures.tasks.task_files import convert_mgsm, read_xcopa
from lingualign.models import base_folder, resolve_spec
from lingualign.paths import user_path
from lingualign.pipeline.folder import read_parts
from lingualign.pipeline.labelled import read_labelled
from lingualign.pipeline.manifest import Manifest
from lingualign.pipeline.validate import positions
from lingualign.prompts import read_prompts
from lingualign.prompts.files import language_files, read_rows
from lingualign.records import RESPONSES
from lingualign.report.source import TracedRun
from lingualign.servers.chat import Completion
from lingualign.servers.store import AnswerStore
from lingualign.settings import load_config
from lingualign.translation.mask import mask
from lingualign.yaml_files import YamlError, parse_yaml

FUZZ = Path(__file__).parents[1] / "experiments" / "fuzz"
TARGETS = sorted(path.stem for path in (FUZZ / "targets").glob("[a-z]*.py"))
EXAMPLES = 12  # of a target; `experiments/fuzz/run.py` tries thousands
BRACKETS = "[" * 100_000
DIGITS = "9" * 5000


@pytest.fixture(scope="module", autouse=True)
def fuzz_modules() -> Any:
    """`sandbox`, `drawing` and `targets`, as the runner imports them."""
    sys.path.insert(0, str(FUZZ))
    yield
    sys.path.remove(str(FUZZ))


@pytest.mark.parametrize("name", TARGETS)
def test_a_value_that_keeps_its_promise_or_an_input_error(name: str) -> None:
    target, sandbox = import_module(f"targets.{name}"), import_module("sandbox")

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(target.CASES)
    def check(case: Any) -> None:
        with sandbox.case_folder() as folder:
            target.check(case, folder)

    check()


def test_the_sandbox_notices_what_a_case_must_not_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox = import_module("sandbox")
    monkeypatch.chdir(tmp_path)
    for misdeed in (
        lambda folder: (folder.parent / "beside").touch(),
        lambda folder: (tmp_path / "elsewhere").write_text("x"),
        lambda folder: Path("relative").write_text("x"),
        lambda folder: Path("../made").mkdir(),
        lambda folder: (folder / "x").symlink_to(tmp_path) or (folder / "x" / "through").touch(),
        lambda folder: import_module("subprocess").run(["true"], check=True),
    ):
        with pytest.raises(sandbox.Finding), sandbox.case_folder() as folder:
            misdeed(folder)
    with pytest.raises(sandbox.Finding, match="seconds"), sandbox.case_folder(seconds=0.05):
        while True:
            pass


# What fuzzing found, by the reader that let it through.


def written(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    "content", [f'[{{"id": {DIGITS}}}]', BRACKETS, '[{"id": "\\ud83d"}]', '[{"\\uD800": 1}]']
)
def test_json_that_no_reader_of_ours_can_hold(content: str, tmp_path: Path) -> None:
    for name, text in (("a.json", content), ("a.jsonl", content.strip("[]") or content)):
        with pytest.raises(InputError, match=name):
            read_rows(written(tmp_path / name, text))


def test_conversations_in_cells_that_nest_too_deeply(tmp_path: Path) -> None:
    prompts = written(tmp_path / "p.csv", f"id,language,messages\n1,en,{BRACKETS}\n1,sw,x\n")
    with pytest.raises(InputError, match="line 2: field 'messages' is not a JSON list"):
        read_prompts(str(prompts), ["en", "sw"], "en", DataConfig())


def test_a_column_of_csv_that_is_there_twice(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'prompt' is there twice"):
        read_rows(written(tmp_path / "a.csv", "id,prompt,prompt\n1,a,b\n"))


@pytest.mark.parametrize("code", ["../en", "/tmp/en", "e" * 300, "en\0"])
def test_a_code_that_is_no_language_is_no_file(code: str, tmp_path: Path) -> None:
    written(tmp_path / "en.jsonl", "{}")
    with pytest.raises(InputError, match="not a known language code"):
        language_files(tmp_path / "folder", code)


@pytest.mark.parametrize("text", ["a\0b", "x" * 300, "~no-such-user/x", "\ud800"])
def test_texts_that_are_no_paths(text: str) -> None:
    for read in (user_path, resolve_spec, lambda path: load_config(f"{path}/run.yaml", [])):
        with pytest.raises(InputError):
            read(text)


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [1]\nb: [*a, *a]", "&a [*a]", BRACKETS, "a: !!int x", "a: !!bool maybe", "a: !!timestamp x",
        "a: !!binary é", f"a: {DIGITS}", "!!omap [1]", "!!python/object/apply:os.system [id]",
    ],
)  # fmt: skip
def test_yaml_that_is_refused(text: str) -> None:
    with pytest.raises(YamlError):
        parse_yaml(text)


def test_settings_that_nest_without_end(tmp_path: Path) -> None:
    for override in ("reward.options.context" + ".a" * 2000 + "=1", "a" + ".a" * 5000 + "=1"):
        with pytest.raises(InputError):
            load_config("icr", [override])


def test_damaged_tables(tmp_path: Path) -> None:
    row = dict(prompt_id="a", language="en", index=0, text="x", finish_reason="stop", num_tokens=1)
    for column in RESPONSES.names:
        path = tmp_path / "part-en-0.parquet"
        pq.write_table(pa.Table.from_pylist([row, {**row, column: None}], schema=RESPONSES), path)
        with pytest.raises(InputError, match=f"column {column} has rows without a value"):
            read_parts(tmp_path, RESPONSES)
    table = pa.Table.from_pylist([row], schema=RESPONSES)
    pq.write_table(table.append_column(table.schema.field(0), table.column(0)), path)
    with pytest.raises(InputError):
        read_parts(tmp_path, RESPONSES)


@pytest.mark.parametrize("unit", ["\\(", "\\[", "<!--", "$$", '{"', "``", "<<"])
def test_masking_takes_time_in_proportion_to_the_text(unit: str) -> None:
    """A quadratic search would take minutes, and the sandbox stops it after seconds."""
    with import_module("sandbox").case_folder():
        mask(unit * 50_000 + "x")


def test_extracting_answers_takes_time_in_proportion_to_the_text() -> None:
    with import_module("sandbox").case_folder():
        assert boxed("\\boxed{" * 50_000) is None
        assert boxed("\\boxed{" * 20_000 + "7}") == "7"
        assert parse_grade("[[" + "1" * 100_000) is None
        last_number("1,11" * 20_000 + "x")
        last_number("11," * 20_000)


def test_the_box_that_begins_last_counts() -> None:
    assert boxed(r"\boxed{1} then \boxed{a \boxed{2} b}") == "2"
    assert boxed(r"{ \boxed{3} \boxed{4") == "3"
    assert boxed(r"} \boxed{x{y}z} {") == "x{y}z"


def test_a_number_that_no_float_holds_is_its_digits() -> None:
    assert last_number("1" + "0" * 400) == "1" + "0" * 400
    assert last_number("9" * 400) != last_number("8" * 400)


def test_numbers_of_json_that_no_float_holds(tmp_path: Path) -> None:
    row = dict(instruction="x", output_1="a", output_2="b", preference=10**400)
    with pytest.raises(InputError, match="preference is 1000"):
        read_annotations(written(tmp_path / "a.json", json.dumps([row])))
    gamed = dict(preference=0.5, std_delta_len=float("inf"), instruction_difficulty=0.1, index=0)
    with pytest.raises(InputError, match="std_delta_len"):
        read_gamed_baseline(written(tmp_path / "g.json", json.dumps([gamed])))
    choices = [dict(id=1, language=code, scores=[10**400, 1]) for code in ("en", "sw")]
    with pytest.raises(InputError, match="scores"):
        read_choices(written(tmp_path / "c.json", json.dumps(choices)))


@pytest.mark.parametrize("label", [float("inf"), 7, -1])
def test_labels_of_xcopa_that_name_no_choice(label: float, tmp_path: Path) -> None:
    row = dict(premise="It rains.", choice1="a", choice2="b", question="cause", label=label)
    with pytest.raises(InputError, match="not a row of XCOPA"):
        read_xcopa(written(tmp_path / "x.jsonl", json.dumps(row)), "sw")


@pytest.mark.parametrize("content", [b"\xff", b"no tab\n", b"a\t" + DIGITS.encode()])
def test_files_of_mgsm_that_are_none(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        convert_mgsm(tmp_path / "none.tsv", tmp_path / "out.jsonl")
    with pytest.raises(InputError):
        convert_mgsm(written(tmp_path / "m.tsv", content), tmp_path / "out.jsonl")


def archive(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("../../monolingual/okapi/en.csv", content)
    return buffer.getvalue()


def test_zips_that_are_bombs_encrypted_or_of_an_unknown_method(tmp_path: Path) -> None:
    whole = archive(b"prompt,source,language\nx,okapi,en\n")
    assert [*read_test_sets(written(tmp_path / "s.zip", whole))] == [("okapi", "monolingual", "en")]
    assert [path.name for path in tmp_path.iterdir()] == ["s.zip"]  # nothing is unpacked
    central = whole.index(b"PK\x01\x02")
    encrypted = whole[: central + 8] + b"\x01" + whole[central + 9 :]
    unknown = whole[: central + 10] + b"\x63" + whole[central + 11 :]
    bomb = archive(bytes(150_000_000))
    long_cell = archive(b"prompt,source,language\n" + b"x" * 200_000)
    for content in (encrypted, unknown, bomb, long_cell):
        with pytest.raises(InputError, match="not a readable zip"):
            read_test_sets(written(tmp_path / "s.zip", content))


@pytest.mark.parametrize("content", [7, None, ["x"]])
def test_labelled_messages_that_are_no_text(content: Any, tmp_path: Path) -> None:
    row = dict(prompt="x", chosen=[dict(role="assistant", content=content)], rejected="y")
    with pytest.raises(InputError, match="'chosen'"):
        read_labelled(written(tmp_path / "l.jsonl", json.dumps(row)), "en")


@pytest.mark.parametrize("content", ["[]", "7", "{", BRACKETS, '{"base_model_name_or_path": 7}'])
def test_files_of_models_that_are_no_objects(content: str, tmp_path: Path) -> None:
    written(tmp_path / "adapter_config.json", content)
    with pytest.raises(InputError, match="adapter_config"):
        base_folder(tmp_path)
    (tmp_path / "adapter_config.json").unlink()
    written(tmp_path / "config.json", content)
    if content.startswith('{"'):
        assert positions(tmp_path) is None
    else:
        with pytest.raises(InputError, match=r"config\.json"):
            positions(tmp_path)


@pytest.mark.parametrize("content", ["[]", BRACKETS, "\udcff", '{"stages": []}'])
def test_run_folders_whose_files_are_others(content: str, tmp_path: Path) -> None:
    for name in ("config.yaml", "manifest.json"):
        (tmp_path / name).write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(InputError):
        Manifest.read(tmp_path / "manifest.json")
    with pytest.raises(InputError):
        TracedRun(tmp_path)


def test_kept_answers_of_other_types(tmp_path: Path) -> None:
    good = dict(key="a", name="x", text="m", finished=True, top_logprobs={"m": -0.1}, refused=False)
    for wrong in (dict(text=7), dict(top_logprobs="x"), dict(top_logprobs={"m": "x"}), dict(finished="yes")):
        path = written(tmp_path / "s.jsonl", json.dumps({**good, **wrong}) + "\n")
        with pytest.raises(InputError, match="line 1"), AnswerStore(path):
            pass
    with AnswerStore(written(tmp_path / "s.jsonl", json.dumps(good) + "\n")) as store:
        assert store.get("a") == Completion("m", True, {"m": -0.1})


def test_prompts_of_judges_that_are_no_text(tmp_path: Path) -> None:
    row = dict(name=["single-v1"], system_prompt="", prompt_template="x")
    with pytest.raises(InputError, match="line 1"):
        grading_templates(written(tmp_path / "p.jsonl", json.dumps(row)))


def test_parallel_text_in_no_language(tmp_path: Path) -> None:
    written(tmp_path / "en.txt", "x")
    with pytest.raises(InputError, match="no language is asked for"):
        read_parallel_text(tmp_path, [])


# Rows do not vanish: what is left out is counted, by the reason.


def test_rows_of_prompts_are_kept_or_counted(tmp_path: Path) -> None:
    rows = [
        dict(id=i, language=code, prompt=f"{i} {code}") for code in ("en", "sw", "fr", "EN") for i in range(3)
    ]
    file = written(
        tmp_path / "p.jsonl", "".join(json.dumps(row) + "\n" for row in rows[:-1] if row != rows[3])
    )
    found = read_prompts(str(file), ["en", "sw"], "en", DataConfig(allow_missing=True))
    assert {code: len(prompts) for code, prompts in found.by_language.items()} == {"en": 2, "sw": 2}
    assert found.left_out_rows == {"in fr": 3, "in EN": 2, "with an id that some language lacks": 1}


def test_answers_that_are_left_out_are_told_of(tmp_path: Path) -> None:
    ours = [dict(id=i, language=code, output="x") for i, code in ((1, "sw"), (2, "sw"), (1, "th"))]
    file = written(tmp_path / "a.json", json.dumps(ours))
    told: list[str] = []
    answers = read_answers(file, ["sw"], told.append)
    match_answers(answers, {"sw": answers["sw"][:1]}, allow_missing=True, warn=told.append)
    assert len(told) == 2 and "1 in th" in told[0] and "left out are 1 prompts" in told[1]
