"""The tutorial notebook, run from its first cell to its last, and what its text says of the numbers.

`python tests/test_tutorial.py` runs it and stores the outputs in it.
"""

from __future__ import annotations

import copy
import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
import pytest
from ipykernel.kernelspec import write_kernel_spec
from nbclient import NotebookClient
from nbformat import NotebookNode

NOTEBOOK = Path(__file__).parent.parent / "docs" / "tutorial.ipynb"

# What the text speaks of, gathered where the notebook has run.
VALUES = """
import json, sys
print(json.dumps({
    "interpreter": sys.executable,
    "by_hand": by_hand,
    "trl": dict(zip(answers, rewards)),
    "scored": reward.score([__import__("lingualign.rewards", fromlist=["Candidates"]).Candidates(
        prompts.get(prompt_id, "de"), prompts.get(prompt_id, "en"),
        [{"prompt_id": prompt_id, "language": "de", "index": i, "text": text, "finish_reason": "stop",
          "num_tokens": 0} for i, text in enumerate(answers.values())])])[0],
    "trust": trust,
    "pair": pair,
    "chosen_length": result.report["de"].length_control.gap_after,
    "greedy": {code: found["win_rate"] for code, found in measured["greedy"]["languages"].items()},
    "sampled": {code: found["win_rate"] for code, found in measured["sampled"]["languages"].items()},
    "agreement": {code: found["agreement"] for code, found in health.items()},
    "report": str(report),
}))
"""


def execute(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """A copy of the notebook with outputs, run in a folder by this interpreter."""
    kernels = folder / "jupyter" / "kernels" / "python3"
    kernels.parent.mkdir(parents=True)
    write_kernel_spec(kernels)  # names sys.executable; JUPYTER_PATH comes before what the user has installed
    os.environ["JUPYTER_PATH"] = str(kernels.parent.parent)
    run = copy.deepcopy(notebook)
    NotebookClient(
        run, timeout=300, kernel_name="python3", resources={"metadata": {"path": folder}}
    ).execute()
    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tutorial")


@pytest.fixture(scope="module")
def values(folder: Path) -> dict[str, Any]:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(VALUES))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", "")  # put back when the notebook has run
        ran = execute(notebook, folder)
    printed = "".join(out["text"] for out in ran.cells[-1].outputs if out.get("name") == "stdout")
    found: dict[str, Any] = json.loads(printed)
    return found


@pytest.mark.slow
def test_the_notebook_runs_in_this_interpreter(values: dict[str, Any]) -> None:
    assert values["interpreter"] == sys.executable


def test_the_good_answer_became_likelier_and_the_bad_one_less_likely(values: dict[str, Any]) -> None:
    for found in values["by_hand"].values():
        assert found["good"] > 0 > found["bad"]


def test_the_rewards_are_those_by_hand(values: dict[str, Any]) -> None:
    by_hand = values["by_hand"]["English"]
    scored = dict(zip(by_hand, (score["reward"] for score in values["scored"]), strict=True))
    assert scored == pytest.approx(by_hand, abs=1e-3)
    assert values["trl"] == pytest.approx(by_hand, abs=1e-3)


def test_the_reward_is_surest_in_english_and_better_than_a_guess_elsewhere(values: dict[str, Any]) -> None:
    own, english = values["trust"]["own prompt"], values["trust"]["English instruction"]
    assert own["en"] == english["en"]
    for found in (own, english):
        assert found["en"] == max(found.values())
        assert min(found.values()) > 0.55


def test_the_chosen_side_has_the_higher_score_and_no_other_length(values: dict[str, Any]) -> None:
    assert values["pair"]["chosen_score"] > values["pair"]["rejected_score"]
    assert abs(values["chosen_length"]) < 3  # characters


def test_greedy_answers_are_better_and_intervals_of_sampled_ones_wide(values: dict[str, Any]) -> None:
    assert all(found["low"] > 0.5 for found in values["greedy"].values())
    assert all(found["high"] - found["low"] > 0.1 for found in values["sampled"].values())
    assert any(found["low"] <= 0.5 <= found["high"] for found in values["sampled"].values())


def test_the_reward_agrees_with_itself(values: dict[str, Any]) -> None:
    assert values["agreement"]["en"] is None
    assert min(values["agreement"][code] for code in ("de", "sw")) > 0.8


def test_the_report_is_there(values: dict[str, Any], folder: Path) -> None:
    page = (folder / values["report"]).read_text(encoding="utf-8")
    assert "<html" in page


def test_stored_outputs_are_complete_and_hold_nothing_of_a_machine() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    silent = [cell for cell in cells if not cell.outputs]
    assert all("align(config)" in cell.source or "load_model(" in cell.source or "import" in cell.source
               for cell in silent) and len(silent) < len(cells) / 2  # fmt: skip
    outputs = json.dumps([cell.outputs for cell in cells])
    assert not re.search(r"/(home|root|tmp|work|usr|Users)/|https?://|stderr|Warning|Error", outputs)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert all(not cell.metadata for cell in notebook.cells)


def store() -> None:
    """Runs the notebook and writes it back with its outputs, and nothing of this machine."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    language = dict(notebook.metadata["language_info"])
    with tempfile.TemporaryDirectory() as folder:
        ran = execute(notebook, Path(folder))
    ran.metadata["language_info"] = {"name": language["name"]}
    for cell in ran.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = [out for out in cell.outputs if out.get("name") != "stderr"]
    nbformat.write(ran, NOTEBOOK)


if __name__ == "__main__":
    store()
