"""Axolotl: JSON lines for the strategy `chat_template.default` of `rl: dpo`, and a YAML file.

Documented at https://docs.axolotl.ai/docs/rlhf.html#chat_template.default: `messages`, and `chosen` and
`rejected` as one message each.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lingualign.export.base import (
    Exported,
    RunPairs,
    answer,
    as_list,
    differences,
    micro_batches,
    nll_per_preference,
    write_jsonl,
)
from lingualign.pipeline.files import write_text
from lingualign.yaml_files import dump_yaml

TITLE = "Axolotl"
FILE, SETTINGS = "pairs.jsonl", "train.yaml"
LOSSES = {"dpo": "sigmoid", "ipo": "ipo"}
SCHEDULERS = {"constant": "constant_with_warmup"}
EMPTY = "an answer is empty, and Axolotl ends with an error at such a pair"


def write(run: RunPairs, folder: Path) -> Exported:
    """See `Format`."""
    pairs = [pair for pair in run.pairs if answer(pair["chosen"]) and answer(pair["rejected"])]
    write_jsonl(
        folder / FILE,
        (
            {
                "messages": pair["prompt"],
                "chosen": {"role": "assistant", "content": answer(pair["chosen"])},
                "rejected": {"role": "assistant", "content": answer(pair["rejected"])},
                "id": pair["id"],
                "language": pair["language"],
            }
            for pair in pairs
        ),
    )
    write_text(folder / SETTINGS, _settings(run))
    empty = len(run.pairs) - len(pairs)
    return Exported(len(pairs), _readme(run), {EMPTY: empty} if empty else {})


def _settings(run: RunPairs) -> str:
    training, lora = run.config.training, run.config.training.lora
    size, accumulate = micro_batches(training)
    settings: dict[str, Any] = {
        "base_model": run.policy,
        "rl": "dpo",
        "chat_template": "tokenizer_default",
        "datasets": [
            {
                "path": FILE,
                "ds_type": "json",
                "split": "train",
                "type": "chat_template.default",
                "field_messages": "messages",
                "field_chosen": "chosen",
                "field_rejected": "rejected",
                "message_property_mappings": {"role": "role", "content": "content"},
                "roles": {role: [role] for role in ("user", "assistant", "system")},
            }
        ],
    }
    if lora:
        settings |= {
            "adapter": "lora",
            "lora_r": lora.r,
            "lora_alpha": lora.alpha,
            "lora_dropout": lora.dropout,
            "lora_target_linear": True,
        }
    if training.preference_weight > 0 and training.objective in LOSSES:
        settings |= {"rl_beta": training.beta, "dpo_loss_type": [LOSSES[training.objective]]}
        if training.nll_weight > 0:
            settings["dpo_loss_type"] = [*settings["dpo_loss_type"], "sft"]
            settings["dpo_loss_weights"] = [1.0, nll_per_preference(training)]
    settings |= {
        "sequence_len": training.max_length,
        "output_dir": "trained",
        "micro_batch_size": size,
        "gradient_accumulation_steps": accumulate,
        "learning_rate": training.learning_rate,
        "lr_scheduler": SCHEDULERS.get(training.scheduler, training.scheduler),
        "warmup_ratio": training.warmup,
        "num_epochs": training.epochs,
        "optimizer": "adamw_torch",
        "max_grad_norm": training.max_grad_norm,
        "weight_decay": training.weight_decay,
        "seed": run.config.seed,
    }
    return "# The settings of the run, as far as Axolotl has them.\n" + dump_yaml(settings)


def _readme(run: RunPairs) -> str:
    different = differences(run, LOSSES, "a mean over all tokens of a batch")
    if run.config.training.reference == "initial":
        different.append("The frozen reference was the run's `reference`; Axolotl takes the base model.")
    # The strategy looks for the answer's text in the rendered conversation.
    trimmed = sum(
        text != text.strip()
        for pair in run.pairs
        for text in (answer(pair["chosen"]), answer(pair["rejected"]))
    )
    if trimmed:
        different.append(
            f"{trimmed} answers begin or end with white space. Axolotl finds an answer in the rendered "
            "conversation by its text: with a chat template that strips answers it does not find these, and "
            "keeps one character. Look at them with `axolotl preprocess --debug`."
        )
    said = f"What the run's own training did otherwise, and what to look at:\n{as_list(different)}\n"
    return f"""
- `{FILE}`: the pairs.
- `{SETTINGS}`: the settings of the run, with the entry under `datasets`.

In this folder:

```bash
axolotl train {SETTINGS}
```

Axolotl computes the reference's log-probs itself.

{said if different else ""}"""
