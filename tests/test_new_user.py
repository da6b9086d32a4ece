"""From nothing to a report, as somebody does who has never used it: three commands, files of one's own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lingualign.cli import app
from lingualign.setup.lab_copy import copy_lab

SMALL = ["iterations=1", "sampling.n=2", "sampling.max_new_tokens=64", "measures.max_new_tokens=64"]


def run(folder: Path, *arguments: str) -> str:
    """A command of its own process, which must succeed."""
    code = "from lingualign.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, f"{' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def call(folder: Path, *arguments: str) -> str:
    """The same in this process, for commands that take less time than a process to start."""
    with contextlib.chdir(folder):
        result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.slow
def test_init_doctor_align_end_with_a_report(tmp_path: Path) -> None:
    copy_lab(tmp_path / "mine", prompts=10)
    said = call(
        tmp_path,
        "init",
        *("--policy", "mine/policy", "--reference", "mine/reference", "--prompts", "mine/prompts"),
        *("--languages", "de,sw", "--output-folder", "first"),
    )
    assert "run.yaml is written: icr with mine/policy in en, de, sw" in said
    checked = call(tmp_path, "doctor", "run.yaml")
    assert "problem" not in checked
    assert "fits in memory" in checked
    aligned = run(tmp_path, "align", "run.yaml", *SMALL)
    assert "Verdict" in aligned or "verdict" in aligned or "ship" in aligned
    assert (tmp_path / "first" / "measures.json").is_file()
    assert (tmp_path / "first" / "iteration-1" / "model" / "model.safetensors").is_file()
    report = tmp_path / "first" / "report.html"
    assert report.is_file()
    assert "mine/policy" in report.read_text(encoding="utf-8")
