"""Who is measured in scoring and in the preference step: we, TRL, and a plain transformers loop.

All get the same token ids and load the same weights; each holds its own copies of the models.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from baselines import BETA, dpo_trainer, pairs_of, plain_logps, plain_sums
from cases import Workload, load
from measure import Kind, available_memory
from torch import Tensor
from torch.nn.functional import logsigmoid

from lingualign.logprobs import ScoredSequence, sequence_logprobs, token_logprobs

BATCH_TOKENS = 16384  # our default for rewards and references
LEARNING_RATE = 1e-6
MAX_GRAD_NORM = 1.0


class OurScoring:
    """`sequence_logprobs` under both models; batches are its own affair."""

    def __init__(self, workload: Workload) -> None:
        self.models = [load(workload.policy), load(workload.reference)]
        self.sequences = [ScoredSequence(*row) for row in workload.rows()]
        self.batches = (BATCH_TOKENS,)

    def __call__(self, batch: int) -> np.ndarray:
        """Sums [model, row]."""
        return np.stack([sequence_logprobs(model, self.sequences, batch) for model in self.models])


class TrlScoring:
    """The pass of `precompute_ref_log_probs`, over its batches and by its method, for both models.

    Both play the reference, of which TRL computes log-probabilities only. Of the model that is trained it
    would compute metrics as well.
    """

    def __init__(self, workload: Workload) -> None:
        self.trainers = [
            dpo_trainer(workload, None, load(spec)) for spec in (workload.policy, workload.reference)
        ]
        self.pairs = pairs_of(workload.rows())
        self.batches = tuple(size for size in (1, 2, 4, 8) if size <= len(self.pairs))

    def __call__(self, batch: int) -> np.ndarray:
        """Sums [model, row]; `batch` counts pairs."""
        return np.stack([self._score(trainer, batch) for trainer in self.trainers])

    def _score(self, trainer: Any, batch: int) -> np.ndarray:
        sums = []
        for start in range(0, len(self.pairs), batch):
            inputs = trainer.data_collator(self.pairs[start : start + batch])
            chosen, rejected = trainer.compute_ref_log_probs(trainer.ref_model, inputs)
            sums.append(torch.stack([chosen, rejected], dim=1).flatten())
        return torch.cat(sums).double().numpy()


class PlainScoring:
    """What research scripts do: rows as they come, in batches of a fixed size."""

    sizes = (1, 2, 4, 8, 16)

    def __init__(self, workload: Workload) -> None:
        self.models = [load(workload.policy), load(workload.reference)]
        self.rows = workload.rows()
        sizes = tuple(size for size in self.sizes if size <= len(self.rows))
        self.batches = sizes_that_fit(sizes, self.models[0], workload, rows=1, copies=2)

    def __call__(self, batch: int) -> np.ndarray:
        """Sums [model, row]."""
        return np.stack([plain_sums(model, self.rows, batch).double().numpy() for model in self.models])


class Step(NamedTuple):
    """What a step came to: its loss, and the norm of its gradient before it is clipped."""

    loss: float
    grad_norm: float


class OurStep:
    """What `PreferenceTrainer` computes: differentiable passes, and the reference without gradients."""

    def __init__(self, workload: Workload) -> None:
        self.policy, self.reference = load(workload.policy).train(), load(workload.reference)
        self.optimizer = _optimizer(self.policy)
        self.rows = [ScoredSequence(*row) for row in workload.rows()]
        self.pairs = len(self.rows) // 2
        self.batches = _divisors(self.pairs)

    def __call__(self, batch: int) -> Step:
        """One step; `batch` counts pairs, as `training.micro_batch_pairs` does."""
        total = 0.0
        reference = torch.from_numpy(sequence_logprobs(self.reference, self.rows, BATCH_TOKENS)).float()
        for start in range(0, len(self.rows), 2 * batch):
            part = slice(start, start + 2 * batch)
            logps = torch.stack([tokens.sum() for tokens in token_logprobs(self.policy, self.rows[part])])
            ratios = logps - reference[part]
            loss = _dpo(torch.cat([ratios[::2], ratios[1::2]])).sum() / self.pairs
            loss.backward()
            total += loss.item()
        return Step(total, _update(self.policy, self.optimizer))


class TrlStep:
    """`DPOTrainer.compute_loss` on batches of its collator; gradients of smaller batches are accumulated."""

    def __init__(self, workload: Workload) -> None:
        self.trainer = dpo_trainer(workload, load(workload.policy), load(workload.reference))
        self.policy = self.trainer.model.train()
        self.optimizer = _optimizer(self.policy)
        self.pairs = pairs_of(workload.rows())
        self.batches = _divisors(len(self.pairs))

    def __call__(self, batch: int) -> Step:
        """One step; `batch` counts pairs."""
        total = 0.0
        for start in range(0, len(self.pairs), batch):
            inputs = self.trainer.data_collator(self.pairs[start : start + batch])
            loss = self.trainer.compute_loss(self.policy, inputs) * batch / len(self.pairs)
            loss.backward()
            total += loss.item()
        return Step(total, _update(self.policy, self.optimizer))


class PlainStep:
    """What research scripts do, with the reference beside the policy and gradients accumulated."""

    def __init__(self, workload: Workload) -> None:
        self.policy, self.reference = load(workload.policy).train(), load(workload.reference)
        self.optimizer = _optimizer(self.policy)
        self.rows = workload.rows()
        self.pairs = len(self.rows) // 2
        sizes = _divisors(self.pairs)
        self.batches = sizes_that_fit(sizes, self.policy, workload, rows=2, copies=4)

    def __call__(self, batch: int) -> Step:
        """One step; `batch` counts pairs."""
        total = 0.0
        for start in range(0, len(self.rows), 2 * batch):
            part = self.rows[start : start + 2 * batch]
            part = part[::2] + part[1::2]
            with torch.no_grad():
                reference = plain_logps(self.reference, part)
            loss = _dpo(plain_logps(self.policy, part) - reference).sum() / self.pairs
            loss.backward()
            total += loss.item()
        return Step(total, _update(self.policy, self.optimizer))


def _dpo(ratios: Tensor) -> Tensor:
    """Losses [pairs] from log-ratios [chosen, then rejected]."""
    chosen, rejected = ratios.chunk(2)
    return -logsigmoid(BETA * (chosen - rejected))


def _optimizer(model: Any) -> torch.optim.Optimizer:
    # Transformers' default, and so TRL's.
    return torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, fused=True)


def _update(model: Any, optimizer: torch.optim.Optimizer) -> float:
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_GRAD_NORM)
    optimizer.step()
    optimizer.zero_grad()
    return norm.item()


def _divisors(pairs: int) -> tuple[int, ...]:
    return tuple(size for size in range(pairs, 0, -1) if pairs % size == 0)


def sizes_that_fit(
    sizes: tuple[int, ...], model: Any, workload: Workload, *, rows: int, copies: int
) -> tuple[int, ...]:
    """Batch sizes whose logits, held several times over, take at most half of the free memory."""
    row = rows * copies * workload.longest() * model.config.vocab_size * 4
    return tuple(size for size in sizes if size == min(sizes) or size * row <= available_memory() / 2)


SCORING: dict[str, Kind] = {"ours": OurScoring, "TRL": TrlScoring, "plain loop": PlainScoring}
STEP: dict[str, Kind] = {"ours": OurStep, "TRL": TrlStep, "plain loop": PlainStep}
