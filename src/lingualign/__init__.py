"""lingualign makes a language model that is aligned in English as good in its users' other languages.

The names below are the public API, by what they are for; docs/python.md shows them at work.

- A whole run: `load_config`, `align`, `Run`, `measure`, `write_report`, and `InputError`, the one error that
  is meant for users.
- Its stages on data in memory: `read_prompts`, `TransformersSampler`, `ImplicitReward`, `score_responses`,
  `build_pairs`.
- Models, and log-probabilities under them: `load_model`, `load_tokenizer`, `ChatFormat`, `ScoredSequence`,
  `sequence_logprobs`.
- Rewards for TRL's online trainers: `trl_reward`.

They load on first use: importing lingualign imports no torch. Whatever else a module defines without a
leading underscore can be imported from there, and may change from one version to the next.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lingualign.errors import InputError
    from lingualign.logprobs import ScoredSequence, sequence_logprobs
    from lingualign.models import load_model, load_tokenizer
    from lingualign.pairs import build_pairs
    from lingualign.pipeline.run import align
    from lingualign.prompts import ChatFormat, read_prompts
    from lingualign.report.page import write_report
    from lingualign.rewards import ImplicitReward
    from lingualign.rewards.scoring import score_responses
    from lingualign.rewards.trl import trl_reward
    from lingualign.runs import Run, measure
    from lingualign.sampling import TransformersSampler
    from lingualign.settings import load_config

__version__ = "0.1.0"

_HOMES = {
    "ChatFormat": "prompts",
    "ImplicitReward": "rewards",
    "InputError": "errors",
    "Run": "runs",
    "ScoredSequence": "logprobs",
    "TransformersSampler": "sampling",
    "align": "pipeline.run",
    "build_pairs": "pairs",
    "load_config": "settings",
    "load_model": "models",
    "load_tokenizer": "models",
    "measure": "runs",
    "read_prompts": "prompts",
    "score_responses": "rewards.scoring",
    "sequence_logprobs": "logprobs",
    "trl_reward": "rewards.trl",
    "write_report": "report.page",
}

__all__ = [
    "ChatFormat",
    "ImplicitReward",
    "InputError",
    "Run",
    "ScoredSequence",
    "TransformersSampler",
    "align",
    "build_pairs",
    "load_config",
    "load_model",
    "load_tokenizer",
    "measure",
    "read_prompts",
    "score_responses",
    "sequence_logprobs",
    "trl_reward",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"lingualign.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'lingualign' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
