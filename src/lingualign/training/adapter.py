"""Where a new adapter goes, looked up before anything is sampled or trained."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from lingualign.config import TrainingConfig
from lingualign.errors import InputError
from lingualign.models import is_adapter

ALL_LINEAR = "all-linear"


def check_adapter(folder: Path, config: TrainingConfig, trust_remote_code: bool) -> None:
    """Checks that a new adapter can be put on a model, by the model's skeleton: its weights are not read.

    Raises:
        InputError: See `check_target_modules`.
    """
    wanted = ALL_LINEAR if config.lora is None else config.lora.target_modules
    if wanted == ALL_LINEAR or config.train_modules == "attention" or is_adapter(folder):
        return
    known = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=trust_remote_code)
    with torch.device("meta"):
        skeleton = AutoModelForCausalLM.from_config(known, trust_remote_code=trust_remote_code)
    check_target_modules(skeleton, wanted)


def check_target_modules(model: nn.Module, wanted: str | list[str]) -> None:
    """Checks that a model has all modules that `training.lora.target_modules` names.

    Peft puts up with a list of which only some are there, and trains less than was asked for.

    Args:
        model: Or its skeleton.
        wanted: `all-linear`, a regular expression for whole names, or a list of names and ends of names.

    Raises:
        InputError: There is no such module, or the expression is none.
    """
    if wanted == ALL_LINEAR:
        return
    maps = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Embedding) or type(module).__name__ == "Conv1D"
    ]
    where = "training.lora.target_modules"
    try:
        if isinstance(wanted, str):
            lacking = [] if any(re.fullmatch(wanted, name) for name in maps) else [wanted]
        else:
            lacking = [end for end in wanted if not any(f".{name}".endswith(f".{end}") for name in maps)]
    except re.error as error:
        raise InputError(f"{where}: {wanted} is no regular expression ({error}).") from None
    if lacking or not wanted:
        ends = sorted({name.rpartition(".")[2] for name in maps})
        raise InputError(
            f"{where}: the policy has no module {', '.join(lacking)}." if wanted else f"{where} is empty.",
            f"A list holds names or ends of names ({', '.join(ends)}), text alone is a regular "
            f"expression for whole names, and {ALL_LINEAR} stands for all linear maps but the head.",
        )
