"""Two trainings that end early, in each of several processes: a job of tests/launched.py."""

from __future__ import annotations

import json
import os
from pathlib import Path

from distributed_worker import pairs
from lingualign.config import GuardConfig, TrainingConfig
from lingualign.errors import InputError
from lingualign.models import load_model, load_tokenizer
from lingualign.prompts import ChatFormat
from lingualign.training import reference_logps, train

ROLL_BACK = TrainingConfig(
    learning_rate=1e-3,
    nll_weight=0.0,
    batch_pairs=4,
    micro_batch_pairs=1,
    epochs=3,
    save_steps=1,
    guard=GuardConfig(action="roll-back", window=2, max_margin=3.3, language_steps=2, language_prompts=2),
)


def main(policy: str, output: str) -> None:
    """Writes what this process came to."""
    chat, folder = ChatFormat(load_tokenizer(policy)), Path(output)
    folder.mkdir(exist_ok=True)
    rows = reference_logps(load_model(policy, device="cpu", dtype="float32"), pairs(), chat, max_length=4096)
    told: list[str] = []

    def fit(name: str, rows: list[dict[str, object]]) -> int:
        return train(
            ROLL_BACK,
            pairs(),
            rows,
            policy=Path(policy),
            chat=chat,
            output=folder / name,
            seed=0,
            device="cpu",
            dtype="float32",
            on_warn=told.append,
        ).steps

    found: dict[str, object] = {"steps": fit("rolled-back", rows), "told": told}
    rows[5]["ref_chosen_logps"] = float("-inf")
    try:
        fit("wrong", rows)
    except InputError as error:
        found["error"] = error.message
    rank = os.environ.get("RANK", "0")
    (folder / f"process-{rank}.json").write_text(json.dumps(found), encoding="utf-8")
