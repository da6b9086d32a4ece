"""Scoring the candidates of one prompt without computing the prompt again for each, with gradients or not.

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

import torch
from torch import Tensor, nn

from lingualign.logprobs.head import score_at, text_config, unwrap
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
    And False while a model recomputes its layers in the backward pass, which keeps no cache.
    """
    causal_model, config = unwrap(model), text_config(model)
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    windows = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")]
    accepted = inspect.signature(causal_model.forward).parameters
    return (
        not getattr(causal_model, "_is_stateful", False)
        and not (causal_model.training and _recomputes(causal_model))
        and kinds <= {"full_attention", "sliding_attention", "chunked_attention"}
        and all(window is None or longest < window for window in windows)
        and {"past_key_values", "attention_mask", "position_ids"} <= accepted.keys()
    )


def _recomputes(model: nn.Module) -> bool:
    return any(getattr(module, "gradient_checkpointing", False) for module in model.modules())


@dataclass(frozen=True)
class Scored:
    """What one forward pass gave.

    Attributes:
        places: Where in the caller's list each response stands; more than once if it occurs more than once.
        lengths: Tokens of each response.
        logps: Log-probabilities of all their tokens in a row, float32 [sum of lengths].
    """

    places: list[list[int]]
    lengths: list[int]
    logps: Tensor


def shared_logprobs(
    model: nn.Module, groups: Sequence[PromptGroup], max_cells: int, max_scored: int
) -> Iterator[Scored]:
    """Log-probabilities of all responses of all groups, each prompt computed once.

    Args:
        model: A model that `can_share_prompts`.
        groups: In order of prompt length, as `group_by_prompt` gives them.
        max_cells: Most tokens in one forward pass, cached ones included.
        max_scored: Most tokens that meet the LM head in one forward pass.

    Yields:
        What each forward pass over responses gave.
    """
    lengths = [len(group.prompt_ids) for group in groups]
    counts = [len(group.responses) for group in groups]
    for part in cut_batches(lengths, counts, max_cells, max_scored):
        block, prompt_lengths = groups[part], torch.tensor(lengths[part])
        cache, first_logps = _read_prompts(model, block)
        todo = [(row, *item) for row, group in enumerate(block) for item in group.responses.items()]
        order = sorted(range(len(todo)), key=lambda place: len(todo[place][1]))
        todo, first_logps = [todo[place] for place in order], first_logps[order]
        scored = [len(response) for _, response, _ in todo]
        cells = [lengths[part][-1] + tokens for tokens in scored]
        for batch in cut_batches(cells, scored, max_cells, max_scored):
            rows = torch.tensor([row for row, _, _ in todo[batch]])
            responses = [response for _, response, _ in todo[batch]]
            rest = _read_responses(model, cache, rows, prompt_lengths[rows], responses)
            logps = torch.cat([first_logps[batch], rest])[_response_order(scored[batch]).to(rest.device)]
            yield Scored([places for _, _, places in todo[batch]], scored[batch], logps)


def _response_order(lengths: Sequence[int]) -> Tensor:
    """Puts the first tokens of all responses, then all their other tokens, into the order of the text."""
    order, other = [], len(lengths)
    for row, length in enumerate(lengths):
        order += [row, *range(other, other + length - 1)]
        other += length - 1
    return torch.tensor(order)


def _read_prompts(model: nn.Module, block: Sequence[PromptGroup]) -> tuple[Any, Tensor]:
    """The cache of the prompts, and the log-probability [responses] of the first token of each response."""
    counts = torch.tensor([len(group.responses) for group in block])
    last = torch.tensor([len(group.prompt_ids) - 1 for group in block])
    ids = right_pad([group.prompt_ids for group in block], next(model.parameters()).device)
    logps, output = score_at(
        model,
        torch.arange(len(block)).repeat_interleave(counts),
        last.repeat_interleave(counts),
        torch.tensor([response[0] for group in block for response in group.responses]),
        input_ids=ids,
        use_cache=True,
    )
    return output.past_key_values, logps


def _read_responses(
    model: nn.Module,
    cache: Any,
    rows: Tensor,
    prompt_lengths: Tensor,
    responses: Sequence[tuple[int, ...]],
) -> Tensor:
    """Log-probabilities of the tokens after the first of each response, behind its cached prompt."""
    device = next(model.parameters()).device
    counts = torch.tensor([len(response) - 1 for response in responses])
    if not counts.any():
        return torch.zeros(0, device=device)
    ids = right_pad([response[:-1] for response in responses], device)
    steps = torch.arange(ids.shape[1])
    in_prompt = torch.arange(cache.get_seq_length()) < prompt_lengths[:, None]
    mask = torch.cat([in_prompt, torch.ones(ids.shape, dtype=torch.bool)], dim=1)
    scored_rows, scored_columns = (steps < counts[:, None]).nonzero(as_tuple=True)
    logps, _ = score_at(
        model,
        scored_rows,
        scored_columns,
        torch.tensor([token for response in responses for token in response[1:]]),
        input_ids=ids,
        attention_mask=mask.to(device),
        position_ids=(prompt_lengths[:, None] + steps).to(device),
        past_key_values=_copy_rows(cache, rows.to(device)),
        use_cache=True,
    )
    return logps


def _copy_rows(cache: Any, rows: Tensor) -> Any:
    """A cache with a copy of some rows of another, which stays as it is."""
    selected = copy.copy(cache)
    selected.layers = [copy.copy(layer) for layer in cache.layers]
    selected.batch_select_indices(rows)
    return selected
