"""Training in two processes gives what one process gives."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

import distributed_worker
import sharded_worker
from conftest import FamilyFolder

LAUNCH = [
    sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_machines=1",
    "--mixed_precision=no", "--dynamo_backend=no",
]  # fmt: skip


def launch(folder: Path, output: Path, settings: dict[str, object]) -> None:
    worker = [distributed_worker.__file__, str(folder), str(output), json.dumps(settings)]
    run([*LAUNCH, "--num_processes=2", *worker])


def run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("settings", [{}, {"objective": "kto-pair"}, {"gradient_checkpointing": True}])
def test_two_processes_train_as_one(
    family_folder: FamilyFolder, tmp_path: Path, settings: dict[str, object]
) -> None:
    folder = family_folder("llama")
    distributed_worker.main(folder, tmp_path / "one", settings)
    launch(folder, tmp_path / "two", settings)
    same_training(tmp_path / "one", tmp_path / "two")


def test_sharded_weights_score_and_learn_as_whole_ones(family_folder: FamilyFolder) -> None:
    """FSDP2 itself, as `accelerate launch` shards on accelerators only."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    run([*command, sharded_worker.__file__, str(family_folder("llama"))])


def same_training(one: Path, two: Path) -> None:
    curves = [json.loads((path / "losses.json").read_text(encoding="utf-8")) for path in (one, two)]
    assert len(curves[0]) == 4
    assert curves[1] == pytest.approx(curves[0], rel=1e-4)
    weights = [AutoModelForCausalLM.from_pretrained(path / "model").state_dict() for path in (one, two)]
    assert weights[0].keys() == weights[1].keys()
    for name, weight in weights[0].items():
        torch.testing.assert_close(weights[1][name], weight, atol=2e-5, rtol=0)
