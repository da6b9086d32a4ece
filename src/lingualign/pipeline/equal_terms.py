"""Whether runs of several methods can be compared, and on what terms: what is the same, and what differs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lingualign.errors import InputError
from lingualign.pipeline.plan import EXECUTION, measure_name
from lingualign.pipeline.validate import CheckedRun, flat_settings

# What has to be the same for wins to mean the same.
EQUAL = ("policy", "prompts", "languages", "source_language", "dtype", "base_model_prompts")
EQUAL_SECTION = "measures."

# What decides how much a method may spend, and with whose help: it may differ, and is then told.
BUDGET = ("iterations", "reference", "translation.kind", "translation.model")
BUDGET_SECTIONS = ("data.", "sampling.", "training.")


def check_equal(runs: Mapping[str, CheckedRun]) -> None:
    """Refuses methods whose wins would not mean the same.

    Args:
        runs: A method -> one of its runs.

    Raises:
        InputError: They start from different models, or are measured on different prompts or by different
            judges. The message names the first difference.
    """
    (first, run), *others = runs.items()
    settings = flat_settings(run.config)
    for method, other in others:
        for key, value in flat_settings(other.config).items():
            if (key in EQUAL or key.startswith(EQUAL_SECTION)) and value != settings[key]:
                raise InputError(
                    f"{first} and {method} cannot be compared: {key} is {settings[key]!r} in the one and "
                    f"{value!r} in the other.",
                    f"Set it for both: {key}=...",
                )
        if _starting(run, "sampled", "prompts") != _starting(other, "sampled", "prompts"):
            raise InputError(
                f"{first} and {method} cannot be compared: they are measured on different prompts.",
                "Set data.max_prompt_tokens and sampling.max_new_tokens for both: they decide which prompts "
                "are too long.",
            )
        if _starting(run, "sampled-judged", "judge") != _starting(other, "sampled-judged", "judge"):
            raise InputError(
                f"{first} and {method} cannot be compared: they are judged by different models.",
                "The implicit judge is made of reference and reward.context: set them for both, or choose "
                "another judge with measures.judge.",
            )


def differing_terms(runs: Mapping[str, CheckedRun]) -> dict[str, dict[str, Any]]:
    """What decides the budget and is not the same for all methods.

    Args:
        runs: A method -> one of its runs.

    Returns:
        A setting -> a method -> its value, None where the method makes no use of it; and under `prompts used`
        how many prompts a language its first iteration has.
    """
    table: dict[str, dict[str, Any]] = {}
    for method, run in runs.items():
        samples = run.plan.has(run.plan.iterations[0].name("responses"))
        terms: dict[str, Any] = {"prompts used": len(run.prompts.iterations[0])}
        for key, value in flat_settings(run.config).items():
            if key in BUDGET or (key.startswith(BUDGET_SECTIONS) and key not in EXECUTION):
                terms[key] = value if samples or not key.startswith("sampling.") else None
        for key, value in terms.items():
            table.setdefault(key, dict.fromkeys(runs))[method] = value
    return {key: values for key, values in table.items() if _differ(values)}


def _differ(values: Mapping[str, Any]) -> bool:
    """Whether methods that use a setting have it at different values."""
    return len({repr(value) for value in values.values() if value is not None}) > 1


def _starting(run: CheckedRun, stage: str, part: str) -> str:
    """A part of the fingerprint of a stage that measures the starting policy."""
    return run.plan.fingerprints[measure_name(0, stage)][part]
