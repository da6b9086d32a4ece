"""Log-probabilities of responses.

The score of a response is the sum over *its* tokens, the first one included and padding never, of
log p(token | prompt, earlier response tokens). It is a property of the sequence: the batch it is computed in
changes nothing beyond the rounding of float32.

Rows are padded on the right and passed without an attention mask: causal attention never looks right, so a
token cannot see padding, positions count from 0 in every row, and attention can use its fastest kernel.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from lingualign.logprobs.head import MAX_LOGITS, has_linear_head, score_at, text_config
from lingualign.logprobs.sequences import ScoredSequence, cut_batches, right_pad
from lingualign.logprobs.sharing import (
    PromptGroup,
    Scored,
    can_share_prompts,
    group_by_prompt,
    shared_logprobs,
)

Progress = Callable[[int, int], None]  # (sequences done, of how many)

UNLIMITED = 2**62
# Prompts are shared where at most this part of the tokens is left: two passes and a mask have their price.
WORTH_SHARING = 0.75
# Tokens that one pass scores on CPU: more drop out of its cache, and then every layer waits for memory.
SCORED_CPU = 2048
# Where logits have to be made whole: most numbers of one pass on CPU, and the tokens that a pass may always
# score; with fewer, reading the weights takes the time.
MAX_LOGITS_CPU = 2**22
MIN_SCORED = 256

logger = logging.getLogger(__name__)


def token_logprobs(model: nn.Module, sequences: Sequence[ScoredSequence]) -> list[Tensor]:
    """Log-probability of every response token, with gradients where they are enabled.

    All sequences at once: the caller chooses the batch. A prompt that several of them share is computed once
    where the model allows it (`can_share_prompts`) and it pays.

    Args:
        model: A causal language model; it is called as it is, in the mode (train or eval) that it is in.
        sequences: Prompts and responses in tokens.

    Returns:
        One float32 tensor [response tokens] a sequence, in order.

    Example:
        >>> sequence = ScoredSequence(chat.prompt_ids(messages), chat.response_ids(text, finished=True))
        >>> loss = -token_logprobs(model, [sequence])[0].mean()
    """
    if not sequences:
        return []
    found = [torch.zeros(0, device=next(model.parameters()).device)] * len(sequences)
    for scored in _score(model, group_by_prompt(sequences), UNLIMITED, UNLIMITED):
        for places, logps in zip(scored.places, scored.logps.split(scored.lengths), strict=True):
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

    Without gradients, in batches of sequences of like length. A prompt that several sequences share is
    computed once where the model allows it (`can_share_prompts`), and so is a response that occurs twice
    behind it. Where memory runs out, the budget is halved, and what has been scored is kept.

    Args:
        model: A causal language model in eval mode.
        sequences: Prompts and responses in tokens.
        batch_tokens: Most tokens, padding included, in one forward pass.
        progress: Called with the number of sequences done, and of all, after each forward pass.

    Returns:
        float64 [sequences], in nats, in the order of `sequences`. An empty response has 0.
    """
    totals = np.zeros(len(sequences), dtype=np.float64)
    todo = {place for place, sequence in enumerate(sequences) if sequence.response_ids}
    while todo:
        rest = sorted(todo)
        groups = group_by_prompt([sequences[place] for place in rest])
        try:
            with torch.inference_mode():
                for scored in _score(model, groups, batch_tokens, _max_scored(model)):
                    sums = [part.sum() for part in scored.logps.double().split(scored.lengths)]
                    for places, value in zip(scored.places, torch.stack(sums).tolist(), strict=True):
                        own = [rest[place] for place in places]
                        totals[own] = value
                        todo.difference_update(own)
                    if progress is not None:
                        progress(len(sequences) - len(todo), len(sequences))
        except RuntimeError as error:
            longest = max(len(sequences[place]) for place in todo)
            if not _is_out_of_memory(error) or batch_tokens < longest:
                raise
            batch_tokens //= 2
            logger.warning("Out of memory: scoring goes on with batch_tokens=%d.", batch_tokens)
    return totals


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _score(
    model: nn.Module, groups: Sequence[PromptGroup], max_cells: int, max_scored: int
) -> Iterator[Scored]:
    """All responses of all groups, each prompt computed once where there is something to share."""
    if not groups:
        return iter(())
    responses = sum(len(response) for group in groups for response in group.responses)
    shared = responses + sum(len(group.prompt_ids) for group in groups)
    whole = responses + sum(len(group.prompt_ids) * len(group.responses) for group in groups)
    longest = len(groups[-1].prompt_ids) + max(len(r) for group in groups for r in group.responses)
    share = shared <= WORTH_SHARING * whole and can_share_prompts(model, longest)
    return (shared_logprobs if share else _plain_logprobs)(model, groups, max_cells, max_scored)


def _max_scored(model: nn.Module) -> int:
    """Most tokens that may be scored in one forward pass without gradients."""
    on_cpu = next(model.parameters()).device.type == "cpu"
    if has_linear_head(model):  # whose logits are never there together
        return SCORED_CPU if on_cpu else UNLIMITED
    return max(MIN_SCORED, (MAX_LOGITS_CPU if on_cpu else MAX_LOGITS) // text_config(model).vocab_size)


def _plain_logprobs(
    model: nn.Module, groups: Sequence[PromptGroup], max_cells: int, max_scored: int
) -> Iterator[Scored]:
    """What `shared_logprobs` gives, with the whole prompt before every response: for any causal model."""
    todo = [
        (ScoredSequence(group.prompt_ids, response), places)
        for group in groups
        for response, places in group.responses.items()
    ]
    todo.sort(key=lambda item: len(item[0]))
    cells = [len(sequence) for sequence, _ in todo]
    scored = [len(sequence.response_ids) for sequence, _ in todo]
    for batch in cut_batches(cells, scored, max_cells, max_scored):
        logps = _whole_rows(model, [sequence for sequence, _ in todo[batch]])
        yield Scored([places for _, places in todo[batch]], scored[batch], logps)


def _whole_rows(model: nn.Module, sequences: Sequence[ScoredSequence]) -> Tensor:
    """Log-probabilities of all response tokens in a row, by one forward pass over whole sequences."""
    lengths = torch.tensor([len(sequence.response_ids) for sequence in sequences])
    rows = torch.arange(len(sequences)).repeat_interleave(lengths)
    # The token at column c is predicted at column c - 1.
    columns = torch.cat([torch.arange(len(s.prompt_ids), len(s)) for s in sequences]) - 1
    logps, _ = score_at(
        model,
        rows,
        columns,
        torch.tensor([token for sequence in sequences for token in sequence.response_ids]),
        input_ids=right_pad(
            [[*s.prompt_ids, *s.response_ids] for s in sequences], next(model.parameters()).device
        ),
        use_cache=False,
    )
    return logps
