"""States of sentences at every layer of a model, by one pass over the text, kept on disk.

For 2,000 sentences and a model of 8 billion parameters all states of a language are some ten gigabytes. So
every pass appends what it found to one file a measure and layer, and `SentenceStates.read` gives one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lingualign.errors import InputError
from lingualign.hidden import layer_states, passes, pool
from lingualign.logprobs.head import text_config, unwrap
from lingualign.measures.representation.representations import (
    NEURON_STATES,
    Neurons,
    Storage,
    position_weights,
)

# Children of FFN modules, by the names that Transformers gives them.
_GATES = {"gate_proj", "gate_up_proj"}
_UP = _GATES | {"up_proj", "c_fc", "fc1", "fc_in", "dense_h_to_4h"}
_DOWN = ("down_proj", "c_proj", "fc2", "fc_out", "dense_4h_to_h")
_ACTIVATIONS = ("act_fn", "activation_fn", "act")


@dataclass(frozen=True)
class SentenceStates:
    """States of the sentences of one language, in files.

    Attributes:
        folder: Of the files.
        places: Which row of a file is that of each sentence [sentences]; equal sentences share one.
        storage: Precision of the files.
        depth: Layers of the model.
    """

    folder: Path
    places: np.ndarray
    storage: Storage
    depth: int

    def layers(self, measure: str) -> int:
        """Layers that a measure has: FFNs, or hidden states, of which the input embeddings are one more."""
        return self.depth if measure in NEURON_STATES else self.depth + 1

    def read(self, measure: str, layer: int) -> np.ndarray:
        """States at one layer, counted from 0 [sentences, width]."""
        rows = np.fromfile(self.folder / f"{measure}-{layer}", self.storage)
        return rows.reshape(int(self.places.max()) + 1, -1)[self.places]


@contextmanager
def temporary_states(
    model: nn.Module,
    tokenizer: Any,
    language: str,
    texts: Sequence[str],
    measures: Sequence[str],
    neurons: Neurons,
    batch_tokens: int,
    storage: Storage = "float32",
    folder: Path | None = None,
    tell: Callable[[int], None] = lambda _: None,
) -> Iterator[SentenceStates]:
    """Computes states of sentences at all layers, and holds them on disk while the context lasts.

    The batch that a sentence is computed in changes nothing beyond rounding. The LM head is not computed.

    Args:
        model: A causal language model in eval mode, bare or with an adapter.
        tokenizer: Its tokenizer; it adds the special tokens that it adds to any text.
        language: Code of the sentences' language, for error messages.
        texts: Sentences.
        measures: See `lingualign.measures.representation.representations`.
        neurons: Which activations are the neurons; see there.
        batch_tokens: Most tokens, padding included, in one forward pass.
        storage: Precision of the files.
        folder: Where to make the temporary folder.
        tell: Called with the number of sentences of each forward pass.

    Yields:
        The states.

    Raises:
        InputError: A sentence has no token or does not fit the model, or its neurons cannot be found.
    """
    ids = [tuple(row) for row in tokenizer(list(texts))["input_ids"]]
    _check_lengths(model, language, ids)
    rows = sorted(dict.fromkeys(ids), key=len)
    place = {row: i for i, row in enumerate(rows)}
    repeats = np.bincount([place[row] for row in ids])
    depth = text_config(model).num_hidden_layers
    with TemporaryDirectory(prefix="lingualign-states-", dir=folder) as name:
        with _neuron_reader(model, neurons, measures) as reader:
            for part in passes(model, rows, batch_tokens):
                for file, found in _pass(model, rows[part], measures, depth, reader):
                    with (Path(name) / file).open("ab") as handle:
                        found.to("cpu", getattr(torch, storage)).numpy().tofile(handle)
                tell(int(repeats[part].sum()))
        yield SentenceStates(Path(name), np.array([place[row] for row in ids]), storage, depth)


def _pass(
    model: nn.Module, rows: Sequence[Sequence[int]], measures: Sequence[str], depth: int, reader: _Neurons
) -> Iterator[tuple[str, Tensor]]:
    """Name of the file of each measure and layer, and the states [rows, width] to append to it."""
    lengths = torch.tensor([len(row) for row in rows])
    weights = reader.weights = torch.from_numpy(position_weights(lengths.tolist()))
    last = torch.arange(len(rows)), lengths - 1
    for layer, states in enumerate(layer_states(model, rows, range(depth + 1))):
        if "weighted" in measures:
            yield f"weighted-{layer}", pool(states, weights)
        if "last_token" in measures:
            yield f"last_token-{layer}", states[tuple(index.to(states.device) for index in last)]
    yield from reader.take()


class _Neurons:
    """Pools FFN activations where they arise, so that those of one layer alone are held at once."""

    def __init__(self, depth: int, measures: Sequence[str]) -> None:
        self.depth = depth
        self.measures = measures
        self.weights = torch.empty(0)
        self.pooled: dict[str, Tensor] = {}

    def see(self, layer: int, neurons: Tensor) -> None:
        neurons = neurons.reshape(*self.weights.shape, -1)  # some families have all tokens in one row
        for measure in self.measures:
            if measure == "nasca":
                signal = torch.gt(neurons, 0, out=torch.empty_like(neurons))  # 0 or 1
            else:
                signal = neurons.abs()
            self.pooled[f"{measure}-{layer}"] = pool(signal, self.weights)

    def take(self) -> Iterator[tuple[str, Tensor]]:
        found, self.pooled = self.pooled, {}
        if len(found) != self.depth * len(self.measures):
            raise InputError(
                "The activations of some FFN neurons were not seen: a fused kernel computes them.",
                "Load the model without fused kernels, or measure MEXA only.",
            )
        yield from found.items()


@contextmanager
def _neuron_reader(model: nn.Module, neurons: Neurons, measures: Sequence[str]) -> Iterator[_Neurons]:
    """Hooks on the FFN of each layer, where a measure reads neurons."""
    wanted = [measure for measure in measures if measure in NEURON_STATES]
    ffns = _feed_forwards(model) if wanted else []
    reader = _Neurons(len(ffns), wanted)

    def after(layer: int) -> Callable[..., None]:
        return lambda _module, _inputs, output: reader.see(layer, output)

    def before(layer: int) -> Callable[..., None]:
        return lambda _module, inputs: reader.see(layer, inputs[0])

    with ExitStack() as hooks:
        for layer, (activation, down) in enumerate(ffns):
            # What enters the down projection is the product in a gated FFN, the activation in any other.
            if neurons == "gate" and activation is not None:
                hooks.enter_context(activation.register_forward_hook(after(layer)))
            else:
                hooks.enter_context(down.register_forward_pre_hook(before(layer)))
        yield reader


def _feed_forwards(model: nn.Module) -> list[tuple[nn.Module | None, nn.Module]]:
    """Of the FFN of each layer in order: its activation function if it is gated, and its down projection."""
    decoder, depth = unwrap(model).get_decoder(), text_config(model).num_hidden_layers
    found: list[tuple[nn.Module | None, nn.Module]] = []
    for name, module in decoder.named_modules():
        children = dict(module.named_children())
        down = next((children[child] for child in _DOWN if child in children), None)
        if down is None or not children.keys() & _UP or "expert" in name:
            continue
        gated = bool(children.keys() & _GATES)
        activation = next((children[child] for child in _ACTIVATIONS if child in children), None)
        if gated and activation is None:
            raise _unknown(model, f"{name} has a gate but no activation function")
        found.append((activation if gated else None, down))
    if len(found) != depth:
        raise _unknown(model, f"{len(found)} FFNs found in {depth} layers")
    shared = [activation for activation, _ in found if activation is not None]
    if len(set(shared)) < len(shared):
        raise _unknown(model, "layers share an activation function")
    return found


def _unknown(model: nn.Module, reason: str) -> InputError:
    kind = text_config(model).model_type
    return InputError(
        f"The FFN neurons of this architecture ({kind}) cannot be found: {reason}.",
        "NeuronXA needs one FFN a layer, no mixture of experts; measure MEXA only.",
    )


def _check_lengths(model: nn.Module, language: str, ids: Sequence[Sequence[int]]) -> None:
    """Refuses sentences without tokens, and those that a table of learned positions does not reach."""
    for number, row in enumerate(ids, 1):
        if not row:
            raise InputError(
                f"Sentence {number} in {language} has no tokens.", "Remove it from all languages."
            )
    limit = getattr(text_config(model), "max_position_embeddings", None)
    longest = max(range(len(ids)), key=lambda place: len(ids[place]))
    if limit is None or len(ids[longest]) <= limit:
        return
    base = unwrap(model)
    words = base.get_input_embeddings()
    if any(isinstance(module, nn.Embedding) and module is not words for module in base.modules()):
        raise InputError(
            f"Sentence {longest + 1} in {language} has {len(ids[longest])} tokens; the model has {limit} "
            "positions.",
            "Remove it from all languages.",
        )
