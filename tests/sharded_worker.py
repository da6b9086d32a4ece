"""Log-probs and gradients of a model that FSDP2 has sharded, against a whole one: started by torchrun.

torchrun --nproc-per-node 2 tests/sharded_worker.py MODEL
"""

from __future__ import annotations

import sys

import torch
from torch.distributed import destroy_process_group, init_process_group
from torch.distributed.fsdp import fully_shard
from transformers import AutoModelForCausalLM

from lingualign.logprobs import ScoredSequence, keep_packing, sequence_logprobs, token_logprobs

SEQUENCES = [
    ScoredSequence([5, 6, 7, 8], [9, 10, 11]),
    ScoredSequence([5, 6, 7, 8], [12, 13]),
    ScoredSequence([1], list(range(20, 50))),
]


def main(folder: str) -> None:
    init_process_group("gloo")
    whole, sharded = (AutoModelForCausalLM.from_pretrained(folder).train() for _ in range(2))
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
    destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
