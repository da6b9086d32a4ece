"""The shape of a model of which only the number of parameters is known."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

from lingualign.errors import InputError
from lingualign.models import CONFIG, base_folder, is_adapter, resolve_spec
from lingualign.setup.shape import Shape, configured_shape, llama_parameters, read_shape

POSITIONS = 131072
TIED_BELOW = 4e9  # parameters; published models below this have one table for embedding and head
LEAST, MOST = 1e5, 1e13

# layers, hidden, intermediate, width of keys, vocabulary, tied: from the config.json of each.
PUBLISHED = [
    (24, 896, 4864, 128, 151936, True),  # Qwen2.5-0.5B
    (16, 2048, 8192, 512, 128256, True),  # Llama-3.2-1B
    (28, 3072, 8192, 1024, 128256, True),  # Llama-3.2-3B
    (32, 4096, 14336, 1024, 128256, False),  # Llama-3.1-8B
    (48, 5120, 13824, 1024, 152064, False),  # Qwen2.5-14B
    (64, 5120, 27648, 1024, 152064, False),  # Qwen2.5-32B
    (80, 8192, 28672, 1024, 128256, False),  # Llama-3.1-70B
]


def shape_of_size(parameters: float, bytes_stored: int = 2) -> Shape:
    """A Llama of some size, between the published ones.

    Layers and widths are interpolated in the logarithm of the size (beyond the smallest and the largest
    published model, both grow with its cube root); the MLP's width then makes the number of parameters right.
    The vocabulary is that of the nearest published model, and of no more than a third of the parameters.

    Args:
        parameters: Of the model.
        bytes_stored: Bytes a parameter takes in a file.

    Raises:
        InputError: No model has so many.
    """
    if not LEAST <= parameters <= MOST:
        raise InputError(
            f"--model-params {parameters:g}: a model has between {LEAST:.0e} and {MOST:.0e} parameters.",
            "Give their number, as 8e9 for 8 billion.",
        )
    known = sorted((llama_parameters(*shape), shape) for shape in PUBLISHED)
    (small, lower), (large, upper) = next(
        (pair for pair in pairwise(known) if parameters <= pair[1][0]), (known[-1], known[-1])
    )
    if small <= parameters <= large and small < large:
        share = math.log(parameters / small) / math.log(large / small)
        layers, hidden, keys = (lower[part] ** (1 - share) * upper[part] ** share for part in (0, 1, 3))
        vocabulary = (lower if share < 0.5 else upper)[4]
    else:
        size, base = known[0] if parameters < small else known[-1]
        growth = (parameters / size) ** (1 / 3)
        layers, hidden, keys, vocabulary = base[0] * growth, base[1] * growth, base[3] * growth, base[4]
    width, depth = _multiple(hidden, 128 if hidden > 512 else 32), max(1, round(layers))
    tied = parameters < TIED_BELOW
    vocabulary = min(vocabulary, int(parameters / 3 / width / (1 if tied else 2)))
    key_values = min(width, _multiple(keys, 128 if hidden > 512 else 32))
    without = llama_parameters(depth, width, 0, key_values, vocabulary, tied)
    intermediate = max(1, round((parameters - without) / (3 * width * depth)))
    return Shape(
        parameters=round(parameters),
        stored=bytes_stored,
        layers=depth,
        hidden=width,
        intermediate=intermediate,
        key_values=key_values,
        vocabulary=vocabulary,
        positions=POSITIONS,
        architecture="a Llama of that size",
    )


def shape_of_spec(spec: str | Path) -> Shape:
    """The shape of a model whose folder has at least its config.json.

    Raises:
        InputError: There is neither a model nor a configuration.
    """
    folder = Path(spec).expanduser()
    if (folder / CONFIG).is_file() and not is_adapter(folder) and not any(folder.glob("*.safetensors")):
        return configured_shape(folder)
    try:
        base_folder(resolve_spec(spec))
    except InputError as error:
        raise InputError(
            error.message, "To plan without the model, say how large it is: --model-params 8e9."
        ) from None
    return read_shape(spec)


def _multiple(number: float, of: int) -> int:
    return max(of, round(number / of) * of)
