"""The pages of reference, made of the code at every build: settings, recipes, the Python API.

A page has a comment such as `<!-- settings -->` where its reference belongs; the words around it are written
by hand. What stands there cannot fall behind the code, because nobody writes it.
"""

from __future__ import annotations

import html
import re
import types
import typing
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import annotated_types
import yaml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.pages import Page
from pydantic import BaseModel
from pydantic.fields import FieldInfo

import lingualign
from lingualign.config import RunConfig
from lingualign.parts import list_kinds, load_part
from lingualign.settings import list_recipes
from lingualign.yaml_files import parse_yaml

PACKAGE = resources.files("lingualign")
BOUNDS = {
    annotated_types.Ge: ("at least", "ge"),
    annotated_types.Gt: ("above", "gt"),
    annotated_types.Le: ("at most", "le"),
    annotated_types.Lt: ("below", "lt"),
}
NAMES = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    Path: "path",
    dict: "mapping",
}


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, **_: Any) -> str:
    """Fills the places of a page."""
    places = {"settings": settings, "recipes": recipes, "api": api, "quickstart": lambda: quickstart(config)}
    for name, make in places.items():
        place = f"<!-- {name} -->"
        if place in markdown:
            markdown = markdown.replace(place, make())
    return markdown


def settings() -> str:
    """Every setting of a run, section by section, and the options of every reward and pairing."""
    set_by = _recipe_values()
    lines = ["## The run {#run}", "", *_fields(RunConfig, "", set_by)]
    for key, section in _sections(RunConfig):
        lines += [
            f"## `{key}` {{#{key}}}",
            "",
            _prose(section.__doc__ or ""),
            "",
            *_fields(section, key, set_by),
        ]
    for folder, key, what in (("rewards", "reward", "reward"), ("pairs", "pairs", "pairing")):
        lines += [
            f"## `{key}.options` {{#{key}.options-by-kind}}",
            "",
            f"The options of each {what}. They hold for the `{key}.kind` above them alone.",
            "",
        ]
        for kind in list_kinds(folder):
            module = load_part(folder, kind, f"{key}.kind")
            about = _prose((module.__doc__ or "").split("\n\n")[0])
            lines += [f"### `{key}.kind={kind}` {{#{key}.kind.{kind}}}", "", about, ""]
            for name, field in module.Settings.model_fields.items():
                anchor = f"{key}.options.{kind}.{name}"
                lines += _setting(f"{key}.options.{name}", field, {}, anchor, level=4)
    return "\n".join(lines)


def recipes() -> str:
    """Every recipe as it is, comments included, and what the lab lays over it."""
    lines = []
    for recipe in list_recipes():
        lines += [
            f"## `{recipe.name}` {{#{recipe.name}}}",
            "",
            f"{_prose(recipe.summary)} [The method](methods/{recipe.name}.md).",
            "",
            *_file(f"recipes/{recipe.name}.yaml"),
        ]
        overlay = f"lab/recipes/{recipe.name}.yaml"
        if (PACKAGE / overlay).is_file():
            lines += [
                "With a model of the lab, over it and over the [lab's defaults](#lab):",
                "",
                *_file(overlay),
            ]
    return "\n".join([*lines, "## The lab's defaults {#lab}", "", *_file("lab/defaults.yaml")])


def api() -> str:
    """The public names, documented from their docstrings."""
    return "\n\n".join(f"::: lingualign.{name}" for name in lingualign.__all__)


def quickstart(config: MkDocsConfig) -> str:
    """The table that the quickstart ends with, as the README has it."""
    readme = (Path(config.config_file_path).parent / "README.md").read_text(encoding="utf-8")
    return readme.partition("<!-- quickstart:begin -->")[2].partition("<!-- quickstart:end -->")[0].strip()


def _fields(section: type[BaseModel], prefix: str, set_by: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """The settings of a section itself, without those of the sections in it."""
    for name, field in section.model_fields.items():
        key = f"{prefix}.{name}" if prefix else name
        inner = _model(field)
        if inner is None:
            yield from _setting(key, field, set_by.get(key, {}), key)
        elif field.default is None:  # a section that may be absent is a setting too
            yield from _setting(key, field, set_by.get(key, {}), f"{key}-section")


def _setting(
    key: str, field: FieldInfo, set_by: Mapping[str, Any], anchor: str, level: int = 3
) -> Iterator[str]:
    """One setting: its name, what it takes, its default, what recipes make of it, and what it means."""
    facts = [_kind(field), f"default {_value(field.get_default(call_default_factory=True))}"]
    yield f"{'#' * level} `{key}` {{#{anchor}}}"
    yield ""
    yield " · ".join(facts)
    yield "{.setting}"
    yield ""
    yield _prose(field.description or "")
    yield ""
    differing = {recipe: value for recipe, value in set_by.items() if value != field.default}
    if differing:
        values: dict[str, list[str]] = {}
        for recipe, value in differing.items():
            values.setdefault(_value(value), []).append(f"[{recipe}](recipes.md#{recipe})")
        yield (
            "Recipes: " + "; ".join(f"{value} in {', '.join(names)}" for value, names in values.items()) + "."
        )
        yield "{.setting}"
        yield ""


def _sections(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Every section by its dotted key, outer ones first."""
    for name, field in model.model_fields.items():
        inner = _model(field)
        if inner is not None:
            yield f"{prefix}{name}", inner
            yield from _sections(inner, f"{prefix}{name}.")


def _members(annotation: Any) -> tuple[Any, ...]:
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return typing.get_args(annotation) if union else (annotation,)


def _model(field: FieldInfo) -> type[BaseModel] | None:
    kinds = (kind for kind in _members(field.annotation) if isinstance(kind, type))
    return next((kind for kind in kinds if issubclass(kind, BaseModel)), None)


def _kind(field: FieldInfo) -> str:
    """What a setting takes, in words."""
    words = []
    for kind in _members(field.annotation):
        origin = typing.get_origin(kind)
        if origin is typing.Literal:
            words.append("one of " + ", ".join(f"`{value}`" for value in typing.get_args(kind)))
        elif origin is list:
            words.append("list")
        elif origin is not None:
            words.append(NAMES[origin])
        elif kind in NAMES:
            words.append(NAMES[kind])
        elif kind is not type(None):
            words.append("section")
    bounds = [
        f"{said} {getattr(limit, name):g}"
        for limit in field.metadata
        for kind, (said, name) in BOUNDS.items()
        if isinstance(limit, kind)
    ]
    return ", ".join([" or ".join(words), *bounds])


def _value(value: Any) -> str:
    """A value as it is written in YAML."""
    if value is None:
        return "unset"
    if isinstance(value, Mapping):
        return "none" if not value else f"`{dict(value)}`"
    written = yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("...\n").strip()
    return f"`{written}`"


def _recipe_values() -> dict[str, dict[str, Any]]:
    """Dotted key -> recipe -> the value that it sets."""

    def walk(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
        for key, value in settings.items():
            if isinstance(value, Mapping):
                yield from walk(value, f"{prefix}{key}.")
            else:
                yield f"{prefix}{key}", value

    found: dict[str, dict[str, Any]] = {}
    for recipe in list_recipes():
        text = (PACKAGE / "recipes" / f"{recipe.name}.yaml").read_text(encoding="utf-8")
        for key, value in walk(parse_yaml(text) or {}):
            found.setdefault(key, {})[recipe.name] = value
    return found


def _prose(text: str) -> str:
    """A docstring as one Markdown paragraph; angle brackets are text, but for those in code."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    return "".join(part if part.startswith("`") else html.escape(part, quote=False) for part in parts)


def _file(path: str) -> list[str]:
    """A file of the package as a block of code."""
    return ["```yaml", (PACKAGE / path).read_text(encoding="utf-8").rstrip(), "```", ""]
