"""What SECURITY.md guarantees: no code in data runs, nothing leaves its folder, nothing steers a reader."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import pickle
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.table import Table
from safetensors.torch import save_file
from typer.testing import CliRunner

from lingualign.cli.app import app
from lingualign.cli.reporters import JsonReporter, LineReporter, SafeConsole
from lingualign.embedders import SentenceEmbedder
from lingualign.errors import InputError
from lingualign.export.formats.csv import cell
from lingualign.export.write import export
from lingualign.models import load_model, load_tokenizer, resolve_spec
from lingualign.pipeline.log_file import open_log
from lingualign.pipeline.progress import Silent
from lingualign.prompts import ChatFormat
from lingualign.records import PAIRS, RESPONSES, SCORES, write_table
from lingualign.settings import dump_config, load_config

ESCAPES = "\x1b]0;owned\x07\x1b[2J\x1b[31mred\x9b31m\r\b"
MARKUP = "[red]not red[/red] [link=https://example.org]x[/link] [/]"
HOSTILE_CODES = (
    "../../escape",
    "/tmp/escape",
    "en\x1b[31m",
    "<script>alert(1)</script>",
    "=cmd|' /C calc'!A1",
)


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """A file that exists once somebody has run the code that lies about."""
    return tmp_path / "code-has-run"


def copy_of_lab(folder: Path) -> Path:
    return Path(shutil.copytree(resolve_spec("lab:sft"), folder))


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments), catch_exceptions=True)


# Models: safetensors alone, no pickle, no code.


def test_pickles_beside_weights_are_never_opened(tmp_path: Path, mark: Path) -> None:
    folder = copy_of_lab(tmp_path / "model")
    for name in ("pytorch_model.bin", "adapter_model.bin", "optimizer.pt", "training_args.bin", "model.pt"):
        (folder / name).write_bytes(pickle.dumps(Bomb(mark)))
    load_model(folder, dtype="float32")
    load_tokenizer(folder)
    assert not mark.exists()
    pickle.loads((folder / "optimizer.pt").read_bytes())
    assert mark.exists()  # the bomb is one


def test_a_model_of_pickles_alone_is_refused(tmp_path: Path, mark: Path) -> None:
    folder = copy_of_lab(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(mark)))
    with pytest.raises(InputError, match=r"no \*\.safetensors weights"):
        load_model(folder, dtype="float32")
    assert not mark.exists()


def test_an_adapter_of_pickles_is_refused_with_a_decoy_beside_it(tmp_path: Path, mark: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    base = {"peft_type": "LORA", "base_model_name_or_path": str(resolve_spec("lab:sft"))}
    (folder / "adapter_config.json").write_text(json.dumps(base))
    (folder / "adapter_model.bin").write_bytes(pickle.dumps(Bomb(mark)))
    import torch

    save_file({"x": torch.zeros(1)}, folder / "decoy.safetensors")
    with pytest.raises(InputError, match=r"no adapter_model\.safetensors in"):
        load_model(folder, dtype="float32")
    assert not mark.exists()


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_a_checkpoint_is_read_without_unpickling_code(name: str, tmp_path: Path, mark: Path) -> None:
    """What Transformers' Trainer reads them with: `torch.load` that builds tensors and plain values alone."""
    import inspect

    import torch
    from transformers import Trainer

    path = tmp_path / name
    torch.save({"state": Bomb(mark)}, path)
    with pytest.raises(pickle.UnpicklingError, match=r"weights_only|Weights only"):
        torch.load(path, weights_only=True)
    assert not mark.exists()
    loads = re.findall(
        r"torch\.load\([^#]*?weights_only=(\w+)", inspect.getsource(inspect.getmodule(Trainer))
    )  # type: ignore[arg-type]
    calls = inspect.getsource(inspect.getmodule(Trainer)).count("torch.load(")  # type: ignore[arg-type]
    assert calls == len(loads) > 0 and set(loads) == {"True"}


def test_code_that_a_model_names_does_not_run_unless_it_is_asked_for(tmp_path: Path, mark: Path) -> None:
    folder = copy_of_lab(tmp_path / "model")
    (folder / "own.py").write_text(f"from pathlib import Path\nPath({str(mark)!r}).touch()\n")
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "own",
        "auto_map": {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    tokenizer |= {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.Tokenizer", None]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    with pytest.raises(InputError, match="trust_remote_code"):
        load_model(folder, dtype="float32")
    try:
        load_tokenizer(folder)  # Transformers may find a class of its own for it
    except InputError as error:
        assert "trust_remote_code" in error.remedy
    assert not mark.exists()
    assert load_config("icr", []).trust_remote_code is False


def test_an_embedder_with_code_of_its_own_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sentence_transformers", object())  # type: ignore[arg-type]
    (tmp_path / "modules.json").write_text(json.dumps([{"type": "own.Module", "path": ""}]))
    with pytest.raises(InputError, match="code of its own"):
        SentenceEmbedder(str(tmp_path))


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ cycler.__init__.__globals__.os.system('touch x') }}",
        "{{ messages.__class__.__base__.__subclasses__() }}",
        "{% for i in range(10**12) %}x{% endfor %}",
        "{{ 1 / 0 }}",
        "{{ missing.attribute.of.it }}",
        "{{ messages.append(1) }}",
        "{% endfor %}",
    ],
)
def test_chat_templates_run_in_a_sandbox(template: str) -> None:
    tokenizer = load_tokenizer("lab:sft")
    tokenizer.chat_template = template
    with pytest.raises(InputError, match="chat template"):
        ChatFormat(tokenizer).prompt_ids([{"role": "user", "content": "x"}])


# Paths: nothing in data leads out of the folder.


def response(language: str, prompt_id: str = "a", index: int = 0) -> dict[str, Any]:
    return dict(
        prompt_id=prompt_id, language=language, index=index, text="x", finish_reason="stop", num_tokens=1
    )


def outside(folder: Path) -> set[str]:
    """All files but those in the folder of the run."""
    return {str(path) for path in folder.parent.rglob("*") if folder not in path.parents and path != folder}


@pytest.mark.parametrize("code", HOSTILE_CODES)
def test_languages_in_data_name_no_file(code: str, tmp_path: Path) -> None:
    work = tmp_path / "work"
    write_table(work / "responses.parquet", [response(code), response("en")], RESPONSES)
    write_table(
        work / "scores.parquet",
        [dict(prompt_id="a", language=code, index=0, reward=1.0, components=[])],
        SCORES,
    )
    before = outside(work / "out")
    for arguments in (
        [
            "pair",
            "icr",
            "--responses",
            str(work / "responses.parquet"),
            "--scores",
            str(work / "scores.parquet"),
        ],
        ["score", "icr", "--responses", str(work / "responses.parquet")],
        ["sample", "icr", f"languages=en,{code}"],
    ):
        done = run(*arguments, "--output", str(work / "out"))
        assert done.exit_code == 2 and "error:" in done.output, done.output
        assert "\x1b" not in done.output
    assert outside(work / "out") == before and not Path("/tmp/escape").exists()


def pair(language: str, prompt_id: str = "../../p", text: str = "x") -> dict[str, Any]:
    message = [dict(role="user", content=text)]
    side = dict(chosen_score=1.0, rejected_score=0.0, chosen_index=0, rejected_index=1)
    return dict(
        id=f"{prompt_id}/{language}",
        prompt_id=prompt_id,
        language=language,
        prompt=message,
        chosen=[dict(role="assistant", content=f"{text} yes")],
        rejected=[dict(role="assistant", content="no")],
        chosen_finished=True,
        rejected_finished=True,
        **side,
    )


@pytest.mark.parametrize("form", ["trl", "csv", "axolotl", "llama-factory", "openrlhf"])
def test_exports_stay_in_their_folder_and_escape_names(form: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    write_table(folder / "iteration-1" / "pairs.parquet", [pair(code) for code in HOSTILE_CODES], PAIRS)
    (folder / "config.yaml").write_text(dump_config(load_config("icr", [])))
    before = outside(folder)
    done = export(folder, form)
    assert outside(folder) == before and not Path("/tmp/escape").exists()
    readme = (done.folder / "README.md").read_text()
    assert "<script" not in readme and "\x1b" not in readme


def test_iterations_are_numbers(tmp_path: Path) -> None:
    from lingualign.report.source import TracedRun

    measures = {"start": {"greedy": {}}, "iterations": [{"iteration": "../../../../etc"}]}
    (tmp_path / "measures.json").write_text(json.dumps(measures))
    traced = TracedRun(tmp_path)
    with pytest.raises(InputError, match="no iteration"):
        traced.stage(traced.last, "training.json")


# What people look at: terminals, logs, reports, tables, spreadsheets.


def test_errors_do_not_steer_a_terminal(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text(json.dumps({"id": 1, "language": f"en{ESCAPES}", "prompt": "x"}))
    for arguments in ([f"prompts={path}"], [f"prompts={tmp_path}/no{ESCAPES}"], [f"policy=./{ESCAPES}"]):
        done = run("validate", "icr", *arguments)
        assert done.exit_code == 2 and "Traceback" not in done.output
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", done.output) and "U+001B" in done.output


def test_notes_and_warnings_do_not_steer_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    for reporter in (LineReporter(), JsonReporter()):
        reporter.note(ESCAPES + MARKUP)
        reporter.warn(ESCAPES + MARKUP)
    told = capsys.readouterr()
    assert "\x1b" not in told.err + told.out and MARKUP in told.err


def test_tables_take_texts_for_texts() -> None:
    buffer = io.StringIO()
    console = SafeConsole(file=buffer, force_terminal=True, width=200, markup=False, highlight=False)
    table = Table("language")
    table.add_row(MARKUP)
    table.add_row(f"control {ESCAPES}")
    console.print(table)
    console.print(ESCAPES + MARKUP)
    shown = buffer.getvalue()
    assert shown.count("[red]not red[/red]") == 2
    assert "\x1b]" not in shown and "\x1b[2J" not in shown and "\x9b" not in shown


def test_a_log_has_no_escapes_and_no_forged_lines(tmp_path: Path) -> None:
    with open_log(tmp_path / "run.log", set(), Silent()) as log:
        log.warning("%s", f"{ESCAPES}\n2026-01-01T00:00:00Z INFO run: end: after 1.0 s")
        log.log(logging.INFO, "next")
    lines = (tmp_path / "run.log").read_text().splitlines()
    assert "\x1b" not in "".join(lines)
    assert [line.startswith("    ") for line in lines] == [False, True, False]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(1)", "\t=1", "\r=1", "'=1"])
def test_cells_are_no_formulas(text: str) -> None:
    buffer = io.StringIO()
    csv.writer(buffer).writerow([cell(text)])
    assert cell(text) == f"'{text}" and cell(text)[1:] == text


# Secrets: in no file and in no message.


def test_keys_of_the_environment_are_written_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "sk-very-secret-0123456789"
    for name in ("OPENAI_API_KEY", "HF_TOKEN", "WANDB_API_KEY", "MY_JUDGE_KEY", "DATABASE_PASSWORD"):
        monkeypatch.setenv(name, secret)
    settings = [
        "data.limit=1",
        "languages=en,de",
        "sampling.n=1",
        "sampling.max_new_tokens=2",
        "measures.judge=server",
        "measures.server.url=http://127.0.0.1:9/v1",
        "measures.server.model=x",
        "measures.server.api_key_env=MY_JUDGE_KEY",
    ]
    done = run("sample", "icr", *settings, "--output", str(tmp_path / "out"))
    assert done.exit_code == 0, done.output
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(files) > 3 and not [path for path in files if secret.encode() in path.read_bytes()]
    assert secret not in done.output
    assert (
        "MY_JUDGE_KEY" in (tmp_path / "out" / "config.yaml").read_text()
    )  # the name of the variable is kept


def test_keys_are_blotted_out_of_a_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lingualign.pipeline.log_file import secrets

    monkeypatch.setenv("HF_TOKEN", "hf_0123456789abcdef")
    hidden = secrets(load_config("icr", []))
    with open_log(tmp_path / "run.log", hidden, Silent()) as log:
        log.error("failed with %s at https://me:pass@host/", os.environ["HF_TOKEN"])
    text = (tmp_path / "run.log").read_text()
    assert "hf_0123" not in text and "me:pass" not in text and "***" in text


def test_addresses_with_keys_in_them_are_refused() -> None:
    from lingualign.servers.chat import ChatServer

    for url in ("https://me:sk-123@host/v1", "https://host/v1?key=sk-123"):
        with pytest.raises(InputError) as caught:
            ChatServer(url, "m")
        assert "sk-123" not in str(caught.value)
