"""Log-probs and gradients of a model sharded by FSDP2, against a whole one: a job of tests/launched.py."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

import torch
from torch.distributed.fsdp import fully_shard
from transformers import AutoModelForCausalLM

from lingualign.logprobs import ScoredSequence, keep_packing, sequence_logprobs, token_logprobs

SEQUENCES = [
    ScoredSequence([5, 6, 7, 8], [9, 10, 11]),
    ScoredSequence([5, 6, 7, 8], [12, 13]),
    ScoredSequence([1], list(range(20, 50))),
]


def main(policy: str, output: str) -> None:
    """Writes the largest differences. The job before this one has made the processes a group."""
    whole, sharded = (AutoModelForCausalLM.from_pretrained(policy).train() for _ in range(2))
    sharded.gradient_checkpointing_enable({"use_reentrant": False})
    for layer in sharded.model.layers:
        fully_shard(layer)
    fully_shard(sharded)
    scores = (torch.from_numpy(sequence_logprobs(model, SEQUENCES, 64)) for model in (whole, sharded))
    found = {"log-probs": worst([tuple(scores)])}
    for model in (whole, sharded):
        with keep_packing(model, 100):
            torch.cat(token_logprobs(model, SEQUENCES)).sum().backward()
    found["gradients"] = worst(
        (mine.grad, other.grad.full_tensor())
        for mine, other in zip(whole.parameters(), sharded.parameters(), strict=True)
    )
    found["largest gradient"] = max(mine.grad.abs().max().item() for mine in whole.parameters())
    if os.environ["RANK"] == "0":
        Path(output).write_text(json.dumps(found), encoding="utf-8")


def worst(both: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> float:
    """The largest difference of what ought to be equal, as a share of the larger of 1 and the value."""
    return max(((other - one).abs() / one.abs().clamp(min=1)).max().item() for one, other in both)
