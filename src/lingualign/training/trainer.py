"""Preference training on `transformers.Trainer`: accelerate, FSDP, DeepSpeed, checkpoints as users know them.

Public methods of the Trainer are overridden, and no private one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise, takewhile
from typing import Any

import torch
from accelerate.utils import broadcast
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from lingualign.config import TrainingConfig
from lingualign.logprobs import can_pack, keep_packing, token_logprobs
from lingualign.training.collate import Example, collate
from lingualign.training.finite import MOST_SKIPPED, SKIPPED, StepRecord, stop_not_finite
from lingualign.training.objectives import NEED_STEP_RATIOS, PairLogps, preference_loss
from lingualign.training.objectives.base import per_token

OnStep = Callable[
    [int, int, Mapping[str, float]], None
]  # (steps done, of how many, metrics of the last step)


class PreferenceTrainer(Trainer):
    """Minimises a preference objective over pairs.

    The loss of an optimiser step is the mean over its pairs, however they are split over micro-batches and
    processes. (The usual mean of the micro-batches' means is another number where the last one is smaller.)
    A step whose loss or gradient is not finite is not applied: it ends the training.

    Args:
        config: The objective and its settings.
        model: The policy.
        groups: Pairs in tokens with their reference log-probabilities; those of a group share a step. The
            batch sizes in `args` count groups.
        args: Arguments of the Trainer.
        on_step: Called after each optimiser step.
    """

    def __init__(
        self,
        config: TrainingConfig,
        model: nn.Module,
        groups: list[list[Example]],
        args: TrainingArguments,
        on_step: OnStep | None = None,
    ) -> None:
        can_pack(
            model, 1
        )  # tried before accelerate wraps the model, as mixed precision blurs what is compared
        super().__init__(model=model, args=args, train_dataset=groups, data_collator=list)
        self.remove_callback(PrinterCallback)
        if on_step is not None:
            self.add_callback(StepReport(on_step))
        # Tells the Trainer that compute_loss divides by the items of the whole step itself.
        self.model_accepts_loss_kwargs = True
        self._config = config
        self._values: dict[str, list[Tensor]] = {}  # of the pairs since the last log
        self._step = StepRecord()

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Tensor]:
        """The micro-batches of one optimiser step, and the number of pairs in them over all processes.

        The pairs of a step are dealt out to its micro-batches by length. Their gradients add up to the same
        whatever the order, and there is less padding to compute. What an objective needs to know of the whole
        step goes into each of them.
        """
        drawn, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        examples = sorted(
            (example for groups in drawn for group in groups for example in group), key=Example.longest
        )
        # The Trainer counts the micro-batches of a step: there are as many as were drawn, all about as large.
        cuts = [len(examples) * number // len(drawn) for number in range(len(drawn) + 1)]
        preferred = self._config.preference_weight > 0
        parts = [examples[start:stop] for start, stop in pairwise(cuts)]
        self._step.begin(parts)
        batches = [collate(part, preferred) for part in parts]
        counts = torch.tensor([len(examples), sum(e.has_nll for e in examples)], device=device)
        pairs, with_nll = self.accelerator.reduce(counts, reduction="sum")
        for batch in batches:
            batch["nll_share"] = batch["has_nll"].to(device) * pairs / with_nll.clamp(min=1)
        if self._config.objective in NEED_STEP_RATIOS:
            step_ratios = self._sum_of_ratios(batches, device) / pairs
            for batch in batches:
                batch["step_ratios"] = step_ratios
        return batches, pairs

    def training_step(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Tensor:
        """Forward and backward of one micro-batch, with attention packed in both.

        Raises:
            InputError: It is the last of its step, and the loss or the gradient of the step is not finite.
        """
        with keep_packing(model, max(map(len, inputs["sequences"]))):
            loss = super().training_step(model, inputs, *args, **kwargs)
        if self.accelerator.sync_gradients:
            wrong = self.accelerator.reduce(self._step.wrong(model.parameters()), reduction="sum")
            wrong_loss, wrong_gradient = wrong.tolist()
            if wrong_loss or (wrong_gradient and not self._may_skip()):
                stop_not_finite(self, self._step, bool(wrong_loss))
        return loss

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The part of the step's mean loss that the pairs of one micro-batch make up."""
        logps = _pair_logps(model, inputs)
        losses, values = preference_loss(logps, self._config, inputs["nll_share"])
        if self._config.preference_weight > 0:
            values["chosen_ratio"] = per_token(logps.chosen_ratios.detach(), logps.chosen_lengths)
        self._step.add(logps, losses)
        for name, value in values.items():
            self._values.setdefault(name, []).append(value)
        pairs = len(losses) if num_items_in_batch is None else num_items_in_batch
        # Gradients are averaged over processes afterwards, and `pairs` counts those of all.
        loss = losses.sum() / pairs * self.accelerator.num_processes
        return (loss, values) if return_outputs else loss

    def _sum_of_ratios(self, batches: list[dict[str, Any]], device: torch.device) -> Tensor:
        """Sums of chosen and of rejected log-ratios [2] over all pairs of a step, in all processes."""
        model = self.model_wrapped
        mode = model.training
        model.eval()  # without an adapter's dropout, whose draws belong to the pass with gradients
        total = torch.zeros(2, device=device)
        with torch.no_grad(), self.compute_loss_context_manager():
            for batch in batches:
                logps = _pair_logps(model, batch)
                total += torch.stack([logps.chosen_ratios.sum(), logps.rejected_ratios.sum()])
        model.train(mode)
        return self.accelerator.reduce(total, reduction="sum")

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Logs, and with the loss the means of the objective's values over the pairs since the last time."""
        if "loss" in logs:
            logs |= self._means()
            if not math.isfinite(logs.get("grad_norm", 0.0)):
                # Seen before the step everywhere but under DeepSpeed, which makes the step in its backward.
                if not self._may_skip():
                    stop_not_finite(self, self._step, loss_is_wrong=False)
                del logs["grad_norm"]
                logs[SKIPPED] = 1.0
        super().log(logs, start_time)

    def _means(self) -> dict[str, float]:
        """Means of the objective's values over the pairs since the last time, the same in all processes."""
        columns = {name: torch.cat(parts) for name, parts in self._values.items()}
        self._values.clear()
        sums = torch.stack([values.sum() for values in columns.values()])
        pairs = sums.new_tensor([len(next(iter(columns.values())))])
        totals = self.accelerator.reduce(torch.cat([sums, pairs]), reduction="sum")
        *totals, count = broadcast(totals).tolist()  # to the last bit: all processes decide by it
        return {name: total / count for name, total in zip(columns, totals, strict=True)}

    def _may_skip(self) -> bool:
        """Whether a gradient out of range may be left to the gradient scaler of float16 once more."""
        if self.accelerator.mixed_precision != "fp16":
            return False
        steps = [entry for entry in self.state.log_history if "loss" in entry]
        in_a_row = takewhile(lambda entry: SKIPPED in entry, reversed(steps))
        return sum(1 for _ in in_a_row) < MOST_SKIPPED

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Of a micro-batch, forward and backward: 6 a parameter and token."""
        return 6 * sum(p.numel() for p in self.model.parameters()) * sum(map(len, inputs["sequences"]))


def _pair_logps(model: nn.Module, inputs: dict[str, Any]) -> PairLogps:
    """The log-probabilities of a micro-batch, in one forward pass."""
    logps = torch.stack([tokens.sum() for tokens in token_logprobs(model, inputs["sequences"])])
    pairs = len(inputs["chosen_lengths"])
    chosen, rejected = logps[:pairs], logps[pairs:]
    step_ratios = inputs.get("step_ratios")
    return PairLogps(
        policy_chosen=chosen,
        policy_rejected=rejected,
        ref_chosen=inputs["ref_chosen_logps"].to(logps.device),
        ref_rejected=inputs["ref_rejected_logps"].to(logps.device),
        chosen_lengths=inputs["chosen_lengths"].to(logps.device),
        rejected_lengths=inputs["rejected_lengths"].to(logps.device),
        step_ratios=step_ratios if step_ratios is None else step_ratios.to(logps.device),
    )


class StepReport(TrainerCallback):
    """Tells the pipeline about every step."""

    def __init__(self, on_step: OnStep) -> None:
        self._on_step = on_step

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Called by the Trainer."""
        if logs and "loss" in logs:
            self._on_step(state.global_step, state.max_steps, logs)
