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

import distributed_worker
import sharded_worker
from conftest import FamilyFolder
from lingualign.launching.processes import launch_file

SETTINGS: list[dict[str, object]] = [
    {},
    {"objective": "kto-pair", "gradient_checkpointing": True},
    {"lora": {"r": 4}},
]


def run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def outputs(family_folder: FamilyFolder, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same trainings in one process, and in two by two of the shipped configurations."""
    folder = family_folder("gemma3")  # its head is tied to its embeddings
    found = {name: tmp_path_factory.mktemp(name) for name in ("one", "ddp", "fsdp2")}
    distributed_worker.main(folder, found["one"], SETTINGS)
    for name in ("ddp", "fsdp2"):
        worker = [distributed_worker.__file__, str(folder), str(found[name]), json.dumps(SETTINGS)]
        run(
            [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(launch_file(name)),
             "--num_processes=2", "--main_process_port=0", *worker]
        )  # fmt: skip
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
    weights = [model(outputs[of] / str(number)) for of in ("one", name)]
    assert weights[0].keys() == weights[1].keys()
    for key, weight in weights[0].items():
        torch.testing.assert_close(weights[1][key], weight, atol=2e-5, rtol=0)


def test_a_folder_of_a_sharded_training_is_that_of_a_whole_one(outputs: dict[str, Path]) -> None:
    one, two = (outputs[name] / "0" / "model" for name in ("one", "fsdp2"))
    assert sorted(path.name for path in one.iterdir()) == sorted(path.name for path in two.iterdir())
    assert (one / "config.json").read_text() == (two / "config.json").read_text()
    assert not (outputs["fsdp2"] / "0" / "checkpoints").exists()


def test_sharded_weights_score_and_learn_as_whole_ones(family_folder: FamilyFolder) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    run([*command, sharded_worker.__file__, str(family_folder("llama"))])


def known(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "known.json").read_text(encoding="utf-8"))
    return found


def model(folder: Path) -> dict[str, torch.Tensor]:
    (file,) = (folder / "model").glob("*.safetensors")
    return load_file(file)
