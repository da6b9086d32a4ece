"""Training in two processes gives what one process gives: replicated (DDP) and sharded (FSDP2) weights."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

import distributed_worker
import guard_worker
import launched
from conftest import FamilyFolder
from lingualign.launching.processes import launch_file
from test_guard import strict_json
from test_training import largest_difference, weights

SETTINGS: list[dict[str, object]] = [
    {},
    {"objective": "kto-pair", "gradient_checkpointing": True},
    {"lora": {"r": 4}},
]


def launch(name: str, *jobs: list[object]) -> None:
    """Has two processes of a shipped configuration do jobs: modules of tests, and what their `main` takes."""
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(launch_file(name))]
    command += ["--num_processes=2", "--main_process_port=0", launched.__file__, json.dumps(jobs)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def outputs(family_folder: FamilyFolder, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same trainings in one process, and in two by two of the shipped configurations, and other jobs."""
    gemma, llama = str(family_folder("gemma3")), str(family_folder("llama"))  # Gemma's head is its embeddings
    found = {name: tmp_path_factory.mktemp(name) for name in ("one", "ddp", "fsdp2")}
    one, ddp, fsdp2 = map(str, found.values())
    distributed_worker.main(gemma, one, SETTINGS)
    guard_worker.main(llama, f"{one}/guard")
    launch(
        "ddp",
        ["distributed_worker", gemma, ddp, SETTINGS],
        ["guard_worker", llama, f"{ddp}/guard"],
    )
    launch(
        "fsdp2",
        ["distributed_worker", gemma, fsdp2, SETTINGS],
        ["sharded_worker", llama, f"{fsdp2}/sharded"],
    )
    return found


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(SETTINGS)))
@pytest.mark.parametrize("name", ["ddp", "fsdp2"])
def test_two_processes_train_as_one(outputs: dict[str, Path], name: str, number: int) -> None:
    one, two = (known(outputs[of] / str(number)) for of in ("one", name))
    assert (one["processes"], two["processes"]) == (1, 2)
    assert (two["sharded"] > 2) == (name == "fsdp2")
    assert len(one["losses"]) == 4
    assert two["losses"] == pytest.approx(one["losses"], rel=1e-4)
    alone, together = (model(outputs[of] / str(number)) for of in ("one", name))
    assert alone.keys() == together.keys()
    difference = torch.cat([(together[key] - weight).abs().flatten() for key, weight in alone.items()])
    # Adam divides a gradient near zero by its size, rounding and all: one weight of 38,000 is off by 3e-5.
    assert (difference > 2e-5).sum() <= 1
    assert difference.max() < 1e-4  # a tenth of a step
    assert difference.mean() < 1e-7


def test_a_folder_of_a_sharded_training_is_that_of_a_whole_one(outputs: dict[str, Path]) -> None:
    one, two = (outputs[name] / "0" / "model" for name in ("one", "fsdp2"))
    assert sorted(path.name for path in one.iterdir()) == sorted(path.name for path in two.iterdir())
    assert (one / "config.json").read_text() == (two / "config.json").read_text()
    assert not (outputs["fsdp2"] / "0" / "checkpoints").exists()


def test_sharded_weights_score_and_learn_as_whole_ones(outputs: dict[str, Path]) -> None:
    # Each process compares, and ends with an error where there is a difference.
    gradients = [strict_json(path) for path in (outputs["fsdp2"] / "sharded").iterdir()]
    assert len(gradients) == 2 and min(gradients) > 0.1


def test_two_processes_end_a_training_early_as_one_does(
    outputs: dict[str, Path], family_folder: FamilyFolder
) -> None:
    one, two = (outputs[name] / "guard" for name in ("one", "ddp"))
    alone, first, second = (
        strict_json(path) for path in (one / "process-0.json", two / "process-0.json", two / "process-1.json")
    )
    assert alone["steps"] == first["steps"] == second["steps"] < 9
    assert len(alone["told"]) == len(first["told"]) == 1 and second["told"] == []
    assert first["error"].replace(str(two), str(one)) == alone["error"] and first["error"] == second["error"]
    saved = {path: strict_json(path / "wrong/bad_batch.json") for path in (one, two)}
    ids = {path: sorted(pair["id"] for pair in found["pairs"]) for path, found in saved.items()}
    assert ids[one] == ids[two] and {pair["process"] for pair in saved[two]["pairs"]} == {0, 1}
    trained = [
        AutoModelForCausalLM.from_pretrained(path / "rolled-back/model").state_dict() for path in (one, two)
    ]
    assert largest_difference(*trained) < 2e-5
    assert largest_difference(trained[0], weights(family_folder("llama"))) > 0


def known(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "known.json").read_text(encoding="utf-8"))
    return found


def model(folder: Path) -> dict[str, torch.Tensor]:
    (file,) = (folder / "model").glob("*.safetensors")
    return load_file(file)
