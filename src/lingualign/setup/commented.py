"""A run as a YAML file for people: the settings that are likely to be touched, each with what it means."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from lingualign.config import RunConfig
from lingualign.settings import pairing_reads
from lingualign.yaml_files import dump_yaml

WIDTH = 110

TOUCHED = (
    "recipe",
    "output",
    "policy",
    "reference",
    "prompts",
    "languages",
    "source_language",
    "iterations",
    "seed",
    "data.limit",
    "data.labelled_pairs",
    "sampling.n",
    "sampling.temperature",
    "sampling.max_new_tokens",
    "sampling.batch_tokens",
    "translation.kind",
    "translation.model",
    "translation.url",
    "translation.api_key_env",
    "training.learning_rate",
    "training.epochs",
    "training.batch_pairs",
    "training.micro_batch_pairs",
    "training.gradient_checkpointing",
    "training.lora",
    "measures.n",
    "measures.max_new_tokens",
    "measures.judge",
    "measures.reward_model",
    "measures.server.url",
    "measures.server.model",
    "measures.server.api_key_env",
)
"""What is written, in this order."""

UNSET_LEFT_OUT = frozenset(key for key in TOUCHED if key != "training.lora") - {"data.limit"}
"""Settings that are not written where they have no value."""

Values = Mapping[str, Any]


def commented_yaml(config: RunConfig, reasons: Mapping[str, str], name: str) -> str:
    """The text of a run.yaml from which `load_config` makes the same run.

    Args:
        config: Of the run. What is not written has to be what the recipe says.
        reasons: Dotted key -> why its value is not the recipe's, for settings that were chosen for the user.
        name: Of the file, for the commands in its head.
    """
    values = config.model_dump(mode="json")
    lines = [
        f"# A run of lingualign. Check it: `lingualign doctor {name}`. Start it: `lingualign align {name}`.",
        f"# What is not here is as in the recipe; all settings: `lingualign recipes {config.recipe}`.",
    ]
    section = ""
    for key in TOUCHED:
        value = _at(values, key)
        if (value is None and key in UNSET_LEFT_OUT) or (key not in reasons and not _needed(config, key)):
            continue
        lines += [""] if key.count(".") == 0 or _top(key) != _top(section) else []
        lines += _open_sections(key, section)
        section = key.rpartition(".")[0]
        lines += _entry(key, value, reasons.get(key))
    return "\n".join(lines) + "\n"


def one_line(description: str) -> str:
    """As many whole sentences of a description as fit into a line, one at least (cut, if it must be)."""
    text = " ".join(description.split())
    sentences = text.replace(". ", ".\n").split("\n")
    line = sentences[0]
    for sentence in sentences[1:]:
        if len(line) + 1 + len(sentence) > WIDTH - 10:
            break
        line = f"{line} {sentence}"
    return textwrap.shorten(line, WIDTH - 4, placeholder=" ...")


def description_of(key: str) -> str:
    """What a setting or section means, from its documentation."""
    model: type[BaseModel] = RunConfig
    *sections, last = key.split(".")
    for name in sections:
        annotation = model.model_fields[name].annotation
        assert isinstance(annotation, type) and issubclass(annotation, BaseModel)  # sections that are written
        model = annotation
    return model.model_fields[last].description or ""


def _needed(config: RunConfig, key: str) -> bool:
    """Whether a part of the run looks at a setting."""
    reads = pairing_reads(config)
    if key.startswith("measures.server"):
        return config.measures.judge == "server"
    if key.startswith("translation."):
        translated = config.reward.kind == "translation" or config.reward.context == "translated"
        return "translation" in reads or translated
    return "responses" in reads or not key.startswith("sampling.")


def _open_sections(key: str, open_now: str) -> list[str]:
    """Headings of the sections that a key is in and the key before was not."""
    lines = []
    names = key.split(".")[:-1]
    for depth in range(len(names)):
        section = ".".join(names[: depth + 1])
        if not (open_now == section or open_now.startswith(f"{section}.")):
            indent = "  " * depth
            if depth == 0:
                lines.append(f"# {one_line(description_of(section))}")
            lines.append(f"{indent}{names[depth]}:")
    return lines


def _entry(key: str, value: Any, reason: str | None) -> list[str]:
    """A setting with its comment, indented as its section."""
    comment = one_line(description_of(key))
    if reason is not None:
        comment = f"{comment}\n# Chosen here: {reason}."
    text = f"# {comment}\n{_yaml(key.rpartition('.')[2], value)}"
    return textwrap.indent(text, "  " * key.count(".")).split("\n")


def _yaml(name: str, value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        items = ", ".join(dump_yaml([item]).removeprefix("- ").strip() for item in value)
        return f"{name}: [{items}]"
    return dump_yaml({name: value}).rstrip("\n")


def _at(values: Values, key: str) -> Any:
    found: Any = values
    for name in key.split("."):
        found = found[name]
    return found


def _top(key: str) -> str:
    return key.partition(".")[0]
