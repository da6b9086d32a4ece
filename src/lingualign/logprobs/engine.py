"""Log-probabilities of responses.

The score of a response is the sum over *its* tokens, the first one included and padding never, of
log p(token | prompt, earlier response tokens). It is a property of the sequence: the batch it is computed in
changes nothing beyond the rounding of float32.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from lingualign.accidents import is_out_of_memory, out_of_memory
from lingualign.logprobs.head import MAX_LOGITS, has_linear_head, is_sharded, text_config
from lingualign.logprobs.packing import PromptGroup, cut_padded, cut_passes, group_by_prompt
from lingualign.logprobs.passes import can_pack, packed_pass, padded_pass
from lingualign.logprobs.sequences import ScoredSequence

Progress = Callable[[int, int], None]  # (sequences done, of how many)
Cut = Callable[[Sequence[PromptGroup], int, int], Iterator[list[PromptGroup]]]
Pass = Callable[[nn.Module, Sequence[PromptGroup]], Tensor]

# Tokens of one pass on CPU: more drop out of its cache, and then every layer waits for memory.
PASS_CPU = 3072
# Where logits have to be made whole: most numbers of one pass on CPU, and the tokens that a pass may always
# score; with fewer, reading the weights takes the time.
MAX_LOGITS_CPU = 2**22
MIN_SCORED = 256
UNLIMITED = sys.maxsize
# Of models that ran out of memory with more: most tokens of a pass.
_budgets: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()

logger = logging.getLogger(__name__)


def token_logprobs(model: nn.Module, sequences: Sequence[ScoredSequence]) -> list[Tensor]:
    """Log-probability of every response token, with gradients where they are enabled.

    All sequences in one pass: the caller chooses the batch. A prompt that several of them share is computed
    once where the model allows it (`can_pack`).

    Args:
        model: A causal language model; it is called as it is, in the mode (train or eval) that it is in.
        sequences: Prompts and responses in tokens.

    Returns:
        One float32 tensor [response tokens] a sequence, in order.

    Example:
        >>> sequence = ScoredSequence(chat.prompt_ids(messages), chat.response_ids(text, finished=True))
        >>> loss = -token_logprobs(model, [sequence])[0].mean()
    """
    found = [torch.zeros(0, device=next(model.parameters()).device)] * len(sequences)
    groups = group_by_prompt(sequences)
    if groups:
        score = packed_pass if can_pack(model, _longest(groups)) else padded_pass
        for places, logps in _by_response(groups, score(model, groups)):
            for place in places:
                found[place] = logps
    return found


def sequence_logprobs(
    model: nn.Module,
    sequences: Sequence[ScoredSequence],
    batch_tokens: int,
    progress: Progress | None = None,
) -> np.ndarray:
    """Summed log-probability of every response.

    Without gradients, in passes of a bounded number of tokens. A prompt that several sequences share is
    computed once a pass where the model allows it (`can_pack`), and so is a response that occurs twice behind
    it. Where memory runs out, the budget is halved, from then on for this model, and what has been scored is
    kept.

    Args:
        model: A causal language model in eval mode.
        sequences: Prompts and responses in tokens.
        batch_tokens: Most tokens, padding included, in one forward pass.
        progress: Called with the number of sequences done, and of all, after each forward pass.

    Returns:
        float64 [sequences], in nats, in the order of `sequences`. An empty response has 0.

    Raises:
        InputError: There is not even memory for a single response.

    Example:
        >>> prompt = chat.prompt_ids(messages)
        >>> sequences = [ScoredSequence(prompt, chat.response_ids(text, finished=True)) for text in texts]
        >>> sequence_logprobs(model, sequences, batch_tokens=16384)
    """
    totals = np.zeros(len(sequences), dtype=np.float64)
    todo = {place for place, sequence in enumerate(sequences) if sequence.response_ids}
    budget = min(batch_tokens, _budgets.get(model, batch_tokens))
    if next(model.parameters()).device.type == "cpu":
        budget = min(budget, PASS_CPU)
    # FSDP2 would go on to train with buffers that it allocates in inference mode.
    with torch.no_grad() if is_sharded(model) else torch.inference_mode():
        while todo:
            rest = sorted(todo)
            groups = group_by_prompt([sequences[place] for place in rest])
            cut, score, scored = _how_to_pass(model, groups)
            for part in cut(groups, budget, scored):
                try:
                    logps = score(model, part).double()
                except (RuntimeError, MemoryError) as error:
                    if not is_out_of_memory(error):
                        raise
                    budget = _budgets[model] = _smaller_budget(part, error)
                    break
                responses = _by_response(part, logps)
                sums = torch.stack([own.sum() for _, own in responses]).tolist()
                for (places, _), value in zip(responses, sums, strict=True):
                    own = [rest[place] for place in places]
                    totals[own] = value
                    todo.difference_update(own)
                if progress is not None:
                    progress(len(sequences) - len(todo), len(sequences))
    return totals


def _smaller_budget(part: Sequence[PromptGroup], error: BaseException) -> int:
    """Half the tokens of a pass that ran out of memory.

    Raises:
        InputError: It was a single response.
    """
    tokens = sum(group.tokens() for group in part)
    if sum(len(group.responses) for group in part) == 1:
        raise out_of_memory(
            error,
            f"scoring a single response, of {tokens} tokens with its prompt",
            "Set dtype=bfloat16, or lower sampling.max_new_tokens or data.max_prompt_tokens.",
        ) from error
    logger.warning(
        "Out of memory with %d tokens in a pass: scoring goes on with reward.batch_tokens=%d.",
        tokens,
        tokens // 2,
    )
    return tokens // 2


def _longest(groups: Sequence[PromptGroup]) -> int:
    return max(len(group.prompt_ids) + max(map(len, group.responses)) for group in groups)


def _by_response(groups: Sequence[PromptGroup], logps: Tensor) -> list[tuple[list[int], Tensor]]:
    """Where in the caller's list each response stands, and the log-probabilities of its tokens."""
    responses = [item for group in groups for item in group.responses.items()]
    parts = logps.split([len(response) for response, _ in responses])
    return [(places, part) for (_, places), part in zip(responses, parts, strict=True)]


def _how_to_pass(model: nn.Module, groups: Sequence[PromptGroup]) -> tuple[Cut, Pass, int]:
    """What cuts groups into forward passes, what computes one, and the most tokens that it may score."""
    cut, score = (cut_passes, packed_pass) if can_pack(model, _longest(groups)) else (cut_padded, padded_pass)
    if has_linear_head(model):
        return cut, score, UNLIMITED
    logits = MAX_LOGITS_CPU if next(model.parameters()).device.type == "cpu" else MAX_LOGITS
    return cut, score, max(MIN_SCORED, logits // text_config(model).vocab_size)
