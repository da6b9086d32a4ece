"""Reports of run folders whose values are others, and whose languages are no languages."""

from __future__ import annotations

import copy
import json
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from drawing import json_values, texts
from hypothesis import strategies as st
from sandbox import Finding, refused

from lingualign.report import write_report

sys.path.append(str(Path(__file__).parents[3] / "tests"))
from synthetic_run import Size, make_run

MEMORY = 1 << 44  # what draws the charts reserves far more addresses than it fills
MARK = "<i>fuzz"  # never as markup on the page
LANGUAGE = st.sampled_from((f"{MARK}>", f'"><{MARK[1:]}', "../../x", "\x1b[31m", "</script>" + MARK, "zz"))
FILES = (
    "measures.json",
    "manifest.json",
    "iteration-1/pairs.json",
    "iteration-1/health.json",
    "iteration-1/training.json",
)
CASES = st.fixed_dictionaries(
    {
        "renamed": st.none() | LANGUAGE,
        "changes": st.lists(
            st.tuples(
                st.sampled_from(FILES),
                st.lists(st.integers(0, 30), max_size=6),
                texts().map(MARK.__add__) | json_values(),
            ),
            max_size=2,
        ),
    }
)


@cache
def _run() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="lingualign-fuzz-run-")) / "run"
    make_run(
        folder,
        Size(
            languages=("en", "de"),
            iterations=1,
            prompts=6,
            candidates=2,
            sentences=1,
            heldout=4,
            bootstrap=100,
        ),
    )
    write_report(folder)  # imports what draws charts
    return folder


_run()


def _changed(value: Any, path: list[int], new: Any) -> Any:
    """A value with one of its parts replaced: the part that the numbers lead to."""
    if not path or not isinstance(value, dict | list) or not value:
        return new
    value = copy.copy(value)
    keys = list(value) if isinstance(value, dict) else range(len(value))
    key = keys[path[0] % len(keys)]
    value[key] = _changed(value[key], path[1:], new)
    return value


def check(case: dict[str, Any], folder: Path) -> None:
    """A page without markup from data, or an error that names the folder."""
    run = folder / "run"
    shutil.copytree(_run(), run)
    for name, path, new in case["changes"]:
        file = run / name
        if file.exists():
            file.write_text(
                json.dumps(_changed(json.loads(file.read_text(encoding="utf-8")), path, new)),
                encoding="utf-8",
            )
    if case["renamed"] is not None:
        for file in run.rglob("*.json"):
            file.write_text(
                file.read_text(encoding="utf-8").replace('"de"', json.dumps(case["renamed"])),
                encoding="utf-8",
            )
    written, _ = refused(write_report, run)
    if written is not None and MARK in written.read_text(encoding="utf-8").lower():
        raise Finding("markup from data is on the page")
