"""The command line: help, exit statuses, messages, JSON; wrong input is found before anything is touched."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.numpy import load_file
from typer.testing import CliRunner, Result

from lingualign.cli import app
from lingualign.pipeline.folder import part_files

FIXTURE = Path(__file__).parent / "fixtures" / "prompts"
COMMANDS = [
    "merge",
    "export",
    "report",
    "doctor",
    "init",
    "align",
    "compare",
    "validate",
    "sample",
    "score",
    "pair",
    "train",
    "measure",
    "recipes",
    "languages",
    "lab",
]
FamilyFolder = Callable[..., Path]


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def small(family_folder: FamilyFolder) -> list[str]:
    """Settings of a run that takes a second or two."""
    return [
        f"policy={family_folder('llama', 0)}",
        f"reference={family_folder('llama', 1)}",
        f"prompts={FIXTURE}",
        "languages=en,de,sw",
        "iterations=1",
        "measures.n=2",
        "measures.max_new_tokens=5",
        "measures.bootstrap=100",
        "sampling.n=2",
        "sampling.max_new_tokens=5",
        "sampling.chunk_prompts=3",
        "reward.chunk_prompts=4",
        "training.batch_pairs=8",
        "pairs.drop_truncated=false",
        "pairs.wrong_language=keep",
        "device=cpu",
        "dtype=float32",
    ]


def test_help_names_every_command_and_shows_examples() -> None:
    result = call("--help")
    assert result.exit_code == 0
    for command in COMMANDS:
        assert command in result.stdout
    assert "lingualign align icr policy=" in result.stdout
    assert "lingualign doctor run.yaml --estimate" in result.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    result = call(command, "--help")
    assert result.exit_code == 0
    assert "Usage" in result.stdout


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from lingualign.cli import app\n"
        "from typer.testing import CliRunner\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        "heavy = {'torch', 'transformers', 'datasets', 'pyarrow', 'numpy', 'pydantic'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_recipes_and_languages() -> None:
    assert "icr" in call("recipes").stdout
    explained = call("recipes", "icr").stdout
    assert "sampling.top_p=0.9" in explained
    assert "training.nll_weight" in explained
    assert "Swahili" in call("languages").stdout
    listed = json.loads(call("languages", "--json").stdout)
    assert {language["code"]: language["name"] for language in listed["languages"]}["sw"] == "Swahili"
    settings = json.loads(call("recipes", "icr", "--json").stdout)["settings"]
    assert all(setting["help"] for setting in settings)


def _error(*arguments: object) -> str:
    """The message of a command that must end with status 2."""
    result = call(*arguments)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    return result.stderr


@pytest.mark.parametrize(
    "command", ["align output=", "compare icr random output=", "report ", "export --to csv "]
)
def test_no_folder_can_have_a_name_so_long(command: str) -> None:
    assert "File name too long" in _error(*f"{command}{'x' * 300}".split())


def test_unknown_recipe_and_setting_suggest() -> None:
    assert "Did you mean icr?" in _error("align", "irc")
    assert "sampling.temperature" in _error("align", "sampling.temprature=1")
    assert "one recipe" in _error("align", "icr", "other")
    assert "There is no recipe 'nothing'" in _error("recipes", "nothing")


def test_k_below_two(tmp_path: Path) -> None:
    assert "sampling.n is 1" in _error("validate", "sampling.n=1", f"output={tmp_path / 'run'}")


def test_unknown_language_suggests() -> None:
    assert "Did you mean sw" in _error("validate", "languages=en,swa")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("prompts=nowhere", "nowhere: no such file or folder"),
        ("policy=nowhere", "nowhere: no such model folder"),
        ("languages=en,de,fr", "no file for fr"),
        ("measures.n=10", "none would be left to train on"),
        ("measures.judge=lab", "the held-out prompts are not the lab's"),
        ("measures.max_new_tokens=1000000", "leave none for the prompt"),
        ("data.max_prompt_tokens=1", "has more than 1 tokens"),
        ("data.labelled_pairs=nowhere.jsonl", "nowhere.jsonl"),
        (
            "measures.judge=reward-model measures.reward_model=x",
            "measures.reward_model: x has no config.json",
        ),
    ],
)
def test_wrong_input_ends_with_one_message_and_touches_nothing(
    small: list[str], tmp_path: Path, change: str, message: str
) -> None:
    for command in ("validate", "align"):
        error = _error(command, "icr", *small, *change.split(), f"output={tmp_path / 'run'}")
        assert message in error
        assert "  -> " in error  # the remedy
    assert list(tmp_path.iterdir()) == []


def _prompts(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for language, text in files.items():
        (folder / f"{language}.jsonl").write_text(text, encoding="utf-8")
    return folder


ROWS = "".join(f'{{"id": "{i}", "prompt": "Question {i}"}}\n' for i in range(5))


@pytest.mark.parametrize(
    ("german", "message"),
    [
        ('{"id": "0", "prompt": \n', "de.jsonl, line 1"),
        ('{"id": "0", "text": "hm"}\n', "prompt"),
        (ROWS + '{"id": "0", "prompt": "again"}\n', "'0' was used before"),
        (ROWS.replace('"Question 2"', '"  "'), "line 3"),
        (ROWS.replace('"4"', '"x"'), "de lacks 1 id (4) of en"),
    ],
)
def test_wrong_prompt_files_are_named_with_their_line(
    small: list[str], tmp_path: Path, german: str, message: str
) -> None:
    prompts = _prompts(tmp_path / "prompts", en=ROWS, de=german)
    error = _error(
        "validate", "icr", *small, "languages=en,de", f"prompts={prompts}", f"output={tmp_path / 'run'}"
    )
    assert message in error
    assert not (tmp_path / "run").exists()


def test_allow_missing_keeps_what_all_languages_have(small: list[str], tmp_path: Path) -> None:
    prompts = _prompts(tmp_path / "prompts", en=ROWS, de=ROWS.replace('"4"', '"x"'))
    arguments = ["icr", *small, "languages=en,de", f"prompts={prompts}", f"output={tmp_path / 'run'}"]
    assert "--allow-missing" in _error("validate", *arguments)
    result = call("validate", *arguments, "--allow-missing", "--json")
    assert result.exit_code == 0, result.output
    described = json.loads(result.stdout)
    assert (described["event"], described["prompts"], described["held_out_prompts"]) == ("validated", 2, 2)
    assert described["left_out_missing"] == 2


def test_different_vocabularies_and_missing_chat_template(
    small: list[str], tmp_path: Path, family_folder: FamilyFolder
) -> None:
    other = [f"reference={family_folder('gemma3', 0)}", f"output={tmp_path / 'run'}"]
    assert "vocabular" in _error("validate", "icr", *small, *other)
    bare = tmp_path / "bare"
    bare.mkdir()
    for path in family_folder("llama", 0).iterdir():
        if path.name != "chat_template.jinja":
            (bare / path.name).write_bytes(path.read_bytes())
    settings = json.loads((bare / "tokenizer_config.json").read_text())
    settings.pop("chat_template", None)
    (bare / "tokenizer_config.json").write_text(json.dumps(settings))
    arguments = ["validate", "icr", *small, f"policy={bare}", f"output={tmp_path / 'run'}"]
    assert "base_model_prompts=true" in _error(*arguments)
    assert call(*arguments, "base_model_prompts=true").exit_code == 0


def test_validate_writes_nothing(small: list[str], tmp_path: Path) -> None:
    result = call("validate", "icr", *small, f"output={tmp_path / 'run'}")
    assert result.exit_code == 0, result.output
    assert "Everything is in order." in result.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def finished(small: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """A finished run and what it printed."""
    folder = tmp_path_factory.mktemp("runs") / "small"
    return folder, call("align", "icr", *small, f"output={folder}")


def test_align_prints_a_line_a_stage_and_a_plain_table(finished: tuple[Path, Result]) -> None:
    folder, result = finished
    assert result.exit_code == 0, result.output
    for stage in ("responses", "scores", "health", "pairs", "reference", "model"):
        assert f"iteration-1/{stage}: " in result.stderr
    assert "Iteration 1 against the starting policy" in result.stdout
    assert "not an independent judge" in " ".join(result.stdout.split())
    assert "mean of targets" in result.stdout
    assert "\x1b" not in result.output
    assert str(folder / "iteration-1" / "model") in result.stdout


def test_align_again_says_so_as_json(finished: tuple[Path, Result], small: list[str]) -> None:
    folder, _ = finished
    result = call("align", folder / "config.yaml", "--json")
    assert result.exit_code == 0, result.output
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert {event["status"] for event in events if event["event"] == "stage"} == {"skipped"}
    assert events[-1]["event"] == "measures"
    assert events[-1]["iterations"] == json.loads((folder / "measures.json").read_text())["iterations"]


def test_another_configuration_or_changed_prompts_are_refused(
    finished: tuple[Path, Result], small: list[str], tmp_path: Path
) -> None:
    folder, _ = finished
    error = _error("align", folder / "config.yaml", "sampling.temperature=0.5")
    assert "made by another configuration: sampling.temperature was 0.9, now 0.5" in error
    prompts = _prompts(
        tmp_path / "prompts", **{code: (FIXTURE / f"{code}.jsonl").read_text() for code in ("en", "de", "sw")}
    )
    settings = [*small, f"prompts={prompts}", f"output={tmp_path / 'run'}"]
    assert call("align", "icr", *settings).exit_code == 0
    text = (prompts / "de.jsonl").read_text()
    (prompts / "de.jsonl").write_text(text.replace("Warum", "Wieso"))
    assert "iteration-1/responses had another prompts" in _error("align", "icr", *settings)


def test_config_yaml_repeats_the_run(finished: tuple[Path, Result], tmp_path: Path) -> None:
    folder, _ = finished
    assert call("align", folder / "config.yaml", f"output={tmp_path / 'again'}").exit_code == 0
    for name in ("iteration-1/pairs.parquet", "measures.json"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()
    one, other = (
        load_file(path / "iteration-1/model/model.safetensors") for path in (folder, tmp_path / "again")
    )
    assert one.keys() == other.keys()
    assert all((one[name] == other[name]).all() for name in one)


def test_a_corrupt_part_is_named_and_made_again_on_request(
    finished: tuple[Path, Result], small: list[str], tmp_path: Path
) -> None:
    folder, _ = finished
    part = part_files(folder / "iteration-1" / "responses")[1]
    damaged = {path: path.read_bytes() for path in (part, folder / "iteration-1" / "pairs.json")}
    for path, whole in damaged.items():
        path.write_bytes(whole[: len(whole) // 2])
    config = folder / "config.yaml"
    error = _error("align", config)
    assert all(f"{path}: damaged" in error for path in damaged)
    assert "--recompute-corrupt" in error
    result = call("align", config, "--recompute-corrupt")
    assert result.exit_code == 0, result.output
    assert damaged == {path: path.read_bytes() for path in damaged}


def test_one_stage_at_a_time_gives_the_pairs_of_the_whole(
    finished: tuple[Path, Result], small: list[str], tmp_path: Path
) -> None:
    folder, _ = finished
    iteration, work = folder / "iteration-1", tmp_path / "work"
    scored = call("score", "icr", *small, "--responses", iteration / "responses", "--output", work)
    assert scored.exit_code == 0, scored.output
    paired = call(
        "pair", "icr", *small, "--responses", iteration / "responses", "--scores", work / "scores", "-o", work
    )
    assert paired.exit_code == 0, paired.output
    assert (work / "pairs.parquet").read_bytes() == (iteration / "pairs.parquet").read_bytes()
    trained = call("train", "icr", *small, "--pairs", work / "pairs.parquet", "--output", work)
    assert trained.exit_code == 0, trained.output
    one, other = (load_file(path / "model" / "model.safetensors") for path in (iteration, work))
    assert all((one[name] == other[name]).all() for name in one)
    measured = call("measure", "icr", *small, "--model", work / "model", "--output", work)
    assert measured.exit_code == 0, measured.output
    assert "mean of targets" in measured.stdout
    whole = json.loads((folder / "measures.json").read_text())["iterations"][0]
    alone = json.loads((work / "measures.json").read_text())["iterations"][0]
    assert {name: alone[name] for name in ("sampled", "greedy")} == {
        name: whole[name] for name in ("sampled", "greedy")
    }


def test_sampling_alone_gives_the_responses_of_the_first_iteration(small: list[str], tmp_path: Path) -> None:
    arguments = ["sample", "icr", *small, "data.limit=3", "--output", tmp_path / "work"]
    assert call(*arguments).exit_code == 0
    parts = part_files(tmp_path / "work" / "responses")
    assert [path.name for path in parts] == [f"part-{code}-000000.parquet" for code in ("de", "en", "sw")]
    assert "done before" in call(*arguments).stderr


def test_scoring_responses_to_other_prompts_is_refused(
    finished: tuple[Path, Result], small: list[str], tmp_path: Path
) -> None:
    folder, _ = finished
    prompts = _prompts(tmp_path / "prompts", en=ROWS, de=ROWS, sw=ROWS)
    error = _error(
        "score",
        "icr",
        *small,
        f"prompts={prompts}",
        "--responses",
        folder / "iteration-1/responses",
        "-o",
        tmp_path / "w",
    )
    assert "prompts are not in" in error
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
    ("how", "once_there"),
    [
        (signal.SIGINT, "iteration-1/responses/part-*.parquet"),
        (signal.SIGKILL, "iteration-1/checkpoints/checkpoint-*/trainer_state.json"),
    ],
)
def test_a_run_that_was_stopped_ends_as_the_undisturbed_one(
    finished: tuple[Path, Result], small: list[str], tmp_path: Path, how: signal.Signals, once_there: str
) -> None:
    folder, output = finished[0], tmp_path / "run"
    arguments = ["align", "icr", *small, "training.save_steps=1", f"output={output}"]
    # A shell that runs the tests in the background has its jobs ignore Ctrl-C, and they pass that on.
    heeds = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    command = [sys.executable, "-c", f"{heeds}; from lingualign.cli import main; main()", *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        deadline = time.monotonic() + 300
        while not any(output.glob(once_there)):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.send_signal(how)
        _, stderr = process.communicate(timeout=300)
    if how is signal.SIGINT:
        assert process.returncode == 130
        assert stderr.endswith("interrupted; run the same command to resume\n")
    assert not (output / "measures.json").exists()
    assert call(*arguments).exit_code == 0
    for name in ("iteration-1/pairs.parquet", "measures.json"):
        assert (output / name).read_bytes() == (folder / name).read_bytes()
    one, other = (load_file(path / "iteration-1/model/model.safetensors") for path in (folder, output))
    assert all((one[name] == other[name]).all() for name in one)
