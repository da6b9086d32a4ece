"""A loss or gradient that is not finite: found before the optimiser's step, and its pairs saved.

Everything stays on its device until the last micro-batch of an optimiser step; then one number a process is
looked at. The step's log waits for its loss anyway, so this moves a wait and adds none. The norm of the
gradients is computed here once more than by the Trainer, whose own comes too late to be asked.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor, nn
from transformers import Trainer

from lingualign.errors import InputError
from lingualign.pipeline.files import write_json
from lingualign.training.arguments import last_checkpoint, step_of
from lingualign.training.collate import Example
from lingualign.training.objectives import PairLogps

BAD_BATCH = "bad_batch.json"
SKIPPED = "skipped"  # logged of a step that the gradient scaler of float16 left out

# Steps in a row that a gradient scaler may leave out (ours): it starts at 2^16 and halves each time, so
# behind twenty it is at 1/16, where a gradient that still overflows is no matter of scale.
MOST_SKIPPED = 20


class StepRecord:
    """What the micro-batches of one optimiser step have computed, in this process."""

    def __init__(self) -> None:
        self.begin([])

    def begin(self, examples: Sequence[Sequence[Example]]) -> None:
        """A new step, whose micro-batches have these examples."""
        self._examples = examples
        self._logps: list[tuple[Tensor, ...]] = []
        self._losses: list[Tensor] = []

    def add(self, logps: PairLogps, losses: Tensor) -> None:
        """What the next micro-batch has computed: log-probs and losses of its pairs."""
        computed = (logps.policy_chosen, logps.policy_rejected, logps.ref_chosen, logps.ref_rejected)
        self._logps.append(tuple(part.detach() for part in computed))
        self._losses.append(losses.detach())

    def wrong(self, parameters: Iterable[nn.Parameter]) -> Tensor:
        """Whether a loss is not finite, and whether the norm of the gradients is not: two numbers, 0 or 1.

        A log-probability counts as its loss: an infinite margin may have the loss 0.
        """
        parts = [*self._losses, *(part for logps in self._logps for part in logps)]
        loss = torch.stack([part.sum() for part in parts]).isfinite().all()
        gradients = [_local(weights.grad) for weights in parameters if weights.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients).to(loss.device) if gradients else loss.new_zeros(())
        return torch.stack([~loss, ~norm.isfinite()]).float()

    def rows(self, process: int) -> list[dict[str, Any]]:
        """Every pair of the step in this process, with plain values for JSON."""
        found = []
        batches = zip(self._examples, self._logps, self._losses, strict=True)
        for number, (examples, (chosen, rejected, *_), losses) in enumerate(batches):
            columns = [chosen, rejected if len(rejected) else chosen.new_zeros(len(chosen)), losses]
            computed = zip(examples, *(column.tolist() for column in columns), strict=True)
            for example, policy_chosen, policy_rejected, loss in computed:
                pair = example.pair
                values = {
                    "policy_chosen": policy_chosen,
                    "policy_rejected": policy_rejected,
                    "reference_chosen": example.ref_chosen_logps,
                    "reference_rejected": example.ref_rejected_logps,
                    "loss": loss,
                }
                found.append(
                    {
                        "id": pair.id,
                        "prompt_id": pair.prompt_id,
                        "language": pair.language,
                        "process": process,
                        "micro_batch": number,
                        "prompt_tokens": len(pair.chosen.prompt_ids),
                        "chosen_tokens": len(pair.chosen.response_ids),
                        "rejected_tokens": len(pair.rejected.response_ids),
                        "not_finite": [name for name, value in values.items() if not math.isfinite(value)],
                        **{name: json_number(value) for name, value in values.items()},
                    }
                )
        return found


def json_number(value: float) -> float | str:
    """A number for JSON, which has none that are not finite: these as "nan", "inf" or "-inf"."""
    return value if math.isfinite(value) else str(value)


def stop_not_finite(trainer: Trainer, record: StepRecord, loss_is_wrong: bool) -> None:
    """Saves the pairs of a step beside the checkpoints, and ends the training. Every process calls it.

    Raises:
        InputError: Always. It says where the pairs are, which of them are wrong, and what to do.
    """
    folder = Path(str(trainer.args.output_dir))
    file, step = folder.parent / BAD_BATCH, trainer.state.global_step + 1
    rows: list[dict[str, Any]] = gather_object(record.rows(trainer.args.process_index))
    checkpoint = last_checkpoint(folder) if trainer.is_world_process_zero() else None
    scheduler: Any = trainer.lr_scheduler
    precision = trainer.accelerator.mixed_precision
    weights = next(p.dtype for p in trainer.model.parameters() if p.requires_grad)
    if trainer.is_world_process_zero():
        write_json(
            file,
            {
                "step": step,
                "not_finite": "loss" if loss_is_wrong else "gradient",
                "learning_rate": scheduler.get_last_lr()[0],
                "weights": str(weights).removeprefix("torch."),
                "mixed_precision": precision,
                "last_checkpoint": step_of(checkpoint) if checkpoint else None,
                "pairs": rows,
            },
        )
    reached = f"the checkpoint of step {step_of(checkpoint)}" if checkpoint else "the start"
    raise InputError(
        f"training: the {'loss' if loss_is_wrong else 'gradient'} of step {step} is no finite number. "
        f"{_which(rows)}. The step was not applied; its pairs are in {file}.",
        f"{_cause(rows, step, precision)} Other settings make another run: give it another output=. The same "
        f"command goes on from {reached}, and comes to this step again.",
    )


def _which(rows: Sequence[dict[str, Any]]) -> str:
    """The pairs that have a value that is not finite, and which values."""
    wrong = [row for row in rows if row["not_finite"]]
    if not wrong:
        return f"The losses of its {len(rows)} pairs are finite"
    named = ", ".join(row["id"] for row in wrong[:3]) + (", ..." if len(wrong) > 3 else "")
    counts = Counter(name for row in wrong for name in row["not_finite"] if name != "loss")
    values = ", ".join(f"{name} of {count}" for name, count in counts.items()) or "the loss alone"
    return f"{len(wrong)} of its {len(rows)} pairs have values that are not finite ({values}): {named}"


def _cause(rows: Sequence[dict[str, Any]], step: int, precision: str) -> str:
    """What it is likely to come from, and what helps."""
    wrong = {name for row in rows for name in row["not_finite"]}
    if {"reference_chosen", "reference_rejected"} & wrong:
        return (
            "The reference itself gives these responses no log-probability: an impossible token (-inf), or "
            "weights that are not numbers. Leave the pairs out, or mend the reference and its table."
        )
    if precision == "fp16":
        return "Activations leave the range of float16: train in bfloat16 or float32 (dtype)."
    if step == 1:
        return (
            "No step has been made yet, so it is the policy: look for weights that are not numbers, or train "
            "with dtype=float32."
        )
    return (
        "Most often the steps are too large: lower training.learning_rate or training.max_grad_norm, or "
        "raise training.warmup. Where that does not help, train with dtype=float32."
    )


def _local(gradient: Tensor) -> Tensor:
    """What this process holds of a gradient that is spread over several."""
    shard = getattr(gradient, "to_local", None)
    return gradient if shard is None else shard()
