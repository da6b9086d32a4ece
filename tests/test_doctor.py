"""`lingualign doctor`: each check is made to fail, and what it says is read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
from packaging.requirements import Requirement
from typer.testing import CliRunner, Result

from lingualign.cli import app
from lingualign.config import RunConfig
from lingualign.models import load_tokenizer
from lingualign.pipeline.validate import CheckedRun, validate
from lingualign.prompts import ChatFormat
from lingualign.settings import load_config
from lingualign.setup import estimate, packages, run_checks
from lingualign.setup import machine as machines
from lingualign.setup.coverage import Coverage, check_coverage, check_language, measure_coverage
from lingualign.setup.findings import Finding
from lingualign.setup.lab_copy import copy_lab
from lingualign.setup.machine import Gpu, Machine
from lingualign.setup.memory import Footprint
from lingualign.setup.probe import Rates
from lingualign.setup.shape import Shape
from lingualign.setup.suggest import Room

FamilyFolder = Callable[..., Path]
QUIET = Machine(
    cores=8,
    quota=None,
    threads=8,
    load=0.5,
    memory=64 * 10**9,
    available=60 * 10**9,
    gpus=(),
    nvidia=False,
    torch_cuda=None,
    amx=False,
)
CARD = Gpu("A card", 80 * 10**9, 79 * 10**9, bfloat16=True)


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["doctor", *[str(argument) for argument in arguments]])


def wrong(finding: Finding, status: str, said: str) -> None:
    """A finding that is not ok says what is wrong, and what to do."""
    assert finding.status == status
    assert said in finding.found
    assert finding.remedy


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The lab as somebody's own files: `policy`, `reference` and `prompts`."""
    return copy_lab(tmp_path_factory.mktemp("lab") / "mine", prompts=12)


@pytest.fixture
def settings(mine: dict[str, str], tmp_path: Path) -> list[str]:
    lengths = ["sampling.max_new_tokens=64", "measures.max_new_tokens=64", "measures.n=4"]
    return [f"{name}={path}" for name, path in mine.items()] + [
        f"output={tmp_path / 'run'}",
        "languages=en,de,zh",
        *lengths,
    ]


def configured(settings: list[str], *further: str) -> RunConfig:
    return load_config("icr", [*settings, *further])


def test_a_machine_in_order_gets_nothing_but_ok() -> None:
    assert {finding.status for finding in machines.check_machine(QUIET)} == {"ok"}


def test_cores() -> None:
    wrong(machines.check_cores(replace(QUIET, cores=4)), "warning", "wait for each other")
    quota = machines.check_cores(replace(QUIET, quota=2.0))
    wrong(quota, "warning", "gets the time of 2")
    assert "OMP_NUM_THREADS=2" in quota.remedy
    wrong(machines.check_cores(replace(QUIET, cores=1, threads=1)), "warning", "1 cores")


def test_load() -> None:
    wrong(machines.check_load(replace(QUIET, load=9.0)), "warning", "other programs")


def test_memory() -> None:
    wrong(machines.check_memory(replace(QUIET, available=10**9)), "warning", "1.0 GB of it available")


def test_gpu() -> None:
    assert machines.check_gpu(replace(QUIET, gpus=(CARD,))).status == "ok"
    cpu_build = machines.check_gpu(replace(QUIET, nvidia=True))
    wrong(cpu_build, "problem", "built for CPUs")
    wrong(machines.check_gpu(replace(QUIET, nvidia=True, torch_cuda="12.8")), "problem", "CUDA 12.8")
    wrong(machines.check_gpu(replace(QUIET, gpus=(replace(CARD, bfloat16=False),))), "warning", "without")
    wrong(machines.check_gpu(replace(QUIET, gpus=(replace(CARD, free=10**9),))), "warning", "use it")
    assert "AMX" in machines.check_gpu(replace(QUIET, amx=True)).found


def test_disk(tmp_path: Path) -> None:
    assert machines.check_disk(tmp_path / "new" / "folder", free=10**12).status == "ok"
    wrong(machines.check_disk(tmp_path, free=10**9), "warning", "1.0 GB free")
    file = tmp_path / "file"
    file.touch()
    wrong(machines.check_disk(file), "problem", "cannot be written")


def test_this_machine_is_seen_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("150000 100000\n", encoding="utf-8")
    (tmp_path / "memory.max").write_text("2000000000\n", encoding="utf-8")
    monkeypatch.setattr(machines, "CGROUP", tmp_path)
    seen = machines.look_at_machine()
    assert (seen.quota, seen.memory) == (1.5, 2_000_000_000)
    assert seen.threads == 1  # as the tests set it
    (tmp_path / "cpu.max").write_text("max 100000\n", encoding="utf-8")
    assert machines.look_at_machine().quota is None


def test_python_and_packages() -> None:
    versions = {"torch": "2.6.0", "peft": "0.1"}.get
    assert packages.check_python(">=3.11", "3.12.1").status == "ok"
    wrong(packages.check_python(">=3.11", "3.10.2"), "problem", ">=3.11 is needed")
    asked = [Requirement(text) for text in ("torch>=2.6", "peft>=0.17", "trl>=1.0")]
    old, missing = packages.check_required(asked, versions)
    wrong(old, "problem", "peft is 0.1, and >=0.17 is needed")
    assert "peft>=0.17" in old.remedy
    wrong(missing, "problem", "trl is not installed")
    assert packages.check_required(asked[:1], versions)[0].status == "ok"


def test_optional_parts() -> None:
    asked = [Requirement("jieba>=0.42"), Requirement("fugashi>=1.3")]
    assert "not installed" in packages.check_extra("confusion", asked, lambda name: None).found
    assert "not complete" in packages.check_extra("confusion", asked, {"jieba": "0.50"}.get).found
    wrong(packages.check_extra("confusion", asked, {"jieba": "0.1", "fugashi": "2"}.get), "warning", "0.42")
    assert "installed" in packages.check_extra("confusion", asked, lambda name: "9.9").found


def test_an_installation_without_metadata_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> Any:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "metadata", nothing)
    wrong(packages.check_packages()[0], "problem", "not installed")


def test_a_model_that_is_damaged_unfinished_or_of_another_kind(mine: dict[str, str], tmp_path: Path) -> None:
    assert "1.0 million parameters" in run_checks.check_model("policy", mine["policy"]).found
    wrong(run_checks.check_model("policy", "nowhere"), "problem", "no such model folder")
    copy = tmp_path / "model"
    shutil.copytree(mine["policy"], copy)
    config = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    (copy / "config.json").write_text(json.dumps({**config, "architectures": ["BertModel"]}), "utf-8")
    wrong(run_checks.check_model("policy", str(copy)), "problem", "not a causal language model")
    (copy / "config.json").write_text(json.dumps({"architectures": ["CLIPModel"]}), "utf-8")
    wrong(run_checks.check_model("policy", str(copy)), "problem", "hidden_size")
    (copy / "config.json").write_text(json.dumps(config), "utf-8")
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index), "utf-8")
    wrong(run_checks.check_model("policy", str(copy)), "problem", "1 of 2 weight files are missing")
    (copy / "model.safetensors.index.json").unlink()
    (copy / "model.safetensors").write_bytes(b"half")
    wrong(run_checks.check_model("policy", str(copy)), "problem", "cannot be read")


def test_chat_template(settings: list[str], mine: dict[str, str], tmp_path: Path) -> None:
    assert "<|end|>" in run_checks.check_chat(configured(settings)).found
    copy = tmp_path / "model"
    shutil.copytree(mine["policy"], copy)
    template = copy / "chat_template.jinja"
    template.write_text("{% for message in messages %}{{ message['content'] }}\n{% endfor %}", "utf-8")
    config = configured(settings, f"policy={copy}")
    wrong(run_checks.check_chat(config), "warning", "writes no end token")
    template.unlink()
    wrong(run_checks.check_chat(config), "problem", "no chat template")
    plain = configured(settings, f"policy={copy}", "base_model_prompts=true")
    wrong(run_checks.check_chat(plain), "warning", "plain text")


def test_reference(settings: list[str], family_folder: FamilyFolder) -> None:
    assert "the policy's vocabulary" in run_checks.check_reference(configured(settings)).found
    other = configured(settings, f"reference={family_folder('llama')}")
    wrong(run_checks.check_reference(other), "problem", "different vocabularies")
    wrong(run_checks.check_reference(configured(settings, "reference=nowhere")), "problem", "nowhere")
    alone = [
        "reference=nowhere",
        "reward.kind=random",
        "measures.judge=reward-model",
        "measures.reward_model=x",
    ]
    assert "none" in run_checks.check_reference(configured(settings, *alone)).found


def test_what_measuring_needs_is_missed_before_the_run(settings: list[str]) -> None:
    missing = configured(settings, "measures.english_words=nowhere.txt")
    wrong(run_checks.check_measuring(missing), "problem", "nowhere.txt")


def some_run(settings: list[str], **prompts: Any) -> CheckedRun:
    checked = validate(configured(settings))
    return replace(checked, prompts=replace(checked.prompts, **prompts))


def test_prompts(settings: list[str]) -> None:
    assert run_checks.check_prompts(some_run(settings)).status == "ok"
    wrong(run_checks.check_prompts(some_run(settings, untranslated={"de": 9})), "warning", "9 of 12 in de")
    wrong(run_checks.check_prompts(some_run(settings, too_long=2)), "warning", "2 too long")


def test_judge(settings: list[str]) -> None:
    config = configured(settings)
    wrong(run_checks.check_judge(config, "implicit"), "warning", "not an independent judge")
    same = config.model_copy(update={"reference": config.policy})
    wrong(run_checks.check_judge(same, "implicit"), "warning", "the same score")
    assert run_checks.check_judge(config, "server").status == "ok"


def test_memory_disk_and_device(settings: list[str]) -> None:
    config, room = configured(settings), Room(True, 4, 10**10)
    small = Footprint(10**9, 10**9, 10**9)
    assert run_checks.check_memory_fits(config, small, room).status == "ok"
    training = run_checks.check_memory_fits(config, replace(small, training=2e10), room)
    wrong(training, "problem", "20.0 GB while training")
    assert "training.lora.r=16" in training.remedy
    wrong(run_checks.check_memory_fits(config, replace(small, sampling=9.5e9), room), "warning", "sampling")
    wrong(run_checks.check_disk_fits(95, 100), "warning", "to write")
    assert run_checks.check_disk_fits(5, 100).status == "ok"
    large = Shape(10**9, 2, 1, 1, 1, 1, 1, None, "LlamaForCausalLM")
    wrong(run_checks.check_device(large, room), "warning", "1.0 billion")
    assert run_checks.check_device(large, replace(room, cpu=False)).status == "ok"


def test_languages_that_a_tokenizer_hardly_knows() -> None:
    source = Coverage(characters=100, tokens=25, pieces=0, unknown=0, changed=0, texts=10)
    assert check_language("de", source, source).status == "ok"
    wrong(check_language("my", replace(source, tokens=250), source), "warning", "10.0 times")
    wrong(check_language("my", replace(source, pieces=20), source), "warning", "80% are parts")
    wrong(check_language("my", replace(source, changed=3), source), "warning", "3 of 10 texts")
    wrong(check_language("my", replace(source, unknown=5), source), "problem", "20.0% are unknown")


def test_bytes_and_unknown_tokens_are_counted(family_folder: FamilyFolder) -> None:
    chat = ChatFormat(load_tokenizer("lab:aligned"))
    burmese = measure_coverage(chat, ["မြန်မာဘာသာ"])
    assert burmese.pieces > 0.9 * burmese.tokens  # the lab's tokenizer never saw the script
    assert burmese.tokens > 2 * burmese.characters
    assert burmese.changed == 0
    english = measure_coverage(chat, ["What is the capital?"])
    assert english.pieces == 0
    assert english.characters == 20


def test_coverage_names_each_language(settings: list[str]) -> None:
    checked = validate(configured(settings))
    found = check_coverage(checked.chat, checked.prompts.heldout, "en")
    assert [finding.subject for finding in found] == ["tokens of en", "tokens of de", "tokens of zh"]


def test_a_run_in_order_ends_with_status_0_and_a_table(settings: list[str]) -> None:
    result = call("icr", *settings)
    assert result.exit_code == 0, result.output
    assert "chat template" in result.stdout
    assert "fits in memory" in result.stdout
    assert "warning" in result.stdout  # of the judge


def test_a_problem_ends_with_status_1_and_says_what_to_do(settings: list[str], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").touch()
    result = call("icr", *settings, "--json")
    assert result.exit_code == 1
    checks = {check["subject"]: check for check in json.loads(result.stdout)["checks"]}
    assert checks["run"]["status"] == "problem"
    assert "not a run folder" in checks["run"]["found"]
    assert "output=" in checks["run"]["remedy"]
    missing = call("icr", *settings, "policy=nowhere", "reference=nowhere")
    assert missing.exit_code == 1
    assert missing.stdout.count("no such model folder") == 2  # all that is wrong is seen at once


def test_wrong_settings_are_wrong_input() -> None:
    result = call("nowhere.yaml")
    assert result.exit_code == 2
    assert "no such file" in result.stderr


def test_without_a_run_the_machine_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machines, "look_at_machine", lambda: replace(QUIET, nvidia=True))
    result = call()
    assert result.exit_code == 1
    assert "CUDA build of torch" in result.stdout
    assert "1 problem" in result.stdout


def test_a_probe_that_runs_out_of_memory_is_a_problem(
    settings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_memory(*arguments: Any) -> Rates:
        raise torch.OutOfMemoryError("tried to allocate 20 GB")

    monkeypatch.setattr(estimate, "probe", out_of_memory)
    result = call("icr", *settings, "--estimate")
    assert result.exit_code == 1
    assert "tried to allocate 20 GB" in result.stdout
    assert "Lower sampling.batch_tokens" in result.stdout


def test_the_estimate_is_shown_and_given_as_json(
    settings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = Rates(step=0.01, lengths=[8], unfinished=[True], text_bytes=20.0, pairs=3.0, judge_token=0.1)
    monkeypatch.setattr(estimate, "probe", lambda checked, may_train: rates)
    shown = call("icr", *settings, "--estimate").stdout
    assert "iteration-2/model" in shown
    assert "1 cut before their end" in shown
    found = json.loads(call("icr", *settings, "--estimate", "--json").stdout)["estimate"]
    assert 0 < found["seconds_low"] < found["seconds_high"]
    assert found["seconds_low"] == pytest.approx(sum(stage["low"] for stage in found["stages"]))
