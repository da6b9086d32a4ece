"""The metadata block of a model card, as the Hugging Face Hub reads it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from lingualign.config import RunConfig
from lingualign.export.markdown import plain
from lingualign.export.repeat import hub_id, short
from lingualign.languages import LANGUAGES
from lingualign.models import ADAPTER_CONFIG

NOT_INDEPENDENT = "implicit"  # the judge that is the signal trained on: its wins are no evaluation


def card_data(
    config: RunConfig, iteration: int, measured: Mapping[str, Any], judge: Mapping[str, str], model: Path
) -> ModelCardData:
    """The metadata of one trained model.

    What is not known is left out: the licence, data sets of the Hub, and the base model unless its folder
    tells its name on the Hub.

    Args:
        config: Of the run.
        iteration: Which of its models.
        measured: Of that iteration, from `measures.json`.
        judge: Kind and label of the judge.
        model: Folder of the model.
    """
    adapter = (model / ADAPTER_CONFIG).is_file()
    training = config.training
    method = training.objective if training.preference_weight > 0 else "sft"
    base = hub_id(config.policy)
    further: dict[str, Any] = {"base_model_relation": "adapter" if adapter else "finetune"} if base else {}
    results = list(eval_results(config, measured, judge))
    return ModelCardData(
        base_model=base,
        language=list(dict.fromkeys(code.partition("-")[0] for code in config.languages)),
        library_name="peft" if adapter else "transformers",
        pipeline_tag="text-generation",
        tags=["lingualign", config.recipe, method, "multilingual", *(["lora"] if adapter else [])],
        model_name=model_name(config, iteration) if results else None,
        eval_results=results or None,
        **further,
    )


def model_name(config: RunConfig, iteration: int) -> str:
    """A name for the trained model: the policy's, the recipe and the iteration."""
    policy = plain(short(config.policy)).removeprefix("lab:").rstrip("/").rpartition("/")[2]
    return f"{policy}-{config.recipe}-iteration-{iteration}"


def eval_results(
    config: RunConfig, measured: Mapping[str, Any], judge: Mapping[str, str]
) -> Iterator[EvalResult]:
    """The wins over the start in percent, by language and decoding; none of the implicit judge."""
    if judge["kind"] == NOT_INDEPENDENT:
        return
    temperature = config.measures.temperature
    for code in config.languages:
        for decoding in ("sampled", "greedy"):
            interval = measured[decoding]["languages"][code]["win_rate"]
            if interval is None or not math.isfinite(interval["mean"]):
                continue
            how = f"temperature {temperature:g}" if decoding == "sampled" else "greedy"
            name = LANGUAGES[code].name if code in LANGUAGES else code
            yield EvalResult(
                task_type="text-generation",
                task_name="Answers to held-out prompts, compared with those of the starting model",
                dataset_type="held-out-prompts",
                dataset_name=f"Held-out prompts of the run, {name}",
                dataset_config=code,
                metric_type="win_rate",
                metric_name=f"Wins over the starting model in %, {how}; judge: {plain(judge['label'])}",
                metric_value=round(100 * interval["mean"], 2),
            )
