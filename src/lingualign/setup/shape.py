"""A model's size, read from the headers of its files and its configuration: no weights are loaded."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lingualign.config import RunConfig
from lingualign.errors import InputError
from lingualign.models import ADAPTER_CONFIG, base_folder, is_adapter, parameters_in, resolve_spec
from lingualign.pipeline.rewarding import run_reads_reference

INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class Shape:
    """What memory and time depend on.

    Attributes:
        parameters: Of the model; of an adapter folder, those of its base and its own.
        stored: Bytes a parameter takes in a file that training writes (`dtype` of the configuration).
        layers: Of the decoder.
        hidden: Width of the residual stream.
        intermediate: Width of the MLP.
        key_values: Width of a token's keys, and of its values, in one layer.
        vocabulary: Rows of the LM head.
        positions: Most tokens of a sequence; None where the configuration does not say.
        architecture: Name of the class, as the configuration has it.
    """

    parameters: int
    stored: int
    layers: int
    hidden: int
    intermediate: int
    key_values: int
    vocabulary: int
    positions: int | None
    architecture: str


def read_shape(spec: str | Path) -> Shape:
    """Reads the shape of a model or an adapter.

    Raises:
        InputError: A file is missing, damaged, or no configuration of a language model.
    """
    folder = resolve_spec(spec)
    base = base_folder(folder)
    return configured_shape(
        base, count_parameters(base) + (count_parameters(folder) if folder != base else 0)
    )


def configured_shape(base: Path, parameters: int | None = None) -> Shape:
    """The shape of a model whose weights need not be there.

    Args:
        base: Folder with its config.json.
        parameters: None to count them from the shape, as those of a Llama (`llama_parameters`).

    Raises:
        InputError: There is no configuration of a language model.
    """
    config = _config(base)
    text = config.get("text_config", config)
    try:
        hidden = _first(text, "hidden_size", "n_embd", "d_model")
        layers = _first(text, "num_hidden_layers", "n_layer", "num_layers")
        heads = _first(text, "num_attention_heads", "n_head", "num_heads")
        vocabulary = _first(text, "vocab_size")
    except KeyError as error:
        raise InputError(
            f"{base / 'config.json'}: no {error.args[0]} in it: not the configuration of a language model.",
            "Give the folder of a causal language model.",
        ) from None
    key_heads = text.get("num_key_value_heads") or heads
    key_values = int(key_heads) * int(text.get("head_dim") or hidden // heads)
    intermediate = int(text.get("intermediate_size") or text.get("n_inner") or 4 * hidden)
    if parameters is None:
        tied = bool(text.get("tie_word_embeddings", config.get("tie_word_embeddings", True)))
        parameters = llama_parameters(layers, hidden, intermediate, key_values, vocabulary, tied)
    return Shape(
        parameters=parameters,
        stored=2 if str(text.get("dtype") or text.get("torch_dtype") or "").endswith("16") else 4,
        layers=layers,
        hidden=hidden,
        intermediate=intermediate,
        key_values=key_values,
        vocabulary=vocabulary,
        positions=_optional(text, "max_position_embeddings", "n_positions"),
        architecture=(config.get("architectures") or ["unknown"])[0],
    )


def llama_parameters(
    layers: int, hidden: int, intermediate: int, key_values: int, vocabulary: int, tied: bool
) -> int:
    """Parameters of a Llama: projections of attention, a gated MLP, norms, embedding and head.

    Args:
        layers: Of the decoder.
        hidden: Width of the residual stream, and of all queries of a token.
        intermediate: Width of the MLP.
        key_values: Width of a token's keys, and of its values.
        vocabulary: Rows of the embedding.
        tied: Whether the head is the embedding.
    """
    layer = 2 * hidden * (hidden + key_values) + 3 * hidden * intermediate + 2 * hidden
    return layers * layer + hidden + (1 if tied else 2) * vocabulary * hidden


def run_shapes(config: RunConfig) -> tuple[Shape, Shape]:
    """Shapes of a run's policy and of its reference, which is the policy where nothing asks for another."""
    policy = read_shape(config.policy)
    return policy, read_shape(config.reference) if run_reads_reference(config) else policy


def count_parameters(folder: Path) -> int:
    """Parameters in the safetensors files of a folder, from their headers.

    Raises:
        InputError: A file that the index names is missing, or one cannot be read.
    """
    files = sorted(folder.glob("*.safetensors"))
    index = folder / INDEX
    if index.is_file() and not is_adapter(folder):
        named = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        missing = sorted(named - {file.name for file in files})
        if missing:
            raise InputError(
                f"{folder}: {len(missing)} of {len(named)} weight files are missing, {missing[0]} for one.",
                "Fetch the model again: its download was not finished.",
            )
        files = [file for file in files if file.name in named]
    return sum(parameters_in(file) for file in files)


def trained_parameters(shape: Shape, settings: Any) -> int:
    """Parameters that training changes: all, those of attention, or those of an adapter on all linear maps.

    Args:
        shape: Of the policy.
        settings: The run's `training` section.
    """
    attention = 2 * shape.hidden * (shape.hidden + shape.key_values)
    if settings.lora is None:
        return shape.layers * attention if settings.train_modules == "attention" else shape.parameters
    widths = 4 * shape.hidden + 2 * (shape.hidden + shape.key_values)
    if settings.train_modules == "all":
        widths += 3 * (shape.hidden + shape.intermediate)
    return int(shape.layers * settings.lora.r * widths)


def describe_shape(shape: Shape) -> str:
    """A shape in a few words."""
    count = shape.parameters
    number = f"{count / 1e9:.1f} billion" if count >= 1e9 else f"{count / 1e6:.1f} million"
    room = f", {shape.positions} tokens" if shape.positions else ""
    return f"{shape.architecture}, {number} parameters{room}"


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{folder} has no config.json.", f"{ADAPTER_CONFIG} names the model under it."
        ) from None
    except ValueError as error:
        raise InputError(f"{path}: malformed JSON ({error}).", "Fetch the model again.") from None
    return dict(found)


def _first(config: dict[str, Any], *names: str) -> int:
    found = _optional(config, *names)
    if found is None:
        raise KeyError(names[0])
    return found


def _optional(config: dict[str, Any], *names: str) -> int | None:
    """The first of some settings that is there, under the names of different architectures."""
    return next((int(config[name]) for name in names if isinstance(config.get(name), int)), None)
