"""`training.launch`: training in processes of their own, and what becomes of it when one of them dies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file

import distributed_worker
from conftest import FamilyFolder
from lingualign.errors import InputError
from lingualign.launching.processes import wait_for_workers
from lingualign.pipeline import single
from lingualign.pipeline.progress import Silent, Task
from lingualign.records import PAIRS, write_table
from lingualign.settings import load_config

EPOCHS = 6  # of two steps
STEPS = 2 * EPOCHS


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pairs") / "pairs.parquet"
    write_table(path, distributed_worker.pairs(), PAIRS)
    return path


@pytest.fixture(scope="module")
def settings(family_folder: FamilyFolder) -> list[str]:
    return [
        f"policy={family_folder('llama')}", f"reference={family_folder('llama', 1)}",
        "device=cpu", "dtype=float32", "training.learning_rate=1e-3", "training.batch_pairs=8",
        "training.micro_batch_pairs=2", f"training.epochs={EPOCHS}", "training.save_steps=2",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def in_one(pairs: Path, settings: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a training in the process of the run."""
    output = tmp_path_factory.mktemp("one") / "run"
    single.train(load_config(None, settings), pairs, output, Silent())
    return output


class Told(Silent):
    """Keeps what it is told, and calls back at every step."""

    def __init__(self, at_step: Callable[[int], None] = lambda step: None) -> None:
        self.at_step, self.warnings = at_step, list[str]()
        self.steps: list[tuple[int, int | None, str]] = []

    @contextmanager
    def stage(self, name: str, total: int, unit: str = "chunks", done: int = 0) -> Iterator[Task]:
        class Steps:
            def update(_, done: int, total: int | None = None, detail: str = "") -> None:
                if name == "model":
                    self.steps.append((done, total, detail))
                    self.at_step(done)

        yield Steps()

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def workers(of: int) -> list[psutil.Process]:
    """The processes that train for a main process."""
    children = psutil.Process(of).children(recursive=True)
    return [child for child in children if "torch" not in child.name() and is_worker(child)]


def is_worker(process: psutil.Process) -> bool:
    try:
        words = process.cmdline()
    except psutil.Error:
        return False
    return "lingualign.pipeline.training_worker" in words and "accelerate.commands.launch" not in words


def same_training(one: Path, two: Path) -> None:
    curves = [[step["loss"] for step in read(path / "training.json")["steps"]] for path in (one, two)]
    assert len(curves[0]) == STEPS
    assert curves[1] == pytest.approx(curves[0], rel=1e-4)
    weights = [load_file(path / "model" / "model.safetensors") for path in (one, two)]
    assert weights[0].keys() == weights[1].keys()
    for name, weight in weights[0].items():
        torch.testing.assert_close(weights[1][name], weight, atol=5e-5, rtol=0)
    assert not (two / "checkpoints").exists()


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.slow
def test_a_worker_that_is_killed_is_started_anew(
    in_one: Path, pairs: Path, settings: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    killed = []

    def kill(step: int) -> None:
        if step == 5 and not killed:
            killed.extend(workers(os.getpid()))
            killed[-1].kill()

    told = Told(kill)
    launched = [*settings, "training.launch.processes=2", "training.launch.restarts=1"]
    single.train(load_config(None, launched), pairs, tmp_path / "run", told)
    assert len(killed) == 2
    same_training(in_one, tmp_path / "run")
    (warning,) = told.warnings
    assert "was killed by SIGKILL" in warning
    done = [step for step, _, _ in told.steps]
    assert done == [*range(1, done.index(5) + 2), *range(5, STEPS + 1)]  # 5 again: the checkpoint was at 4
    assert told.steps[0][1] == STEPS
    assert told.steps[0][2].startswith("loss ")
    assert not any(process.is_running() for process in killed)
    assert capfd.readouterr().err == ""  # what processes write is for the log


def test_no_process_outlives_a_main_process_that_is_killed(
    in_one: Path, pairs: Path, settings: list[str], tmp_path: Path
) -> None:
    output = tmp_path / "run"
    command = ["train", *settings, "training.launch.processes=2", "--pairs", str(pairs), "-o", str(output)]
    lingualign = [sys.executable, "-c", "import lingualign.cli; lingualign.cli.main()"]
    main = subprocess.Popen([*lingualign, *command], stderr=subprocess.DEVNULL)
    found = wait_for(lambda: (output / "checkpoints" / "checkpoint-2").exists() and workers(main.pid))
    launcher = [child for child in psutil.Process(main.pid).children(recursive=True) if child not in found]
    main.kill()
    main.wait()
    wait_for_workers(output / "checkpoints" / ".workers")
    _, alive = psutil.wait_procs([*found, *launcher], timeout=60)
    assert len(found) == 2
    assert not alive
    # The rest in one process.
    single.train(load_config(None, settings), pairs, output, told := Told())
    assert told.steps[0][0] > 2
    same_training(in_one, output)


def test_what_a_worker_finds_wrong_is_told_once(pairs: Path, settings: list[str], tmp_path: Path) -> None:
    launched = [
        *settings,
        "training.launch.processes=2",
        "training.launch.restarts=3",
        "training.max_length=3",
    ]
    with pytest.raises(InputError, match="There is no pair to train on") as raised:
        single.train(load_config(None, launched), pairs, tmp_path / "run", told := Told())
    assert raised.value.remedy.startswith("Raise training.max_length")
    assert told.warnings == []
    assert not (tmp_path / "run" / "model").exists()


def wait_for(condition: Callable[[], Any], seconds: float = 120) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found
