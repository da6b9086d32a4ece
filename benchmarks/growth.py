"""How scoring time grows with the candidates of a prompt, and how much of the machine it uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from baselines import plain_sums
from cases import Workload, load
from contenders import BATCH_TOKENS, PlainScoring, sizes_that_fit
from measure import best_batch, peak_gflops, take_turns
from torch import nn

from lingualign.logprobs import ScoredSequence, sequence_logprobs

COUNTS = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class Point:
    """One number of candidates.

    Attributes:
        k: Candidates a prompt.
        ours: Seconds.
        plain: Seconds of the plain loop.
        ideal: Seconds if every prompt were computed once, at the pace of K=1.
        gflops: GFLOP/s of ours, of work that has to be done.
        plain_batch: Rows of the plain loop's batches.
    """

    k: int
    ours: float
    plain: float
    ideal: float
    gflops: float
    plain_batch: int


@dataclass(frozen=True)
class Growth:
    """The curve, and the machine's peak before and after, in GFLOP/s; the larger one counts."""

    points: list[Point]
    peak_gflops: float


class _One:
    """Scoring under one model, by us or by the plain loop."""

    def __init__(self, model: Any, workload: Workload) -> None:
        self.model, self.rows = model, workload.rows()
        self.sequences = [ScoredSequence(*row) for row in self.rows]
        self.batches: Sequence[int] = ()

    def ours(self) -> None:
        sequence_logprobs(self.model, self.sequences, BATCH_TOKENS)

    def __call__(self, batch: int) -> None:
        plain_sums(self.model, self.rows, batch)


def measure_growth(workload: Workload, rounds: int, tune_rounds: int) -> Growth:
    """Times scoring under the policy for each number of candidates.

    Args:
        workload: With as many candidates as the largest number asks for.
        rounds: In each of which every K, ours and plain, has its turn.
        tune_rounds: To choose the plain loop's batch size at each K.
    """
    model = load(workload.policy)
    before = peak_gflops()
    works = {k: _One(model, workload.first(k)) for k in COUNTS}
    batches = {}
    turns = {}
    for k, work in works.items():
        work.ours()  # warms up
        sizes = tuple(size for size in PlainScoring.sizes if size <= len(work.rows))
        work.batches = sizes_that_fit(sizes, model, workload, rows=1, copies=2)
        batches[k] = best_batch(work, tune_rounds)
        turns[f"ours {k}"] = work.ours
        turns[f"plain {k}"] = partial(work, batches[k])
    times = take_turns(turns, rounds)
    ours = {k: times[f"ours {k}"].seconds for k in COUNTS}
    tokens = {k: tokens_once(workload.first(k)) for k in COUNTS}
    points = [
        Point(
            k=k,
            ours=ours[k],
            plain=times[f"plain {k}"].seconds,
            ideal=ours[1] / tokens[1] * tokens[k],
            gflops=flops(model, workload.first(k)) / ours[k] / 1e9,
            plain_batch=batches[k],
        )
        for k in COUNTS
    ]
    return Growth(points, max(before, peak_gflops()))


def tokens_once(workload: Workload) -> int:
    """Tokens that have to be computed: every prompt once, and every response."""
    return sum(map(len, workload.prompt_ids)) + sum(len(response) for _, response in workload.rows())


def flops(model: Any, workload: Workload) -> float:
    """Operations that scoring needs at least.

    A multiplication and an addition for each weight of the body and each token, for each weight of the LM
    head and each response token, and for each pair of a token and one that it attends to, twice (scores and
    values), in each layer and channel. Prompts count once.
    """
    config, head = model.config, model.get_output_embeddings()
    body = sum(
        module.weight.numel()
        for module in model.modules()
        if isinstance(module, nn.Linear) and module is not head
    )
    channels = config.num_attention_heads * (
        getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    )
    scored = sum(len(response) for _, response in workload.rows())
    attended = sum(len(prompt) * (len(prompt) + 1) / 2 for prompt in workload.prompt_ids)
    attended += sum(
        len(response) * len(prompt) + len(response) * (len(response) + 1) / 2
        for prompt, response in workload.rows()
    )
    attention = 4 * attended * channels * config.num_hidden_layers
    return 2.0 * body * tokens_once(workload) + 2.0 * head.weight.numel() * scored + attention
