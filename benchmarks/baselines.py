"""What the peers need: TRL's trainer made ready, and the padded batches of a research script."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from cases import Workload
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from lingualign.models import load_tokenizer

BETA = 0.1

Row = tuple[list[int], list[int]]  # tokens of a prompt and of a response


def dpo_trainer(workload: Workload, policy: Any | None, reference: Any) -> Any:
    """TRL's DPO trainer at its fastest settings on a CPU that leave the numbers as they are.

    Its own tokenisation is given one pair and does not count: batches are made of token ids by its collator.

    Args:
        workload: For the tokenizer.
        policy: The model that is trained; None for a trainer that only scores under the reference.
        reference: Its reference.
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import datasets
    from trl import DPOConfig, DPOTrainer

    warnings.simplefilter("ignore", FutureWarning)  # TRL still says gradient_checkpointing to Transformers
    datasets.disable_progress_bars()
    logging.getLogger("trl").setLevel(logging.ERROR)
    pair = {
        "prompt": [{"role": "user", "content": "Question"}],
        "chosen": [{"role": "assistant", "content": "Yes"}],
        "rejected": [{"role": "assistant", "content": "No"}],
    }
    arguments = DPOConfig(
        output_dir=str(Path(workload.scratch) / "trl"),
        beta=BETA,
        loss_type=["sigmoid"],
        max_length=None,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        disable_dropout=True,
        report_to="none",
        disable_tqdm=True,
    )
    return DPOTrainer(
        model=placeholder() if policy is None else policy,
        ref_model=reference,
        args=arguments,
        train_dataset=datasets.Dataset.from_list([pair]),
        processing_class=load_tokenizer(workload.policy),
    )


def placeholder() -> Any:
    """The smallest model that a trainer takes, where none is to be trained."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=8,
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            bos_token_id=None,
            eos_token_id=None,
        )
    )


def pairs_of(rows: Sequence[Row]) -> list[dict[str, list[int]]]:
    """Neighbouring candidates of a prompt as TRL's pairs."""
    return [
        {"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected}
        for (prompt, chosen), (_, rejected) in zip(rows[::2], rows[1::2], strict=True)
    ]


def plain_logps(model: Any, rows: Sequence[Row]) -> Tensor:
    """Summed log-probabilities of responses as research scripts compute them: pad, log-softmax, gather."""
    longest = max(len(prompt) + len(response) for prompt, response in rows)
    ids = torch.zeros((len(rows), longest), dtype=torch.long)
    attention, scored = torch.zeros_like(ids), torch.zeros_like(ids)
    for row, (prompt, response) in enumerate(rows):
        end = len(prompt) + len(response)
        ids[row, :end] = torch.tensor(prompt + response)
        attention[row, :end] = 1
        scored[row, len(prompt) : end] = 1
    logits = model(input_ids=ids, attention_mask=attention, use_cache=False).logits[:, :-1]
    logps = logits.log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)
    return (logps * scored[:, 1:]).sum(-1)


@torch.inference_mode()
def plain_sums(model: Any, rows: Sequence[Row], batch: int) -> Tensor:
    """`plain_logps` of rows as they come, in batches of a fixed size, without gradients."""
    return torch.cat(
        [plain_logps(model, rows[start : start + batch]) for start in range(0, len(rows), batch)]
    )
