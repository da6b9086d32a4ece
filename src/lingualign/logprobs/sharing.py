"""Scoring the candidates of one prompt without computing the prompt again for each.

The prompts of a block go through the model once and leave their keys and values in a cache. Each response
then runs behind a copy of its prompt's rows of the cache: the same numbers as the whole sequence gives, for a
fraction of the work where prompts are long or candidates many.

    prompts      p p p .                a row a prompt, padded on the right
    responses    p p p . | r r r r .    behind the cached prompt, whose padding is masked
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lingualign.logprobs.head import forward_at, log_likelihood, text_config, unwrap
from lingualign.logprobs.sequences import ScoredSequence, cut_batches, right_pad


@dataclass(frozen=True)
class PromptGroup:
    """The distinct responses behind one prompt, and where in the caller's list each of them stands."""

    prompt_ids: tuple[int, ...]
    responses: dict[tuple[int, ...], list[int]] = field(default_factory=dict)


def group_by_prompt(sequences: Sequence[ScoredSequence]) -> list[PromptGroup]:
    """Groups by prompt, in order of prompt length. Empty responses are left out: their score is 0."""
    groups: dict[tuple[int, ...], PromptGroup] = {}
    for place, sequence in enumerate(sequences):
        if sequence.response_ids:
            prompt_ids = tuple(sequence.prompt_ids)
            group = groups.setdefault(prompt_ids, PromptGroup(prompt_ids))
            group.responses.setdefault(tuple(sequence.response_ids), []).append(place)
    return sorted(groups.values(), key=lambda group: len(group.prompt_ids))


def can_share_prompts(model: nn.Module, longest: int) -> bool:
    """Whether a padded, cached prompt can be continued by several responses and give the same numbers.

    True for attention that looks at everything before a token. False where a recurrent state would have read
    the padding, and where a sliding window or chunk, counted in columns, could begin between prompt and
    response: unless `longest`, prompt and response together with their padding, is shorter than the window.
    """
    causal_model, config = unwrap(model), text_config(model)
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    windows = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")]
    accepted = inspect.signature(causal_model.forward).parameters
    return (
        not getattr(causal_model, "_is_stateful", False)
        and kinds <= {"full_attention", "sliding_attention", "chunked_attention"}
        and all(window is None or longest < window for window in windows)
        and {"past_key_values", "attention_mask", "position_ids"} <= accepted.keys()
    )


def shared_logprobs(
    model: nn.Module, groups: Sequence[PromptGroup], max_cells: int, max_scored: int
) -> Iterator[tuple[list[list[int]], np.ndarray]]:
    """Summed log-probabilities of all responses of all groups.

    Args:
        model: A model that `can_share_prompts`.
        groups: In order of prompt length, as `group_by_prompt` gives them.
        max_cells: Most tokens in one forward pass, cached ones included.
        max_scored: Most tokens that meet the LM head in one forward pass.

    Yields:
        After each forward pass over responses, where in the caller's list each of them stands, and their
        sums, float64 [responses].
    """
    lengths = [len(group.prompt_ids) for group in groups]
    for part in cut_batches(lengths, [1] * len(groups), max_cells, max_scored):
        block, prompt_lengths = groups[part], torch.tensor(lengths[part])
        cache, first_logps = _read_prompts(model, block)
        todo = [(row, *item) for row, group in enumerate(block) for item in group.responses.items()]
        todo.sort(key=lambda item: len(item[1]))
        scored = [len(response) for _, response, _ in todo]
        cells = [lengths[part][-1] + tokens for tokens in scored]
        for batch in cut_batches(cells, scored, max_cells, max_scored):
            rows = torch.tensor([row for row, _, _ in todo[batch]])
            responses = [response for _, response, _ in todo[batch]]
            first = first_logps[rows, [response[0] for response in responses]].double().cpu()
            rest = _read_responses(model, cache, rows, prompt_lengths[rows], responses)
            yield [places for _, _, places in todo[batch]], (first + rest).numpy()


def _read_prompts(model: nn.Module, block: Sequence[PromptGroup]) -> tuple[Any, Tensor]:
    """The cache of the prompts, and the log-probabilities [prompts, vocabulary] of the token behind each."""
    last = torch.tensor([len(group.prompt_ids) - 1 for group in block])
    ids = right_pad([group.prompt_ids for group in block], next(model.parameters()).device)
    logits, output = forward_at(model, torch.arange(len(block)), last, input_ids=ids, use_cache=True)
    return output.past_key_values, logits.float().log_softmax(-1)


def _read_responses(
    model: nn.Module,
    cache: Any,
    rows: Tensor,
    prompt_lengths: Tensor,
    responses: Sequence[tuple[int, ...]],
) -> Tensor:
    """Summed log-probabilities [responses] of the tokens after the first, each behind its cached prompt."""
    totals = torch.zeros(len(responses), dtype=torch.float64)
    counts = torch.tensor([len(response) - 1 for response in responses])
    if not counts.any():
        return totals
    ids = right_pad([response[:-1] for response in responses], next(model.parameters()).device)
    steps = torch.arange(ids.shape[1])
    in_prompt = torch.arange(cache.get_seq_length()) < prompt_lengths[:, None]
    mask = torch.cat([in_prompt, torch.ones(ids.shape, dtype=torch.bool)], dim=1)
    scored_rows, scored_columns = (steps < counts[:, None]).nonzero(as_tuple=True)
    logits, _ = forward_at(
        model,
        scored_rows,
        scored_columns,
        input_ids=ids,
        attention_mask=mask.to(ids.device),
        position_ids=(prompt_lengths[:, None] + steps).to(ids.device),
        past_key_values=_copy_rows(cache, rows.to(ids.device)),
        use_cache=True,
    )
    tokens = torch.tensor([token for response in responses for token in response[1:]])
    return totals.index_add(0, scored_rows, log_likelihood(logits, tokens).double().cpu())


def _copy_rows(cache: Any, rows: Tensor) -> Any:
    """A cache with a copy of some rows of another, which stays as it is."""
    selected = copy.copy(cache)
    selected.layers = [copy.copy(layer) for layer in cache.layers]
    selected.batch_select_indices(rows)
    return selected
