"""Hidden states: what a model makes of a text on its way to the next word.

In the middle layers of a multilingual model, texts that say the same lie close together whatever their
language, which rewards without labels read meaning from (`lingualign.embedders`), and which measures of
alignment between languages count (`lingualign.sentence_states`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from lingualign.logprobs.engine import PASS_CPU
from lingualign.logprobs.head import text_config, unwrap
from lingualign.logprobs.sequences import ScoredSequence, cut_batches, right_pad


def layer_index(model: nn.Module, fraction: float) -> int:
    """The layer at a share of a model's depth.

    Args:
        model: A causal language model.
        fraction: 0 is the embeddings, 1 the last layer. LaCoMSA reads layer 15 of Llama-3-8B's 32: 0.47.

    Returns:
        An index into `hidden_states` of Transformers: 0 is the embeddings, i what layer i puts out.
    """
    return round(fraction * text_config(model).num_hidden_layers)


def mean_states(
    model: nn.Module, sequences: Sequence[ScoredSequence], layers: Sequence[int], batch_tokens: int
) -> Tensor:
    """Hidden states of each response, averaged over its tokens.

    The tokens of the prompt are read and not averaged; the end token counts as one of a finished response's.
    The LM head is not computed. A sequence's states are its own: the batch it is computed in changes nothing
    beyond rounding, and sequences that occur twice are computed once.

    Args:
        model: A causal language model in eval mode, bare or with an adapter.
        sequences: Prompts and responses in tokens.
        layers: As `layer_index` gives them. The last one is behind the model's final norm.
        batch_tokens: Most tokens, padding included, in one forward pass.

    Returns:
        float32 [sequences, layers, hidden size], on the CPU. An empty response has zeros.
    """
    places: dict[tuple[tuple[int, ...], tuple[int, ...]], list[int]] = {}
    for place, sequence in enumerate(sequences):
        places.setdefault((tuple(sequence.prompt_ids), tuple(sequence.response_ids)), []).append(place)
    rows = sorted(places, key=lambda row: len(row[0]) + len(row[1]))
    joined = [prompt + response for prompt, response in rows]
    found = torch.zeros(len(sequences), len(layers), text_config(model).hidden_size)
    for part in passes(model, joined, batch_tokens):
        weights = _mean_weights(rows[part])
        states = [pool(layer, weights).cpu() for layer in layer_states(model, joined[part], layers)]
        for row, own in zip(rows[part], torch.stack(states, dim=1), strict=True):
            found[places[row]] = own.float()
    return found


def _mean_weights(rows: Sequence[tuple[Sequence[int], Sequence[int]]]) -> Tensor:
    """What each token counts [rows, longest]: the same for those of a response, nothing for the others."""
    start = torch.tensor([len(prompt) for prompt, _ in rows])[:, None]
    length = torch.tensor([len(response) for _, response in rows])[:, None]
    column = torch.arange(int((start + length).max()))
    return ((column >= start) & (column < start + length)) / length.clamp(min=1)


def passes(model: nn.Module, rows: Sequence[Sequence[int]], batch_tokens: int) -> Iterator[slice]:
    """Cuts rows of tokens, sorted by length, into forward passes of a bounded number of tokens."""
    if next(model.parameters()).device.type == "cpu":
        batch_tokens = min(batch_tokens, PASS_CPU)
    cells = [len(row) for row in rows]
    return cut_batches(cells, cells, batch_tokens, batch_tokens)


@torch.no_grad()
def layer_states(model: nn.Module, rows: Sequence[Sequence[int]], layers: Sequence[int]) -> Sequence[Tensor]:
    """Hidden states of some rows of tokens by one forward pass, without the LM head.

    Rows are padded on the right and passed without an attention mask: causal attention never looks right.

    Args:
        model: A causal language model in eval mode, bare or with an adapter.
        rows: Tokens, at least one a row.
        layers: Indices into `hidden_states` of Transformers.

    Returns:
        [rows, longest, hidden size] a layer, in the model's precision; what stands at padding means nothing.
    """
    ids = right_pad(rows, next(model.parameters()).device)
    # A list names the layers to keep; versions of Transformers that do not know that keep all of them.
    output = unwrap(model).get_decoder()(input_ids=ids, use_cache=False, output_hidden_states=list(layers))
    return [output.hidden_states[layer] for layer in layers]


def pool(states: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums over the tokens of each row.

    Args:
        states: [rows, tokens, width].
        weights: [rows, tokens].

    Returns:
        [rows, width] on the device of the states, in float32, or float64 where they are.
    """
    precision = torch.promote_types(states.dtype, torch.float32)
    # A product of matrices: einsum would take ten times as long.
    return (weights.to(states.device, precision)[:, None] @ states.to(precision)).squeeze(1)
