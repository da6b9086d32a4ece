"""LLaMA-Factory: a preference dataset in ShareGPT form, its entry in `dataset_info.json`, and a YAML file.

The schema is the one of https://github.com/hiyouga/LLaMA-Factory/blob/main/data/README.md, "Sharegpt
Format", "Preference Dataset": `conversations` that end with the human, `chosen` and `rejected` as one message
each, and `ranking: true`. A system message stands first; after it, human and gpt take turns.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
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
)
from lingualign.pipeline.files import write_json, write_text
from lingualign.records import Message
from lingualign.yaml_files import dump_yaml

TITLE = "LLaMA-Factory"
DATASET, FILE, SETTINGS = "lingualign_pairs", "pairs.json", "train.yaml"
SPEAKERS = {"system": "system", "user": "human", "assistant": "gpt"}
LOSSES = {"dpo": "sigmoid", "ipo": "ipo", "simpo": "simpo"}
SCHEDULERS = {"constant": "constant_with_warmup"}
NO_TURNS = "user and assistant do not take turns in the prompt, and LLaMA-Factory would skip them"


def write(run: RunPairs, folder: Path) -> Exported:
    """See `Format`."""
    rows = [
        {
            "conversations": [_message(message) for message in pair["prompt"]],
            "chosen": {"from": "gpt", "value": answer(pair["chosen"])},
            "rejected": {"from": "gpt", "value": answer(pair["rejected"])},
            "id": pair["id"],
            "language": pair["language"],
        }
        for pair in run.pairs
        if _takes_turns(pair["prompt"])
    ]
    write_text(folder / FILE, json.dumps(rows, ensure_ascii=False, indent=1) + "\n")
    columns = {"messages": "conversations", "chosen": "chosen", "rejected": "rejected"}
    entry = {"file_name": FILE, "formatting": "sharegpt", "ranking": True, "columns": columns}
    write_json(folder / "dataset_info.json", {DATASET: entry})
    write_text(folder / SETTINGS, _settings(run))
    dropped = len(run.pairs) - len(rows)
    return Exported(len(rows), _readme(run), {NO_TURNS: dropped} if dropped else {})


def _message(message: Message) -> dict[str, str]:
    return {"from": SPEAKERS[message["role"]], "value": message["content"]}


def _takes_turns(prompt: Sequence[Message]) -> bool:
    """Whether a prompt is user, assistant, user, ..., after at most one system message."""
    roles = [message["role"] for message in prompt]
    if roles[:1] == ["system"]:
        roles = roles[1:]
    turns = ["user", "assistant"] * len(roles)
    return len(roles) % 2 == 1 and roles == turns[: len(roles)]


def _settings(run: RunPairs) -> str:
    training, lora = run.config.training, run.config.training.lora
    size, accumulate = micro_batches(training)
    settings: dict[str, Any] = {
        "model_name_or_path": run.policy,
        "stage": "dpo",
        "do_train": True,
        "finetuning_type": "lora" if lora else "full",
    }
    if lora:
        settings |= {"lora_rank": lora.r, "lora_alpha": lora.alpha, "lora_dropout": lora.dropout}
    if training.preference_weight > 0 and training.objective in LOSSES:
        settings |= {"pref_loss": LOSSES[training.objective], "pref_beta": training.beta}
        if training.objective == "simpo":
            settings["simpo_gamma"] = training.simpo_gamma
        settings["pref_ftx"] = nll_per_preference(training)
    if training.reference == "initial":
        settings["ref_model"] = run.reference_model
    settings |= {
        "dataset_dir": ".",
        "dataset": DATASET,
        "cutoff_len": training.max_length,
        "output_dir": "trained",
        "per_device_train_batch_size": size,
        "gradient_accumulation_steps": accumulate,
        "learning_rate": training.learning_rate,
        "lr_scheduler_type": SCHEDULERS.get(training.scheduler, training.scheduler),
        "warmup_ratio": training.warmup,
        "num_train_epochs": training.epochs,
        "max_grad_norm": training.max_grad_norm,
        "weight_decay": training.weight_decay,
        "seed": run.config.seed,
    }
    return (
        "# The settings of the run, as far as LLaMA-Factory has them. Without `template`, it takes the chat\n"
        "# template of the tokenizer; for a known model, name its template (qwen3, llama3, gemma3, ...).\n"
        + dump_yaml(settings)
    )


def _readme(run: RunPairs) -> str:
    different = differences(run, LOSSES, nll=None)
    said = f"What the run's own training did otherwise:\n{as_list(different)}\n" if different else ""
    return f"""
- `{FILE}`: the pairs, in ShareGPT form.
- `dataset_info.json`: their entry, `{DATASET}`. To use them beside your other data, copy the pairs into your
  `data` folder and the entry into its `dataset_info.json`.
- `{SETTINGS}`: the settings of the run.

In this folder:

```bash
llamafactory-cli train {SETTINGS}
```

LLaMA-Factory computes the reference's log-probs itself.

{said}"""
