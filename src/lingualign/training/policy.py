"""The model that is trained: prepared before, saved after."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, Trainer

from lingualign.config import TrainingConfig
from lingualign.errors import InputError
from lingualign.models import base_folder, is_adapter, load_model
from lingualign.prompts import ChatFormat
from lingualign.training.adapter import check_target_modules


def trainable_policy(
    folder: Path, config: TrainingConfig, *, device: str, dtype: str, trust_remote_code: bool
) -> Any:
    """Loads a policy for training.

    Args:
        folder: Of a model or an adapter.
        config: Says which weights are trained. With `lora`, an adapter: the one there is, or a new one with
            its settings. Without, all weights or those of attention, an adapter merged first, in float32:
            half-precision weights lose updates that are small beside them.
        device: Where to. Into the host's memory if the weights will be spread over processes: whole, they may
            not fit a GPU, and each process moves its share there.
        dtype: Of the frozen weights under an adapter.
        trust_remote_code: Run code that ships with the model.
    """
    lora = config.lora
    options: dict[str, Any] = {
        "device": "cpu" if will_be_sharded() else device,
        "trust_remote_code": trust_remote_code,
    }
    if lora is None:
        model: Any = load_model(folder, dtype="float32", **options)
        if is_adapter(folder):
            model = model.merge_and_unload().requires_grad_(True)  # what lay under an adapter was frozen
        disable_dropout(model)
        if config.train_modules == "attention":
            model.requires_grad_(False)
            for projection in attention_projections(model).values():
                projection.requires_grad_(True)
        return model
    from peft import LoraConfig as PeftLoraConfig
    from peft import PeftModel, TaskType, get_peft_model

    base = load_model(base_folder(folder), dtype=dtype, **options)
    disable_dropout(base)
    if is_adapter(folder):
        return PeftModel.from_pretrained(base, folder, is_trainable=True)
    if config.train_modules != "attention":
        check_target_modules(base, lora.target_modules)
    settings = PeftLoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=(
            list(attention_projections(base)) if config.train_modules == "attention" else lora.target_modules
        ),
        task_type=TaskType.CAUSAL_LM,
    )
    return get_peft_model(base, settings)


def will_be_sharded() -> bool:
    """Whether `accelerate launch` has asked for FSDP or DeepSpeed, by the variables that it sets."""
    names = ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED")
    return any(os.environ.get(name, "").lower() == "true" for name in names)


def attention_projections(model: nn.Module) -> dict[str, nn.Module]:
    """The linear maps inside a model's attention, by name: queries, keys, values and output.

    Raises:
        InputError: There are none that can be told by the name of the class around them.
    """
    found = {
        f"{name}.{child}": projection
        for name, attention in model.named_modules()
        if type(attention).__name__.endswith("Attention")
        for child, projection in attention.named_children()
        if isinstance(projection, nn.Linear) or type(projection).__name__ == "Conv1D"
    }
    if not found:
        raise InputError(
            f"training.train_modules is attention, and {type(model).__name__} has no module named so.",
            "Set training.train_modules=all, or use training.lora with target_modules.",
        )
    return found


def disable_dropout(model: nn.Module) -> None:
    """Turns off the model's own dropout.

    The reference was computed without. With it, the log-ratio that the loss compares would start as noise.
    """
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0  # type: ignore[assignment]


def save_policy(
    trainer: Trainer, policy: Path, chat: ChatFormat, folder: Path, *, trust_remote_code: bool
) -> None:
    """Saves the trained model or adapter with its tokenizer, so that the folder is complete or not there.

    Every process calls it; one gathers the weights, in the host's memory, and writes.

    Args:
        trainer: Its model is saved.
        policy: Folder of the model that training started from; a whole model is saved in the type it names.
        chat: Its tokenizer is saved.
        folder: Where to, replaced if it exists.
        trust_remote_code: To read the policy's config.
    """
    weights = trainer.accelerator.get_state_dict(trainer.model_wrapped)  # those of all processes take part
    if trainer.is_world_process_zero():
        temporary = folder.with_name(f".{folder.name}.tmp")
        shutil.rmtree(temporary, ignore_errors=True)  # left by a killed process
        model = trainer.accelerator.unwrap_model(trainer.model_wrapped)
        if hasattr(model, "peft_config"):
            model.save_pretrained(temporary, state_dict=weights)
            (temporary / "README.md").unlink(missing_ok=True)  # peft's card knows nothing of the run
        else:
            config = AutoConfig.from_pretrained(base_folder(policy), trust_remote_code=trust_remote_code)
            dtype = config.dtype or model.dtype
            model.save_pretrained(temporary, state_dict=_in_type(weights, dtype, _tied(model)))
            model.config.dtype = dtype  # it has taken the type that was trained in
            model.config.save_pretrained(temporary)
        chat.tokenizer.save_pretrained(temporary)
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    trainer.accelerator.wait_for_everyone()


def _tied(model: nn.Module) -> Mapping[str, str]:
    """Names of weights that are others under a second name, such as a head tied to the embeddings."""
    return getattr(model, "all_tied_weights_keys", None) or {}


def _in_type(weights: Mapping[str, Tensor], dtype: torch.dtype, tied: Mapping[str, str]) -> dict[str, Tensor]:
    """Weights in a type, in the host's memory: beside gradients and moments a GPU has no room for copies.

    Those that are tied stay one tensor, or become one again where they were gathered one by one.
    """
    found = {}
    for name, tensor in weights.items():
        source = weights.get(tied.get(name, ""))
        if source is None or not torch.equal(source, tensor):
            found[name] = tensor.to("cpu", dtype if tensor.is_floating_point() else tensor.dtype)
    return found
