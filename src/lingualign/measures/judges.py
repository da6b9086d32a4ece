"""Who says which of two responses is better.

A judge scores each response by itself, as a reward does; of two responses to one prompt the one with the
higher score is better. Which judge it was stands next to every number: the implicit reward is the signal
that the policy was trained on, and a win rate by it says that training worked, not that the answers are
better.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lingualign.config import RunConfig
from lingualign.errors import InputError
from lingualign.records import Score

if TYPE_CHECKING:
    from lingualign.rewards import Candidates

LABELS = {
    "lab": "the lab's exact judge",
    "implicit": "the starting policy's implicit reward: the signal trained on, not an independent judge",
    "reward-model": "a reward model",
}


def judge_kind(config: RunConfig) -> str:
    """Which judge measures a run: lab, implicit or reward-model.

    Raises:
        InputError: The lab's judge is asked for prompts that are not the lab's.
    """
    from_lab = (config.measures.prompts or config.prompts) == "lab"
    if config.measures.judge == "auto":
        return "lab" if from_lab else "implicit"
    if config.measures.judge == "lab" and not from_lab:
        raise InputError(
            "measures.judge is lab, but the held-out prompts are not the lab's.",
            "The lab's judge can read only the lab's own prompts: choose implicit or reward-model.",
        )
    return config.measures.judge


def judge_label(config: RunConfig) -> str:
    """The judge in words, to stand next to what it says."""
    kind = judge_kind(config)
    model = f" ({config.measures.reward_model})" if kind == "reward-model" else ""
    return LABELS[kind] + model


def check_reward_model(folder: Path) -> None:
    """Checks that a folder can hold a reward model, without loading it.

    Raises:
        InputError: There is no such folder, it has no configuration, or its model has more than one score.
    """
    from transformers import AutoConfig

    field = f"measures.reward_model: {folder}"
    if not (folder / "config.json").is_file():
        raise InputError(f"{field} has no config.json.", "Give the folder of a Hugging Face model.")
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise InputError(f"{field} cannot be read ({error}).") from error
    if config.num_labels != 1:
        raise InputError(
            f"{field} gives {config.num_labels} numbers a text, a reward model gives 1.",
            "Give a sequence-classification model with num_labels=1.",
        )


class RewardModelJudge:
    """A sequence-classification model with one output, as TRL's RewardTrainer makes it.

    It reads the whole conversation in the target language, prompt and response, through its own chat
    template. Only conversations of equal length share a batch: how a model finds its last token among
    padding differs from family to family, and without padding there is nothing to find.

    Args:
        model: In eval mode.
        tokenizer: Of the model, with its chat template.
        batch_tokens: Most tokens in one forward pass.
    """

    name = "reward-model"

    def __init__(self, model: Any, tokenizer: Any, batch_tokens: int) -> None:
        if not tokenizer.chat_template:
            raise InputError(
                f"measures.reward_model: {tokenizer.name_or_path} has no chat template.",
                "Give a reward model whose tokenizer has one.",
            )
        self.model = model
        self.tokenizer = tokenizer
        self.batch_tokens = batch_tokens
        self.model.config.pad_token_id = -1  # of no token: nothing is padding

    @classmethod
    def load(cls, folder: Path, device: Any, batch_tokens: int) -> RewardModelJudge:
        """Loads a reward model in float32."""
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        model = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        return cls(model.to(device).eval(), tokenizer, batch_tokens)

    def score(self, batch: Sequence[Candidates]) -> list[list[Score]]:
        """Scores the responses of each prompt; see `lingualign.rewards.Reward`."""
        import torch

        conversations = [
            self.tokenizer.apply_chat_template(
                [*candidates.prompt.messages, {"role": "assistant", "content": response["text"]}],
                tokenize=True,
                return_dict=False,
            )
            for candidates in batch
            for response in candidates.responses
        ]
        by_length: dict[int, list[int]] = {}
        for position, ids in enumerate(conversations):
            by_length.setdefault(len(ids), []).append(position)
        values = [0.0] * len(conversations)
        with torch.inference_mode():
            for length, positions in by_length.items():
                rows = max(1, self.batch_tokens // max(1, length))
                for start in range(0, len(positions), rows):
                    part = positions[start : start + rows]
                    ids = torch.tensor(
                        [conversations[position] for position in part], device=self.model.device
                    )
                    logits = self.model(input_ids=ids).logits[:, 0].float().tolist()
                    for position, value in zip(part, logits, strict=True):
                        values[position] = value
        remaining = iter(values)
        return [
            [
                Score(
                    prompt_id=response["prompt_id"],
                    language=response["language"],
                    index=response["index"],
                    reward=next(remaining),
                    components=[],
                )
                for response in candidates.responses
            ]
            for candidates in batch
        ]
