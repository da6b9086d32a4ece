"""OpenRLHF: JSON lines with `prompt`, `chosen` and `rejected` as lists of messages.

That is what `RewardDataset` (openrlhf/datasets/reward_dataset.py) takes with a prompt key and
`apply_chat_template`: it renders `prompt`, `prompt + chosen` and `prompt + rejected`, so all three are lists.
A column `margin` would change the loss of a reward model, so there is none.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from lingualign.export.base import (
    Exported,
    RunPairs,
    as_list,
    differences,
    micro_batches,
    nll_per_preference,
    write_jsonl,
)

TITLE = "OpenRLHF"
FILE = "pairs.jsonl"
COLUMNS = ("prompt", "chosen", "rejected", "id", "language")


def write(run: RunPairs, folder: Path) -> Exported:
    """See `Format`."""
    rows = map(dict[str, Any], run.pairs)
    write_jsonl(folder / FILE, ({name: row[name] for name in COLUMNS} for row in rows))
    return Exported(len(run.pairs), _readme(run))


def _readme(run: RunPairs) -> str:
    training = run.config.training
    reference = run.reference_model if training.reference == "initial" else run.policy
    options = [
        f"--model.model_name_or_path {shlex.quote(run.policy)}",
        f"--ref.model_name_or_path {shlex.quote(reference)}",
        f"--data.dataset {FILE}",
        "--data.prompt_key prompt",
        "--data.chosen_key chosen",
        "--data.rejected_key rejected",
        "--data.apply_chat_template",
        f"--data.max_len {training.max_length}",
        f"--train.batch_size {training.batch_pairs}",
        f"--train.micro_batch_size {micro_batches(training)[0]}",
        f"--train.max_epochs {training.epochs}",
        f"--adam.lr {training.learning_rate}",
        f"--max_norm {training.max_grad_norm}",
    ]
    if training.preference_weight > 0 and training.objective == "dpo":
        options += [
            f"--model.beta {training.beta}",
            f"--model.nll_loss_coef {nll_per_preference(training)}",
        ]
    if training.lora:
        options += [
            f"--ds.lora.rank {training.lora.r}",
            f"--ds.lora.alpha {training.lora.alpha}",
            f"--ds.lora.dropout {training.lora.dropout}",
        ]
    options.append("--ckpt.output_dir trained")
    command = " \\\n    ".join(["deepspeed --module openrlhf.cli.train_dpo", *options])
    different = differences(run, ["dpo"], nll=None)
    said = f"What the run's own training did otherwise:\n{as_list(different)}\n" if different else ""
    return f"""
In this folder, with the settings of the run (OpenRLHF 0.11):

```bash
{command}
```

Versions whose options have no dots write `--dataset {FILE} --prompt_key prompt --chosen_key chosen
--rejected_key rejected --apply_chat_template`. For a reward model, give the same `--data` options to
`openrlhf.cli.train_rm`. OpenRLHF computes the reference's log-probs itself.

{said}"""
