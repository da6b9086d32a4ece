"""The worked example of docs/extending.md, as it stands there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from lingualign.pipeline.run import align
from lingualign.records import SCORES
from lingualign.settings import list_recipes, load_config

pytestmark = pytest.mark.usefixtures("without_report")

PAGE = Path(__file__).parent.parent / "docs" / "extending.md"


def test_a_method_is_one_file_and_one_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for block in re.findall(r"```(?:python|yaml)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        name = block.split("\n", 1)[0].removeprefix("# ")
        (tmp_path / name).write_text(block, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    small = ["data.limit=7", "measures.n=4", "iterations=1", "sampling.n=4", "output=run"]
    config = load_config("./shared-numbers.yaml", small)
    assert config.reward.options == {"floor": 0.5}
    measures = align(config)
    assert measures["iterations"][0]["greedy"]["target_win_rate"]["n"] == 4

    from lingualign.pipeline.folder import read_parts

    scores = read_parts(tmp_path / "run" / "iteration-1" / "scores", SCORES)
    assert len(scores) == 7 * 5 * 4
    assert {0.5, 1.0} <= {score["reward"] for score in scores} and all(
        0 <= score["reward"] <= 1 for score in scores
    )
    pairs = json.loads((tmp_path / "run" / "iteration-1" / "pairs.json").read_text(encoding="utf-8"))
    assert sum(report["pairs"] for report in pairs.values()) > 0


def test_every_recipe_of_the_package_has_its_page() -> None:
    pages = {path.stem for path in (PAGE.parent / "methods").glob("*.md")}
    assert {recipe.name for recipe in list_recipes()} <= pages
