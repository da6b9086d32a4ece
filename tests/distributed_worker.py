"""Trains tiny models on made-up pairs, in each of several processes: a job of tests/launched.py."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import accelerate.state
from accelerate.utils import DistributedType
from torch.distributed.fsdp import FSDPModule

from lingualign.config import TrainingConfig
from lingualign.models import load_model, load_tokenizer
from lingualign.prompts import ChatFormat
from lingualign.records import Pair
from lingualign.training import preference, reference_logps, train

DEFAULTS = {"learning_rate": 1e-3, "batch_pairs": 8, "micro_batch_pairs": 2, "epochs": 2}


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


def shard_on_cpu() -> None:
    """Makes accelerate take CPUs for accelerators, which alone it shards models on; the rest is its own."""
    make = accelerate.state.AcceleratorState.__init__

    def make_sharded(self: Any, *args: Any, fsdp_plugin: Any = None, **kwargs: Any) -> None:
        first = not accelerate.state.AcceleratorState._shared_state
        make(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
        if first:
            self.distributed_type = DistributedType.FSDP
            self.fsdp_plugin = fsdp_plugin
            accelerate.state.PartialState._shared_state["distributed_type"] = DistributedType.FSDP

    accelerate.state.AcceleratorState.__init__ = make_sharded  # type: ignore[method-assign]


def main(policy: str, output: str, all_settings: list[dict[str, object]]) -> None:
    """Writes, for each of some settings, a model and what is known of its training."""
    chat = ChatFormat(load_tokenizer(policy))
    known: dict[str, Any] = {}
    save = preference.save_policy

    def look_and_save(trainer: Any, *args: Any, **kwargs: Any) -> None:
        known["processes"] = trainer.accelerator.num_processes
        known["sharded"] = sum(isinstance(part, FSDPModule) for part in trainer.model_wrapped.modules())
        save(trainer, *args, **kwargs)

    preference.save_policy = look_and_save
    try:
        for number, settings in enumerate(all_settings):
            config = TrainingConfig(**(DEFAULTS | settings))
            frozen = load_model(policy, device="cpu", dtype="float32")
            rows = reference_logps(frozen, pairs(), chat, max_length=config.max_length)
            known["losses"] = curve = []
            folder = Path(output) / str(number)
            train(
                config,
                pairs(),
                rows,
                policy=Path(policy),
                chat=chat,
                output=folder,
                seed=0,
                device="cpu",
                dtype="float32",
                on_step=lambda done, total, values: curve.append(values["loss"]),  # noqa: B023
            )
            if os.environ.get("RANK", "0") == "0":
                (folder / "known.json").write_text(json.dumps(known), encoding="utf-8")
    finally:
        preference.save_policy = save
