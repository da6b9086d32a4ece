"""Log-probs and gradients of a model sharded by FSDP2, against a whole one: a job of tests/launched.py."""

from __future__ import annotations

import json
import os
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
    """Writes a file when all is the same. The job before this one has made the processes a group."""
    whole, sharded = (AutoModelForCausalLM.from_pretrained(policy).train() for _ in range(2))
    sharded.gradient_checkpointing_enable({"use_reentrant": False})
    for layer in sharded.model.layers:
        fully_shard(layer)
    fully_shard(sharded)
    scores = [sequence_logprobs(model, SEQUENCES, 64) for model in (whole, sharded)]
    torch.testing.assert_close(*map(torch.from_numpy, scores), atol=1e-4, rtol=0)
    for model in (whole, sharded):
        with keep_packing(model, 100):
            torch.cat(token_logprobs(model, SEQUENCES)).sum().backward()
    gradients = dict(whole.named_parameters())
    for name, parameter in sharded.named_parameters():
        torch.testing.assert_close(parameter.grad.full_tensor(), gradients[name].grad, atol=1e-4, rtol=1e-4)
    largest = max(parameter.grad.abs().max().item() for parameter in whole.parameters())
    folder = Path(output)
    folder.mkdir(exist_ok=True)
    (folder / f"process-{os.environ['RANK']}.json").write_text(json.dumps(largest), encoding="utf-8")
