"""`lingualign init`: flags, questions at a terminal, what is chosen for a model, and the file it writes."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pexpect
import pytest
from typer.testing import CliRunner, Result

from lingualign.cli import app
from lingualign.config import RunConfig
from lingualign.errors import InputError
from lingualign.pipeline.validate import validate
from lingualign.settings import load_config
from lingualign.setup import answers
from lingualign.setup.commented import TOUCHED, commented_yaml, description_of, one_line
from lingualign.setup.lab_copy import copy_lab
from lingualign.setup.machine import Machine
from lingualign.setup.questions import Asker
from lingualign.setup.shape import Shape
from lingualign.setup.suggest import Room, changed, room_of, suggest

FIXTURE = Path(__file__).parent / "fixtures" / "prompts"
FamilyFolder = Callable[..., Path]
LARGE = Shape(8_000_000_000, 2, 32, 4096, 14336, 1024, 128256, 8192, "LlamaForCausalLM")


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["init", *[str(argument) for argument in arguments]])


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The lab as somebody's own files: `policy`, `reference` and `prompts`."""
    return copy_lab(tmp_path_factory.mktemp("lab") / "mine", prompts=15)


def flags(mine: dict[str, str]) -> list[str]:
    return [part for name, path in mine.items() for part in (f"--{name}", path)]


def test_without_an_answer_it_is_a_run_of_the_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = call()
    assert result.exit_code == 0, result.output
    config = load_config("run.yaml", [])
    assert config == load_config("icr", ["output=runs/icr"])
    assert validate(config).judge == "lab"


def test_flags_make_a_run_that_is_valid_and_fits_the_model(
    mine: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = call("own.yaml", *flags(mine), "--languages", "sw, de")
    assert result.exit_code == 0, result.output
    config = load_config("own.yaml", [])
    assert config.languages == ["en", "sw", "de"]
    assert config.sampling.max_new_tokens == 512  # half of what the model takes
    assert config.measures.n == 3  # a fifth of the prompts
    assert config.sampling.n == 10  # the recipe's
    assert len(validate(config).prompts.heldout) == 3
    text = Path("own.yaml").read_text(encoding="utf-8")
    assert "# Chosen here: half of the 1024 tokens that the model takes." in text
    assert "measures.n: 3 (a fifth of 15 prompts)" in result.stdout


def test_a_file_is_never_written_over_unless_told_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run.yaml").write_text("mine", encoding="utf-8")
    result = call("--yes")
    assert result.exit_code == 2
    assert "--force" in result.stderr
    assert Path("run.yaml").read_text(encoding="utf-8") == "mine"
    assert call("--yes", "--force").exit_code == 0
    assert load_config("run.yaml", []).policy == "lab:aligned"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--recipe", "irc"], "Did you mean icr?"),
        (["--policy", "nowhere"], "--policy nowhere: nowhere: no such model folder"),
        (["--languages", "en,swa"], "Did you mean sw (Swahili)?"),
        (["--languages", "en,fr"], "the lab has no fr"),
        (["--languages", "en"], "at least one language to improve"),
        (["--prompts", "nowhere"], "nowhere: no such file or folder"),
        (["--judge", "me"], "'me' is no judge"),
        (["--judge", "server"], "--judge-url"),
        (["--judge", "server", "--judge-url", "localhost"], "no address"),
        (["--source-language", "xx"], "'xx'"),
        (["run.txt"], "has to end in .yaml"),
    ],
)
def test_a_wrong_flag_ends_with_one_sentence_and_nothing_written(
    wrong: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = call(*wrong, "--yes")
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_only_the_user_knows_has_to_be_given(
    mine: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "Give it with --reference" in call("--policy", mine["policy"]).stderr
    assert "Give it with --prompts" in call(*flags(mine)[:4]).stderr
    assert "Give it with --labelled-pairs" in call(*flags(mine), "--recipe", "clo").stderr
    assert list(tmp_path.iterdir()) == []


def test_a_method_without_a_reference_gets_none(
    mine: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = call("--policy", mine["policy"], "--prompts", mine["prompts"], "--recipe", "cm-align")
    assert result.exit_code == 0, result.output
    assert load_config("run.yaml", []).reference == mine["policy"]


def test_a_recipe_of_labelled_pairs_takes_them(
    mine: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = Path(mine["prompts"], "en.jsonl").read_text(encoding="utf-8").splitlines()
    labelled = [
        json.dumps({"prompt": json.loads(row)["prompt"], "chosen": "Yes.", "rejected": "No."}) for row in rows
    ]
    Path("labelled.jsonl").write_text("\n".join(labelled), encoding="utf-8")
    result = call(*flags(mine), "--recipe", "clo", "--labelled-pairs", "labelled.jsonl")
    assert result.exit_code == 0, result.output
    assert load_config("run.yaml", []).data.labelled_pairs == "labelled.jsonl"
    text = Path("run.yaml").read_text(encoding="utf-8")
    assert "temperature:" not in text  # nothing is sampled
    assert load_config("run.yaml", []).sampling.max_new_tokens == 512  # and yet there is room for an answer
    assert "translation:\n" in text


def test_the_lab_copy_is_used_as_if_it_were_the_users_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("--lab-copy", "practice", "--yes").exit_code == 0
    config = load_config("run.yaml", [])
    assert (config.policy, config.prompts) == ("practice/policy", "practice/prompts")
    with pytest.raises(InputError, match="is there already"):
        copy_lab(tmp_path / "practice")


def test_questions_at_a_terminal_are_checked_and_asked_again(mine: dict[str, str], tmp_path: Path) -> None:
    environment = {**os.environ, "TERM": "dumb", "COLUMNS": "200"}
    code = "from lingualign.cli import main; main()"
    child = pexpect.spawn(
        sys.executable, ["-c", code, "init"], cwd=tmp_path, env=environment, timeout=120, encoding="utf-8"
    )
    for question, answer in (
        ("Method", "irc"),
        ("Did you mean icr", ""),
        ("aligned model", "nowhere"),
        ("no such model folder", mine["policy"]),
        ("before its preference tuning", mine["reference"]),
        ("Prompts", mine["prompts"]),
        ("Languages to improve", "de,swa"),
        ("Did you mean sw", "de,sw"),
        ("Judge", ""),
        ("Folder for the run", ""),
        ("Estimate time", "n"),
    ):
        child.expect(question)
        child.sendline(answer)
    child.expect("Start it:")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    config = load_config(str(tmp_path / "run.yaml"), [])
    assert (config.policy, config.languages) == (mine["policy"], ["en", "de", "sw"])


def test_an_answer_that_is_given_is_not_asked_for() -> None:
    asker = Asker({"judge": "server"}, interactive=True)
    assert asker.get("judge", "Judge", None, answers.check_judge) == "server"


@pytest.mark.parametrize("recipe", ["icr", "clo", "calm", "mapo", "rm-transfer", "sft"])
def test_a_commented_file_says_what_the_configuration_says(recipe: str, tmp_path: Path) -> None:
    for settings in ([], ["languages=en,sw,de", "training.lora.r=8", "measures.n=50", "data.limit=null"]):
        config = load_config(recipe, settings)
        path = tmp_path / "run.yaml"
        path.write_text(commented_yaml(config, {}, "run.yaml"), encoding="utf-8")
        assert load_config(str(path), []) == config


def test_norwegian_and_judges_survive_the_file(tmp_path: Path) -> None:
    server = ["measures.judge=server", "measures.server.url=http://x/v1", "measures.server.model=m: 1"]
    config = load_config("icr", ["policy=./a b", "languages=en,no", *server])
    path = tmp_path / "run.yaml"
    path.write_text(commented_yaml(config, {"policy": "it is there"}, "run.yaml"), encoding="utf-8")
    assert load_config(str(path), []) == config
    assert "# Chosen here: it is there." in path.read_text(encoding="utf-8")


def test_every_written_setting_has_a_line_that_explains_it() -> None:
    for key in TOUCHED:
        line = one_line(description_of(key))
        assert 10 < len(line) <= 106, key


def test_languages_are_found_in_folders_and_columns(tmp_path: Path) -> None:
    assert answers.prompt_languages(str(FIXTURE)) == ["de", "en", "sw", "zh"]
    file = tmp_path / "all.jsonl"
    file.write_text('{"id": 1, "language": "th", "prompt": "?"}\n', encoding="utf-8")
    assert answers.prompt_languages(str(file)) == ["th"]
    (tmp_path / "wrong").mkdir()
    (tmp_path / "wrong" / "german.jsonl").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match=r"german\.jsonl"):
        answers.prompt_languages(str(tmp_path / "wrong"))


def test_a_taken_run_folder_is_refused_and_a_free_one_proposed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert answers.free_output("icr") == "runs/icr"
    Path("runs/icr").mkdir(parents=True)
    Path("runs/icr/config.yaml").touch()
    assert answers.free_output("icr") == "runs/icr-2"
    with pytest.raises(InputError, match="not empty"):
        answers.check_output("runs/icr")


def large(*settings: str) -> RunConfig:
    return load_config("icr", ["policy=a", "reference=b", *settings])


def test_a_model_that_has_room_is_left_as_the_recipe_trains_it() -> None:
    assert suggest(large(), LARGE, LARGE, Room(False, 2, 10**12), 5000) == []


def test_where_all_weights_have_no_room_an_adapter_is_trained() -> None:
    found = {s.key: s for s in suggest(large(), LARGE, LARGE, Room(False, 2, 80 * 10**9), 5000)}
    assert found["training.lora"].value["r"] == 16
    assert "would take" in found["training.lora"].reason
    assert found["training.learning_rate"].value > large().training.learning_rate
    chosen = changed(large(), {key: suggestion.value for key, suggestion in found.items()})
    assert chosen.training.lora is not None


def test_less_memory_first_takes_smaller_passes_then_recomputes_then_an_adapter() -> None:
    def keys(gigabytes: float) -> set[str]:
        room = Room(False, 2, int(gigabytes * 1e9))
        return {s.key.removeprefix("training.") for s in suggest(large(), LARGE, LARGE, room, 5000)}

    assert keys(220) >= {"micro_batch_pairs"} and "lora" not in keys(220)
    assert "gradient_checkpointing" in keys(170) and "lora" not in keys(170)
    assert "lora" in keys(100)


def test_keys_and_values_of_sampling_are_made_to_fit() -> None:
    found = {s.key: s.value for s in suggest(large(), LARGE, LARGE, Room(False, 2, 38 * 10**9), 5000)}
    assert found["sampling.batch_tokens"] < large().sampling.batch_tokens


def test_where_a_run_computes() -> None:
    machine = Machine(8, None, 8, 0.0, 64, 32, (), False, None, amx=True)
    assert room_of(machine, "auto", "auto") == Room(True, 2, 32)
    assert room_of(machine, "auto", "float32") == Room(True, 4, 32)
