"""TRL: a Parquet file for `DPOTrainer`, in the conversational preference format with an explicit prompt.

Documented at https://huggingface.co/docs/trl/dataset_formats#preference; the columns `ref_chosen_logps` and
`ref_rejected_logps` are those of `DataCollatorForPreference` (TRL 1.16): summed log-probs of an answer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from lingualign.export.base import Exported, RunPairs, as_list, differences, micro_batches, nll_per_preference
from lingualign.records import PAIRS, REFERENCE_LOGPS, write_table

TITLE = "TRL"
FILE = "pairs.parquet"
LOSSES = {"dpo": "sigmoid", "ipo": "ipo"}
SCHEDULERS = {"constant": "constant_with_warmup"}

NO_REFERENCE = "they have no reference log-probs, because they are longer than training.max_length"


def write(run: RunPairs, folder: Path) -> Exported:
    """See `Format`."""
    pairs: list[dict[str, Any]] = [dict(pair) for pair in run.pairs]
    schema, left_out = PAIRS, {}
    if run.reference:
        # The collator makes a tensor of the column: a row without a value would be an error there.
        pairs = [{**pair, **run.reference[pair["id"]]} for pair in pairs if pair["id"] in run.reference]
        schema = pa.schema([*PAIRS, *list(REFERENCE_LOGPS)[1:]])
        if len(pairs) < len(run.pairs):
            left_out = {NO_REFERENCE: len(run.pairs) - len(pairs)}
    write_table(folder / FILE, pairs, schema)
    return Exported(len(pairs), _readme(run), left_out)


def _readme(run: RunPairs) -> str:
    training = run.config.training
    size, accumulate = micro_batches(training)
    settings: dict[str, Any] = {"output_dir": "trained"}
    if training.preference_weight > 0 and training.objective in LOSSES:
        settings |= {"loss_type": [LOSSES[training.objective]], "beta": training.beta}
        if training.nll_weight > 0:
            settings["loss_type"] = [*settings["loss_type"], "sft"]
            settings["loss_weights"] = [1.0, nll_per_preference(training)]
    settings |= {
        "learning_rate": training.learning_rate,
        "lr_scheduler_type": SCHEDULERS.get(training.scheduler, training.scheduler),
        "warmup_steps": training.warmup,
        "num_train_epochs": training.epochs,
        "per_device_train_batch_size": size,
        "gradient_accumulation_steps": accumulate,
        "max_length": training.max_length,
        "max_grad_norm": training.max_grad_norm,
        "weight_decay": training.weight_decay,
        "seed": run.config.seed,
    }
    arguments = "".join(f"    {key}={value!r},\n" for key, value in settings.items())
    lora = training.lora
    imported = adapter = taking = ""
    if lora:
        imported, taking = "from peft import LoraConfig\n", ", peft_config=adapter"
        adapter = (
            f"\nadapter = LoraConfig(r={lora.r}, lora_alpha={lora.alpha}, lora_dropout={lora.dropout}, "
            f'target_modules={lora.target_modules!r}, task_type="CAUSAL_LM")'
        )
    different = differences(run, LOSSES, "a mean over all tokens of a batch")
    if training.reference == "initial":
        different.append(
            f"The frozen reference is the run's `reference`: give it as `ref_model`, {run.reference_model}."
        )
    said = f"What the run's own training did otherwise:\n{as_list(different)}\n" if different else ""
    return f"""---
configs:
- config_name: default
  data_files: {FILE}
---
`prompt`, `chosen` and `rejected` are lists of messages. Where each pair is from is in `id`, `prompt_id`,
`language`, `chosen_score` and `rejected_score`; TRL ignores them. In this folder, with the settings of the
run:

```python
from datasets import load_dataset
{imported}from trl import DPOConfig, DPOTrainer

pairs = load_dataset("parquet", data_files={FILE!r}, split="train")
config = DPOConfig(
{arguments}){adapter}
trainer = DPOTrainer(model={run.policy!r}, args=config, train_dataset=pairs{taking})
trainer.train()
```

{said}{_reference_text(run)}"""


def _reference_text(run: RunPairs) -> str:
    if not run.reference:
        return "There are no reference log-probs: the run's objective has no reference.\n"
    return """
## Reference log-probs
`ref_chosen_logps` and `ref_rejected_logps` are sums over the tokens of an answer, in nats, under the frozen
reference of the run. TRL 1.16 carries the two columns into its batches and computes its own all the same. To
use these, which spares the reference's forward pass, set this before `trainer.train()`:

```python
trainer.precompute_ref_logps = True
```

`DPOConfig(precompute_ref_log_probs=True)` computes the same columns anew and does not start while they are
there: `pairs.remove_columns(["ref_chosen_logps", "ref_rejected_logps"])` takes them out.

They are the numbers that TRL computes where an answer is finished and the chat template puts nothing but the
end token behind it. They are not where an answer was cut (TRL puts an end token behind it), and where the
template writes more behind or before an answer, such as Qwen's line break and empty think block (TRL counts
those tokens too).
"""
