"""Trains a tiny model on made-up pairs: what `accelerate launch` starts in tests/test_distributed.py.

accelerate launch tests/distributed_worker.py POLICY OUTPUT '{"objective": "dpo"}'
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from lingualign.config import TrainingConfig
from lingualign.models import load_model, load_tokenizer
from lingualign.prompts import ChatFormat
from lingualign.records import Pair
from lingualign.training import reference_logps, train


def pairs() -> list[Pair]:
    """Ragged ones, and fewer in the last step than in the others."""
    return [
        Pair(
            id=str(number),
            prompt_id=str(number),
            language="en",
            prompt=[{"role": "user", "content": f"Name {number} rivers."}],
            chosen=[{"role": "assistant", "content": "Rhine " * (1 + number % 5)}],
            rejected=[{"role": "assistant", "content": "Water " * (1 + number % 3)}],
            chosen_score=1.0,
            rejected_score=0.0,
            chosen_index=0,
            rejected_index=1,
            chosen_finished=True,
            rejected_finished=True,
        )
        for number in range(12)
    ]


def main(policy: Path, output: Path, settings: dict[str, object]) -> None:
    chat = ChatFormat(load_tokenizer(policy))
    defaults = {"learning_rate": 1e-3, "batch_pairs": 8, "micro_batch_pairs": 2, "epochs": 2}
    config = TrainingConfig(**(defaults | settings))
    rows = reference_logps(load_model(policy, device="cpu"), pairs(), chat, max_length=config.max_length)
    curve: list[float] = []
    train(
        config,
        pairs(),
        rows,
        policy=policy,
        chat=chat,
        output=output,
        seed=0,
        device="cpu",
        on_step=lambda done, total, values: curve.append(values["loss"]),
    )
    if curve:
        (output / "losses.json").write_text(json.dumps(curve), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]))
