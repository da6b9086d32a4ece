"""A run as the command that repeats it, with nothing in it that belongs to one machine."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from lingualign.config import RunConfig
from lingualign.settings import PARTS, load_config

_HUB_CACHE = re.compile(r"models--([^/\\]+?)--([^/\\]+)[/\\]snapshots[/\\]")
ADDRESSES = ("translation.url", "measures.server.url", "sampling.server.urls")
PLACE = {"output"}


def hub_id(spec: str) -> str | None:
    """The name of a model on the Hugging Face Hub, where its folder tells: that of the Hub's local cache.

    Example:
        >>> hub_id("/data/hub/models--Qwen--Qwen3-0.6B/snapshots/c1899de")
        'Qwen/Qwen3-0.6B'
    """
    found = _HUB_CACHE.search(spec + "/")
    return f"{found[1]}/{found[2]}" if found else None


def short(spec: str) -> str:
    """A model or file without the folders around it: they are nobody's business where a card is read.

    Example:
        >>> short("/home/me/models/aligned"), short("./aligned"), short("lab:sft")
        ('aligned', './aligned', 'lab:sft')
    """
    path = PurePath(spec)
    if path.is_absolute() or spec.startswith("~") or ".." in path.parts:
        return hub_id(spec) or path.name
    return spec


def repeat_command(config: RunConfig) -> str:
    """The command that repeats a run: its recipe, and the settings in which it differs from that.

    Absolute paths are cut to their last part, and addresses of servers are left for the reader to fill in.
    """
    settings = [f"{key}={value}" for key, value in differing_settings(config)]
    parts = ["lingualign align", config.recipe, *map(shlex.quote, settings)]
    return " \\\n    ".join([" ".join(parts[:2]), *parts[2:]])


def differing_settings(config: RunConfig) -> Iterator[tuple[str, str]]:
    """The settings of a run that are not its recipe's, as the command line takes them."""
    recipe = dict(_flatten(load_config(config.recipe, [f"policy={config.policy}"]).model_dump(mode="json")))
    usual = load_config(config.recipe, []).policy
    for key, value in _flatten(config.model_dump(mode="json")):
        same = key in recipe and recipe[key] == value
        said = not same or (key == "policy" and value != usual)
        if said and key not in PLACE and value != {}:  # {}: the options of a part, none of which was set
            as_yaml = key.startswith(tuple(f"{part}." for part in PARTS))
            yield key, "URL" if key in ADDRESSES and value else _text(value, as_yaml)


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        dotted = f"{prefix}{key}"
        if isinstance(value, dict) and (value or dotted not in PARTS):
            yield from _flatten(value, f"{dotted}.")
        else:
            yield dotted, value


def _text(value: Any, as_yaml: bool) -> str:
    """A value as `key=value` takes it; the options of a part are read as YAML, whatever they are."""
    if isinstance(value, str):
        value = short(value)
    if isinstance(value, str) and not as_yaml:
        return value
    if isinstance(value, list) and value and not as_yaml:
        return ",".join(map(str, value))
    return json.dumps(value, ensure_ascii=False)
