"""Training of a reward model on labelled pairs, with TRL's RewardTrainer.

TRL computes the loss, and reads pairs that are tokens already: those that the reward model will read when it
scores (`conversation_ids`). This module makes the model that it starts from, keeps it quiet, and saves.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from huggingface_hub import constants
from torch import nn
from transformers import AutoModelForSequenceClassification, set_seed
from transformers.trainer_callback import PrinterCallback
from trl import RewardConfig, RewardTrainer

from lingualign.config import TrainingConfig
from lingualign.errors import InputError
from lingualign.models import (
    is_adapter,
    load_model,
    no_progress_bars,
    resolve_device,
    resolve_dtype,
    resolve_spec,
)
from lingualign.prompts import ChatFormat
from lingualign.records import Pair
from lingualign.rewards.reward_model import conversation_ids
from lingualign.training.arguments import last_checkpoint, training_arguments
from lingualign.training.policy import save_policy
from lingualign.training.trainer import OnStep, StepReport


def train_reward_model(
    config: TrainingConfig,
    pairs: Sequence[Pair],
    *,
    base: str | Path,
    chat: ChatFormat,
    output: Path,
    seed: int,
    device: str = "auto",
    dtype: str = "auto",
    trust_remote_code: bool = False,
    on_step: OnStep,
) -> None:
    """Trains a reward model and saves it to `output`, with its tokenizer.

    Killed and called again with the same arguments, it goes on from the last checkpoint in the folder
    `<output>.checkpoints` and ends with the same weights. `output` appears complete or not at all; the
    checkpoints are then removed.

    The loss of an optimiser step is the mean over its micro-batches of the mean over their pairs.

    Args:
        config: How to optimise; nothing is read of its objective, nor `lora`: all weights are trained, in
            float32 or, where `dtype` comes to bfloat16, with arithmetic in that.
        pairs: Preferences. All are used; of a conversation longer than `max_length` tokens, the end is.
        base: Spec of the language model to start from; an adapter is merged first.
        chat: Chat format of the policy. The reward model gets its tokenizer, with the end token as pad token
            where it has none, as TRL does it.
        output: Folder of the model.
        seed: Of the head and of the order of the pairs.
        device: See `load_model`.
        dtype: See `load_model`.
        trust_remote_code: Run code that ships with the base.
        on_step: Called with (steps done, of how many, metrics) after each step: `loss`, `accuracy` and
            `margin` of its pairs, `min_reward`, `mean_reward`, `max_reward`, `learning_rate`, `grad_norm`.

    Raises:
        InputError: There is no pair, the tokenizer has no chat template, or the base cannot be made a reward
            model of.
    """
    if not pairs:
        raise InputError(
            "There are no labelled pairs to train a reward model on.",
            "Set data.labelled_pairs, or give a reward model with reward.options.model.",
        )
    constants.HF_HUB_DISABLE_TELEMETRY = True  # TRL tells its makers of every training
    start, place = resolve_spec(base), resolve_device(device)
    mixed = resolve_dtype(dtype, place) is torch.bfloat16
    chat = copy.deepcopy(chat)  # TRL may set its pad token
    examples = [_example(pair, chat.tokenizer, config.max_length) for pair in pairs]
    checkpoints = output.with_name(f"{output.name}.checkpoints")
    checkpoint = last_checkpoint(checkpoints)
    arguments = training_arguments(
        config,
        checkpoints,
        [1] * len(examples),
        seed,
        cpu=place.type == "cpu",
        mixed=mixed,
        kind=RewardConfig,
        max_length=None,  # conversations have been cut already
    )
    set_seed(seed)
    trainer = RewardTrainer(
        model=untrained_reward_model(start, device=str(place), trust_remote_code=trust_remote_code),
        args=arguments,
        train_dataset=Dataset.from_list(examples),
        processing_class=chat.tokenizer,
        callbacks=[StepReport(on_step)],
    )
    trainer.remove_callback(PrinterCallback)
    with no_progress_bars():
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        save_policy(trainer, start, chat, output, trust_remote_code=trust_remote_code)
    if trainer.is_world_process_zero():
        shutil.rmtree(checkpoints, ignore_errors=True)


def untrained_reward_model(folder: Path, *, device: str, trust_remote_code: bool = False) -> Any:
    """A language model in float32 with a head for one number in place of its LM head.

    The head has no bias, and weights drawn from a normal distribution of mean 0 and standard deviation
    1 / sqrt(h + 1), h the width of the model (https://arxiv.org/abs/2410.18027).

    Args:
        folder: Of a causal language model or an adapter, which is merged.
        device: Where to.
        trust_remote_code: Run code that ships with the model.

    Raises:
        InputError: Transformers has no sequence-classification model for this architecture that is one linear
            map on the last token.
    """
    language_model: Any = load_model(
        folder, device=device, dtype="float32", trust_remote_code=trust_remote_code
    )
    if is_adapter(folder):
        language_model = language_model.merge_and_unload()
    config = language_model.config
    config.num_labels = 1
    try:
        with torch.device("meta"):  # a skeleton without memory
            model = AutoModelForSequenceClassification.from_config(
                config, trust_remote_code=trust_remote_code
            )
        head = nn.Linear(model.score.in_features, 1, bias=False)
    except (ValueError, AttributeError) as error:
        raise _no_reward_model(folder, config.model_type) from error
    nn.init.normal_(head.weight, std=(head.in_features + 1) ** -0.5)
    model.score = head.to(device)
    setattr(model, model.base_model_prefix, language_model.base_model)
    if any(weights.is_meta for weights in model.parameters()):
        raise _no_reward_model(folder, config.model_type)
    return model.requires_grad_(True)  # what lay under an adapter was frozen


def _no_reward_model(folder: Path, architecture: str) -> InputError:
    return InputError(
        f"{folder}: a model of type {architecture} cannot be made a reward model of.",
        "Train one of another type, and give it with reward.options.model.",
    )


def _example(pair: Pair, tokenizer: Any, max_length: int) -> dict[str, list[int]]:
    """A pair in the columns that TRL takes as they are."""
    return {
        "chosen_ids": conversation_ids(tokenizer, [*pair["prompt"], *pair["chosen"]], max_length),
        "rejected_ids": conversation_ids(tokenizer, [*pair["prompt"], *pair["rejected"]], max_length),
    }
