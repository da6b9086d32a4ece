"""The decoding loop: token ids in, token ids out. It knows nothing of text, prompts or records."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lingualign.logprobs.head import forward_at, text_config
from lingualign.sampling.cache import roomy_cache
from lingualign.sampling.draws import choose_tokens

# Rows that have ended are taken out of the cache when no more than this share of it is still going: taking
# them out copies the cache, leaving them in computes tokens that nobody reads.
KEEP_SHARE = 0.85


@torch.inference_mode()
def decode(
    model: nn.Module,
    prompts: Sequence[Sequence[int]],
    rows: Sequence[int],
    draws: Tensor,
    *,
    stop_ids: Sequence[int],
    temperature: float,
    top_p: float = 1.0,
) -> list[list[int]]:
    """Continues prompts until a stop token, or for as many tokens as there are draws.

    Transformers' `generate` computes a prompt anew for each of its samples and goes on with all rows until
    the last has ended. Here a prompt is computed once, its cache is copied to its samples, and rows leave the
    batch as they end.

    Args:
        model: A causal language model in eval mode, on one device.
        prompts: Token ids of each prompt.
        rows: For each sample, the prompt that it continues.
        draws: float64 [samples, tokens], in [0, 1): the random number behind each token.
        stop_ids: Tokens that end a response.
        temperature: Of the distribution, 0 for greedy.
        top_p: Nucleus mass.

    Returns:
        The new tokens of each sample, the stop token among them where there was one.
    """
    device = next(model.parameters()).device
    limit = draws.shape[1]
    draws, stops = draws.to(device), torch.tensor(list(stop_ids), device=device)
    samples = torch.tensor(rows, device=device)  # prompt of each row, then sample of each row
    ids, mask = _left_pad(prompts, device)
    positions = (mask.cumsum(dim=-1) - 1).clamp(min=0)
    ends = torch.full((len(prompts),), ids.shape[1] - 1)
    logits, output = forward_at(
        model,
        torch.arange(len(prompts)),
        ends,
        input_ids=ids,
        attention_mask=mask,
        position_ids=positions,
        past_key_values=roomy_cache(text_config(model)),
        use_cache=True,
    )
    cache = output.past_key_values
    cache.reorder_cache(samples)  # a copy of its prompt for every sample
    logits, mask, position = logits[samples], mask[samples], positions[samples, -1:]
    padded = not bool(mask.all())
    samples = torch.arange(len(rows), device=device)
    tokens = torch.zeros((len(rows), limit), dtype=torch.long, device=device)
    lengths = torch.full((len(rows),), limit, device=device)
    going = torch.ones(len(rows), dtype=torch.bool, device=device)
    for step in range(limit):
        chosen = choose_tokens(logits, draws[samples, step], temperature, top_p)
        tokens[samples, step] = chosen  # behind a row's end this writes where nobody looks
        ended = going & torch.isin(chosen, stops)
        lengths[samples[ended]] = step + 1
        going &= ~ended
        count = int(going.sum())
        if count == 0 or step + 1 == limit:
            break
        if count <= KEEP_SHARE * len(samples):
            kept = going.nonzero().squeeze(-1)
            cache.reorder_cache(kept)
            samples, chosen, mask, position, going = (
                part[kept] for part in (samples, chosen, mask, position, going)
            )
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=-1)
        position = position + 1
        output = model(
            input_ids=chosen[:, None],
            attention_mask=mask if padded else None,  # attention is faster without one
            position_ids=position,
            past_key_values=cache,
            use_cache=True,
        )
        logits = output.logits[:, -1]
    return [row[:length] for row, length in zip(tokens.tolist(), lengths.tolist(), strict=True)]


def _left_pad(prompts: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Prompts as one tensor [prompts, longest] that ends where they end, and the mask of what is a prompt."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts], device=device)
    mask = torch.tensor(
        [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device
    )
    return ids, mask
