"""A reward model of the source language, applied to every other language as it is.

A reward model reads a conversation, prompt and response, and gives one number. Trained on preferences of the
source language alone, from a multilingual language model, it ranks responses in other languages too. Training
minimises the Bradley-Terry loss of the chosen response y_w against the rejected one y_l:

    L = -log sigmoid(r(x, y_w) - r(x, y_l))

So r is known up to a constant a prompt, and its unit is that of a logit.

References:
    - Reuse Your Rewards: Reward Model Transfer for Zero-Shot Cross-Lingual Alignment:
      https://arxiv.org/abs/2404.12318
    - Cross-lingual Transfer of Reward Models in Multilingual Alignment: https://arxiv.org/abs/2410.18027
    - The loss: Bradley and Terry 1952; for language models https://arxiv.org/abs/2009.01325
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from lingualign.config import RunConfig, Section
from lingualign.errors import InputError
from lingualign.models import no_progress_bars, resolve_device
from lingualign.paths import user_path
from lingualign.records import Message, Pair, Score
from lingualign.rewards.base import Candidates, Tools, score_of

READS = "own"


class Settings(Section):
    """Which reward model, and how one is trained where none is given.

    What is not here is as in `training`: micro-batches, checkpoints, gradient clipping, weight decay.
    """

    model: str | None = None
    """Folder of a sequence-classification model with one output, as TRL's RewardTrainer makes it. Unset: one
    is trained on the labelled pairs of the source language before anything is scored."""

    base: Literal["reference", "policy"] = "reference"
    """The language model that training starts from, a new head in place of its LM head: the run's reference
    or its policy (ours; in the papers an instruction-tuned model)."""

    learning_rate: float = Field(1e-5, gt=0)
    """Peak learning rate, warmed up over a tenth of the steps, then on a cosine (Hong et al.)."""

    epochs: int = Field(1, ge=1)
    """Passes over the pairs (Hong et al.: 1)."""

    batch_pairs: int = Field(32, ge=1)
    """Pairs an optimiser step (Wu et al.: 32; Hong et al.: 32 a device)."""

    max_length: int = Field(2048, ge=1)
    """Most tokens of a conversation, in training and in scoring. Of a longer one the last ones are read (Hong
    et al.: 2048, truncated on the left)."""


def reads_reference(settings: Settings) -> bool:
    """Whether it is trained from the reference; see `lingualign.rewards.base`."""
    return needs_fit(settings) and settings.base == "reference"


def make(settings: Settings, tools: Tools) -> RewardModel:
    """Makes the reward; see `lingualign.rewards.base`.

    Raises:
        InputError: The folder holds no reward model, or none is given and none was trained.
    """
    folder = tools.fitted if settings.model is None else user_path(settings.model)
    if folder is None:
        raise InputError(
            "reward.options.model is not set, and no reward model was trained.",
            "Give the folder of a reward model, or labelled pairs to train one on (data.labelled_pairs).",
        )
    check(settings, tools.config)
    device = resolve_device(tools.config.device)
    return RewardModel.load(folder, device, tools.config.reward.batch_tokens, settings.max_length)


def check(settings: Settings, config: RunConfig) -> None:
    """Checks the options without loading a model.

    Raises:
        InputError: The folder given holds no reward model.
    """
    if settings.model is not None:
        check_reward_model(user_path(settings.model), "reward.options.model")


def needs_fit(settings: Settings) -> bool:
    """Whether a reward model is to be trained before anything can be scored."""
    return settings.model is None


def fit(
    settings: Settings,
    tools: Tools,
    pairs: Sequence[Pair],
    output: Path,
    on_step: Callable[[int, int, Mapping[str, float]], None],
) -> None:
    """Trains a reward model on labelled pairs of the source language.

    Killed and called again, it goes on from its last checkpoint and ends with the same weights; see
    `lingualign.training.reward_model`.

    Args:
        settings: How.
        tools: The run's configuration, and the chat format of its policy.
        pairs: One or more.
        output: Folder of the model; appears complete or not at all.
        on_step: Called with (steps done, of how many, metrics) after each optimiser step.

    Raises:
        InputError: There is no pair, or the base cannot be made a reward model of.
    """
    from lingualign.training.reward_model import train_reward_model

    config = tools.config
    optimisation = {
        "learning_rate": settings.learning_rate,
        "scheduler": "cosine",
        "warmup": 0.1,
        "epochs": settings.epochs,
        "batch_pairs": settings.batch_pairs,
        "max_length": settings.max_length,
        "report_to": [],  # trackers are told of the policy
    }
    train_reward_model(
        config.training.model_copy(update=optimisation),
        pairs,
        base=config.reference if settings.base == "reference" else config.policy,
        chat=tools.chat,
        output=output,
        seed=config.seed,
        device=config.device,
        dtype=config.dtype,
        trust_remote_code=config.trust_remote_code,
        on_step=on_step,
    )


class RewardModel:
    """A sequence-classification model with one output, as TRL's RewardTrainer makes it.

    It reads the whole conversation in the target language, prompt and response, through its own chat
    template. A response that was cut is read as if it had been finished. Only conversations of equal length
    share a batch: how a model finds its last token among padding differs from family to family, and without
    padding there is nothing to find.

    Args:
        model: In eval mode.
        tokenizer: Of the model, with its chat template.
        batch_tokens: Most tokens in one forward pass.
        max_length: See `conversation_ids`.
    """

    name = "reward-model"

    def __init__(self, model: Any, tokenizer: Any, batch_tokens: int, max_length: int | None = None) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.batch_tokens = batch_tokens
        self.max_length = max_length
        config = model.config.get_text_config()
        # A pad token that the model was trained with stays: where it is the end token too, as TRL has it for
        # tokenizers without one, the model has learned to read the token before it.
        if config.pad_token_id is None:
            config.pad_token_id = -1  # of no token: nothing is padding

    @classmethod
    def load(cls, folder: Path, device: Any, batch_tokens: int, max_length: int | None = None) -> RewardModel:
        """Loads a reward model in float32."""
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        with no_progress_bars():
            model = AutoModelForSequenceClassification.from_pretrained(
                folder,
                dtype=torch.float32,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
            )
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        return cls(model.to(device).eval(), tokenizer, batch_tokens, max_length)

    def score(self, batch: Sequence[Candidates]) -> list[list[Score]]:
        """Scores the responses of each prompt; see `lingualign.rewards.Reward`."""
        conversations = [
            conversation_ids(
                self.tokenizer,
                [*candidates.prompt.messages, {"role": "assistant", "content": response["text"]}],
                self.max_length,
            )
            for candidates in batch
            for response in candidates.responses
        ]
        rewards = iter(self._rewards(conversations))
        return [
            [score_of(response, next(rewards)) for response in candidates.responses] for candidates in batch
        ]

    def _rewards(self, conversations: Sequence[list[int]]) -> list[float]:
        """The model's output for each conversation, in order."""
        import torch

        by_length: dict[int, list[int]] = {}
        for position, ids in enumerate(conversations):
            by_length.setdefault(len(ids), []).append(position)
        rewards = [0.0] * len(conversations)
        with torch.inference_mode():
            for length, positions in by_length.items():
                rows = max(1, self.batch_tokens // max(1, length))
                for start in range(0, len(positions), rows):
                    part = positions[start : start + rows]
                    rows_ids = torch.tensor([conversations[place] for place in part])
                    logits = (
                        self.model(input_ids=rows_ids.to(self.model.device)).logits[:, 0].float().tolist()
                    )
                    for place, reward in zip(part, logits, strict=True):
                        rewards[place] = reward
        return rewards


def conversation_ids(tokenizer: Any, messages: Sequence[Message], max_length: int | None = None) -> list[int]:
    """What a reward model reads of a conversation, in training as in scoring.

    These are the tokens of the chat template, prompt and response rendered together as TRL does it; an end
    token is there if the template writes one, and none is added.

    Args:
        tokenizer: Of the reward model.
        messages: From the first of the prompt to the response.
        max_length: Of a longer conversation the last so many tokens are read. None: all are.

    Raises:
        InputError: The tokenizer has no chat template.
    """
    if not tokenizer.chat_template:
        raise InputError(
            f"Reward model {tokenizer.name_or_path}: its tokenizer has no chat template.",
            "Give a reward model whose tokenizer has one.",
        )
    ids: list[int] = tokenizer.apply_chat_template(list(messages), tokenize=True, return_dict=False)
    return ids if max_length is None else ids[-max_length:]


def check_reward_model(folder: Path, setting: str) -> None:
    """Checks that a folder can hold a reward model, without loading it.

    Args:
        folder: The folder.
        setting: Which setting names it, for errors.

    Raises:
        InputError: There is no such folder, it has no configuration or no safetensors, or its model has more
            than one score.
    """
    from transformers import AutoConfig

    field = f"{setting}: {folder}"
    if not (folder / "config.json").is_file():
        raise InputError(f"{field} has no config.json.", "Give the folder of a Hugging Face model.")
    if not any(folder.glob("*.safetensors")):
        raise InputError(f"{field} has no *.safetensors weights.", "Save it again with `save_pretrained`.")
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{field} cannot be read ({error}).") from error
    if config.num_labels != 1:
        raise InputError(
            f"{field} gives {config.num_labels} numbers a text, a reward model gives 1.",
            "Give a sequence-classification model with num_labels=1.",
        )
