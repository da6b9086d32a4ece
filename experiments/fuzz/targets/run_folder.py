"""A run folder that somebody else made, or a disk spoiled: manifest.json, config.yaml, measures.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from drawing import damaged, json_values
from hypothesis import strategies as st
from sandbox import refused

from lingualign.export.base import read_run_config
from lingualign.pipeline.folder import choose_iteration
from lingualign.pipeline.manifest import Manifest
from lingualign.pipeline.validate import check_run_folder
from lingualign.report.source import TracedRun
from lingualign.runs import Run
from lingualign.settings import dump_config, load_config

CONFIG = load_config("icr", [])
MANIFEST = {
    "format": 1,
    "seed": 0,
    "versions": {"torch": "2.6"},
    "inputs": {"/models/x": [12, 34, "ab"]},
    "stages": {
        "iteration-1/responses": {"fingerprint": {"prompts": "ab"}, "status": "done", "started": "2026"}
    },
}
MEASURES = {
    "languages": ["en", "sw"],
    "source_language": "en",
    "start": {"greedy": {}},
    "iterations": [{"iteration": 1}],
}


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


SPOILED = st.one_of(json_values().map(_json), st.just(b""), st.just(b"\xff"))
CASES = st.fixed_dictionaries(
    {
        "manifest.json": st.none() | damaged(st.just(_json(MANIFEST))) | SPOILED,
        "config.yaml": st.none() | damaged(st.just(dump_config(CONFIG).encode())) | SPOILED,
        "measures.json": st.none() | damaged(st.just(_json(MEASURES))) | SPOILED,
        "iterations": st.lists(st.sampled_from(("1", "2", "x", "²", "-1", "9" * 200)), max_size=2),
    }
)


def check(case: dict[str, Any], folder: Path) -> None:
    """Reads all there is of a run."""
    for name, content in case.items():
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
    for number in case["iterations"]:
        (folder / f"iteration-{number}" / "model").mkdir(parents=True, exist_ok=True)
    refused(Manifest.read, folder / "manifest.json")
    refused(read_run_config, folder)
    refused(check_run_folder, folder, CONFIG)
    refused(choose_iteration, folder, "model", "trained model", None)
    refused(_opened, folder)
    refused(_reported, folder)


def _opened(folder: Path) -> None:
    run = Run(folder)
    for read in (lambda: run.config, lambda: run.manifest, lambda: run.measures, lambda: run.iterations):
        refused(read)


def _reported(folder: Path) -> None:
    run = TracedRun(folder)
    for read in (
        lambda: run.config,
        lambda: run.manifest,
        lambda: (run.languages, run.source, run.last, run.drawn),
    ):
        refused(read)
