"""lingualign makes a language model that is aligned in English as good in its users' other languages.

The names below are the public API. They load on first use: the command line starts without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lingualign.config import RunConfig
    from lingualign.errors import InputError
    from lingualign.logprobs import ScoredSequence, sequence_logprobs, token_logprobs
    from lingualign.models import load_model, load_tokenizer
    from lingualign.pairs import build_pairs, solve_penalty
    from lingualign.pipeline.run import align
    from lingualign.prompts import ChatFormat, read_prompts
    from lingualign.rewards import ImplicitReward
    from lingualign.sampling import TransformersSampler
    from lingualign.settings import load_config
    from lingualign.training import train

__version__ = "0.1.0"

_HOMES = {
    "ChatFormat": "prompts",
    "ImplicitReward": "rewards",
    "InputError": "errors",
    "RunConfig": "config",
    "ScoredSequence": "logprobs",
    "TransformersSampler": "sampling",
    "align": "pipeline.run",
    "build_pairs": "pairs",
    "load_config": "settings",
    "load_model": "models",
    "load_tokenizer": "models",
    "read_prompts": "prompts",
    "sequence_logprobs": "logprobs",
    "solve_penalty": "pairs",
    "token_logprobs": "logprobs",
    "train": "training",
}

__all__ = [
    "ChatFormat",
    "ImplicitReward",
    "InputError",
    "RunConfig",
    "ScoredSequence",
    "TransformersSampler",
    "align",
    "build_pairs",
    "load_config",
    "load_model",
    "load_tokenizer",
    "read_prompts",
    "sequence_logprobs",
    "solve_penalty",
    "token_logprobs",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"lingualign.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'lingualign' has no attribute {name!r}")
