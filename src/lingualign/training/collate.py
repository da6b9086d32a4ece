"""From pairs to what a training step computes with."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from lingualign.errors import InputError
from lingualign.logprobs import ScoredSequence
from lingualign.prompts import ChatFormat
from lingualign.records import Pair


@dataclass(frozen=True, slots=True)
class EncodedPair:
    """A pair in tokens.

    Attributes:
        id: Of the pair.
        prompt_id: Of its prompt, in whatever language.
        language: Of its prompt.
        chosen: The prompt and the chosen response.
        rejected: The prompt and the rejected response.
    """

    id: str
    prompt_id: str
    language: str
    chosen: ScoredSequence
    rejected: ScoredSequence


@dataclass(frozen=True, slots=True)
class Example:
    """A pair in tokens, and the log-probabilities of its responses under the reference.

    Attributes:
        pair: The tokens.
        has_nll: Whether its chosen response has an NLL term.
        ref_chosen_logps: Of the chosen response, in nats.
        ref_rejected_logps: Of the rejected response.
    """

    pair: EncodedPair
    has_nll: bool = True
    ref_chosen_logps: float = 0.0
    ref_rejected_logps: float = 0.0

    def longest(self) -> int:
        """Tokens of the longer one of its sequences."""
        return max(len(self.pair.chosen), len(self.pair.rejected))


def encode_pairs(
    pairs: Sequence[Pair], chat: ChatFormat, max_length: int
) -> tuple[list[EncodedPair], list[str]]:
    """Encodes pairs, and leaves out those with a sequence longer than a limit.

    They are not cut: half a response ends where its writer would not have, and a preference between halves is
    not the one that was measured.

    Args:
        pairs: Preferences.
        chat: Chat format of the model that is trained.
        max_length: Most tokens of a sequence, prompt and response together.

    Returns:
        The pairs that fit, in order, and the ids of those that do not.
    """
    fitting, overlong = [], []
    for pair in pairs:
        prompt = chat.prompt_ids(pair["prompt"])
        encoded = EncodedPair(
            id=pair["id"],
            prompt_id=pair["prompt_id"],
            language=pair["language"],
            chosen=ScoredSequence(
                prompt, chat.response_ids(pair["chosen"][-1]["content"], pair["chosen_finished"])
            ),
            rejected=ScoredSequence(
                prompt, chat.response_ids(pair["rejected"][-1]["content"], pair["rejected_finished"])
            ),
        )
        if max(len(encoded.chosen), len(encoded.rejected)) <= max_length:
            fitting.append(encoded)
        else:
            overlong.append(encoded.id)
    return fitting, overlong


def make_examples(
    pairs: Sequence[EncodedPair],
    table: Sequence[Mapping[str, Any]] | None,
    nll_languages: Collection[str] | None = None,
) -> list[Example]:
    """Joins pairs with their rows of REFERENCE_LOGPS, by id.

    Args:
        pairs: Pairs in tokens.
        table: The rows; None where no reference is looked at.
        nll_languages: The languages whose chosen responses have an NLL term; None for all.

    Raises:
        InputError: A pair has no row.
    """
    rows = {row["id"]: row for row in table or ()}
    missing = [pair.id for pair in pairs if pair.id not in rows] if table is not None else []
    if missing:
        raise InputError(
            f"{len(missing)} pairs have no reference log-probabilities, {missing[0]} for one.",
            "They belong to other pairs: remove the table, it will be computed again.",
        )
    unlooked = {"ref_chosen_logps": 0.0, "ref_rejected_logps": 0.0}
    examples = []
    for pair in pairs:
        row = unlooked if table is None else rows[pair.id]
        has_nll = nll_languages is None or pair.language in nll_languages
        examples.append(Example(pair, has_nll, row["ref_chosen_logps"], row["ref_rejected_logps"]))
    return examples


def group_by_prompt(examples: Sequence[Example]) -> list[list[Example]]:
    """The examples of each prompt, in all languages, in the order in which prompts come."""
    groups: dict[str, list[Example]] = {}
    for example in examples:
        groups.setdefault(example.pair.prompt_id, []).append(example)
    return list(groups.values())


def collate(examples: Sequence[Example], rejected: bool = True) -> dict[str, Any]:
    """A batch: all chosen sequences, then all rejected ones, and what the loss needs beside them.

    Args:
        examples: Of the batch.
        rejected: Whether the rejected sequences are looked at; without, they are left out.
    """
    pairs = [example.pair for example in examples]
    return {
        "sequences": [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs if rejected],
        "ref_chosen_logps": torch.tensor([example.ref_chosen_logps for example in examples]),
        "ref_rejected_logps": torch.tensor([example.ref_rejected_logps for example in examples]),
        "chosen_lengths": torch.tensor([len(pair.chosen.response_ids) for pair in pairs]),
        "rejected_lengths": torch.tensor([len(pair.rejected.response_ids) for pair in pairs]),
        "has_nll": torch.tensor([float(example.has_nll) for example in examples]),
    }
