"""Log-probabilities of responses.

The score of a response is the sum over *its* tokens, the first one included and padding never, of
log p(token | prompt, earlier response tokens). It is a property of the sequence: the batch it is computed in
changes nothing beyond the rounding of float32.

Rows are padded on the right and passed without an attention mask: causal attention never looks right, so a
token cannot see padding, positions count from 0 in every row, and attention can use its fastest kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from lingualign.logprobs.head import forward_at, log_likelihood, text_config
from lingualign.logprobs.sequences import ScoredSequence, cut_batches, right_pad
from lingualign.logprobs.sharing import PromptGroup, can_share_prompts, group_by_prompt, shared_logprobs

Progress = Callable[[int, int], None]  # (sequences done, of how many)

# Most numbers that the logits of one forward pass may have: 1 GiB of float32 whatever the vocabulary. On CPU
# 16 MiB, which stays near its cache and below the size from which malloc asks for fresh pages every time.
MAX_LOGITS = 2**28
MAX_LOGITS_CPU = 2**22
MIN_SCORED = 256  # tokens that a pass may always score: with fewer, reading the weights takes the time


def token_logprobs(model: nn.Module, sequences: Sequence[ScoredSequence]) -> list[Tensor]:
    """Log-probability of every response token, with gradients where they are enabled.

    One forward pass over all sequences: the caller chooses the batch.

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
    device = next(model.parameters()).device
    lengths = [len(sequence.response_ids) for sequence in sequences]
    tokens = torch.tensor([token for s in sequences for token in s.response_ids], dtype=torch.long)
    rows = torch.arange(len(sequences)).repeat_interleave(torch.tensor(lengths))
    # The token at column c is predicted at column c - 1.
    columns = torch.cat([torch.arange(len(s.prompt_ids), len(s)) for s in sequences]) - 1
    ids = right_pad([[*s.prompt_ids, *s.response_ids] for s in sequences], device)
    logits, _ = forward_at(model, rows, columns, input_ids=ids, use_cache=False)
    return list(log_likelihood(logits, tokens).split(lengths))


def sequence_logprobs(
    model: nn.Module,
    sequences: Sequence[ScoredSequence],
    batch_tokens: int,
    progress: Progress | None = None,
) -> np.ndarray:
    """Summed log-probability of every response.

    Without gradients, in batches of sequences of like length. A prompt that several sequences share is
    computed once where the model allows it (`can_share_prompts`), and so is a response that occurs twice
    behind it.

    Args:
        model: A causal language model in eval mode.
        sequences: Prompts and responses in tokens.
        batch_tokens: Most tokens, padding included, in one forward pass.
        progress: Called with the number of sequences done, and of all, after each forward pass.

    Returns:
        float64 [sequences], in nats, in the order of `sequences`. An empty response has 0.
    """
    totals = np.zeros(len(sequences), dtype=np.float64)
    groups = group_by_prompt(sequences)
    if not groups:
        return totals
    distinct = sum(len(group.responses) for group in groups)
    longest = max(len(s.prompt_ids) for s in sequences) + max(len(s.response_ids) for s in sequences)
    share = len(groups) < distinct and can_share_prompts(model, longest)
    score = shared_logprobs if share else _plain_logprobs
    done = sum(not sequence.response_ids for sequence in sequences)
    with torch.inference_mode():
        for places, sums in score(model, groups, batch_tokens, _max_scored(model)):
            for same, value in zip(places, sums, strict=True):
                totals[same] = value
                done += len(same)
            if progress is not None:
                progress(done, len(sequences))
    return totals


def _max_scored(model: nn.Module) -> int:
    """Most tokens that may meet the LM head in one forward pass."""
    on_cpu = next(model.parameters()).device.type == "cpu"
    return max(MIN_SCORED, (MAX_LOGITS_CPU if on_cpu else MAX_LOGITS) // text_config(model).vocab_size)


def _plain_logprobs(
    model: nn.Module, groups: Sequence[PromptGroup], max_cells: int, max_scored: int
) -> Iterator[tuple[list[list[int]], np.ndarray]]:
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
        logps = token_logprobs(model, [sequence for sequence, _ in todo[batch]])
        yield [places for _, places in todo[batch]], np.array([logp.double().sum().item() for logp in logps])
