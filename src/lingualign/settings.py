"""From a recipe, a YAML file and `key=value` settings to one checked configuration.

Later layers win:

1. the defaults of `RunConfig`,
2. the recipe (`recipes/NAME.yaml`): the settings that make the method,
3. `lab/defaults.yaml` and `lab/recipes/NAME.yaml`, if the policy is a model of the lab: what small models in
   a small world need,
4. the user's YAML file,
5. the user's `key=value` settings.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from lingualign.config import NO_REWARD, RunConfig
from lingualign.errors import InputError
from lingualign.languages import resolve
from lingualign.parts import load_part, part_settings
from lingualign.paths import user_path
from lingualign.yaml_files import YamlError, dump_yaml, parse_yaml

DEFAULT_RECIPE = "icr"
LAB_PREFIX = "lab:"
PARTS = {"reward.options": "rewards", "pairs.options": "pairs"}
"""Settings that the part named by the `kind` beside them defines, and the folder of such parts."""
FREE = (*PARTS, "sampling.server.extra", "sampling.vllm.options")
"""Settings whose keys are not ours."""

_PACKAGE = resources.files("lingualign")


@dataclass(frozen=True)
class Recipe:
    """A method as a file of settings.

    Attributes:
        name: What `lingualign align NAME` takes.
        description: The comment at the top of the file, as text.
    """

    name: str
    description: str

    @property
    def summary(self) -> str:
        """The first line of the description."""
        return self.description.split("\n", 1)[0]


def list_recipes() -> list[Recipe]:
    """The recipes of the package, by name."""
    files = sorted(_recipe_files().items())
    return [Recipe(name, _leading_comment(file.read_text(encoding="utf-8"))) for name, file in files]


def load_config(recipe_or_yaml: str | None, overrides: Sequence[str]) -> RunConfig:
    """The configuration of a run, complete and checked.

    Args:
        recipe_or_yaml: Name of a recipe, or path of a YAML file, which may name its recipe under `recipe`.
            None stands for the recipe `icr`.
        overrides: Settings as `key=value` with a dotted key, e.g. `training.learning_rate=1e-6` or
            `languages=en,de,sw`. The value is YAML where the setting is not plain text.

    Returns:
        Every setting of the run, those of the recipe and the defaults among them.

    Raises:
        InputError: A file cannot be read, a key is unknown, or a value is not allowed. The message names the
            setting, the value, and what is allowed.

    Example:
        >>> config = load_config("icr", ["policy=./my-model", "reference=./my-sft", "languages=en,de,sw"])
        >>> config.training.beta
        0.1
    """
    user: dict[str, Any] = {}
    if recipe_or_yaml is not None and _is_path(recipe_or_yaml):
        user = _layer(user_path(recipe_or_yaml), recipe_or_yaml)
    elif recipe_or_yaml is not None:
        user = {"recipe": recipe_or_yaml}
    for override in overrides:
        user = _merge(user, _parse_override(override))

    name = user.setdefault("recipe", DEFAULT_RECIPE)
    settings = _layer(_recipe_file(name), f"recipe {name}")
    policy = {**settings, **user}.get("policy", RunConfig.model_fields["policy"].default)
    if str(policy).startswith(LAB_PREFIX):
        for overlay in ("lab/defaults.yaml", f"lab/recipes/{name}.yaml"):
            if (_PACKAGE / overlay).is_file():
                settings = _merge(settings, _layer(_PACKAGE / overlay, overlay))
    config = _validate(_merge(settings, user))
    for code in config.languages:
        try:
            resolve(code)
        except InputError as error:
            raise InputError(f"languages: {error.message}", error.remedy) from None
    return config


def complete_options(config: RunConfig) -> RunConfig:
    """The configuration with every option of its parts, checked.

    Raises:
        InputError: There is no such part or option, or a value is not allowed.
    """
    sections = {}
    for name in ("reward", "pairs"):
        options = part_options(config, name)
        if options is not None:
            sections[name] = getattr(config, name).model_copy(
                update={"options": options.model_dump(mode="json")}
            )
    return config.model_copy(update=sections)


def part_options(config: RunConfig, section: str) -> Any:
    """The options of a part as the part's own `Settings`; None where nothing is scored.

    Args:
        config: Of the run.
        section: `reward` or `pairs`.
    """
    chosen = getattr(config, section)
    if chosen.kind == NO_REWARD:
        return None
    module = load_reward(config) if section == "reward" else load_pairing(config)
    return part_settings(module, chosen.options, f"{section}.options")


def load_reward(config: RunConfig) -> ModuleType:
    """The module of the run's reward."""
    return load_part("rewards", config.reward.kind, "reward.kind")


def load_pairing(config: RunConfig) -> ModuleType:
    """The module of the run's pairing."""
    return load_part("pairs", config.pairs.kind, "pairs.kind")


def pairing_reads(config: RunConfig) -> frozenset[str]:
    """What the pairs of a run are made from: which stages run before them."""
    return frozenset(getattr(load_pairing(config), "READS", {"responses", "scores"}))


def dump_config(config: RunConfig) -> str:
    """All settings as YAML, from which `load_config` makes the same configuration."""
    return dump_yaml(config.model_dump(mode="json"))


def _recipe_files() -> dict[str, Traversable]:
    files = (_PACKAGE / "recipes").iterdir()
    return {file.name.removesuffix(".yaml"): file for file in files if file.name.endswith(".yaml")}


def _recipe_file(name: Any) -> Traversable:
    recipes = _recipe_files()
    if isinstance(name, str) and name in recipes:
        return recipes[name]
    near = difflib.get_close_matches(str(name), recipes, n=1)
    raise InputError(
        f"There is no recipe {str(name)!r}.",
        (f"Did you mean {near[0]}? " if near else "")
        + f"Recipes: {', '.join(sorted(recipes))}. A file of your own is given on the command line, "
        "and its name ends in .yaml.",
    )


def _is_path(recipe_or_yaml: str) -> bool:
    return "/" in recipe_or_yaml or recipe_or_yaml.endswith((".yaml", ".yml"))


def _leading_comment(text: str) -> str:
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    return "\n".join(lines).strip()


def _layer(file: Traversable, name: str) -> dict[str, Any]:
    """The settings of a YAML file, with known keys."""
    try:
        settings = parse_yaml(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{name}: no such file.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{name} cannot be read: {error}.") from error
    except YamlError as error:
        raise InputError(f"{name}, line {error.line}: {error.problem}.") from error
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise InputError(f"{name}: settings are written as `key: value`, one a line.")
    dotted = next((key for key in settings if "." in str(key) and key in _all_settings()), None)
    if dotted is not None:
        section, _, key = dotted.rpartition(".")
        raise InputError(
            f"{name}: {dotted} is written as on the command line.",
            f"In a file, write `{section}:` and on the next line, indented, `{key}: {settings[dotted]}`.",
        )
    _check_keys(settings, f"{name}: ")
    return _without_empty_sections(settings)


def _parse_override(override: str) -> dict[str, Any]:
    """`a.b=value` as `{"a": {"b": value}}`."""
    key, equals, text = override.partition("=")
    if not equals:
        raise InputError(
            f"{override!r} is not a setting.", "Write settings as key=value, with no spaces around =."
        )
    value = _parse_value(text.strip(), key.strip())
    settings: Any = value
    for part in reversed(key.strip().split(".")):
        settings = {part: settings}
    _check_keys(settings)
    return dict(settings)


def _parse_value(text: str, key: str) -> Any:
    """A value of the command line as its setting takes it: text, a list by commas, or any YAML."""
    field = _all_settings().get(key)
    kinds = set(_kinds(field.annotation)) if field else set()
    if kinds & {str, Path} and not (list in kinds and ("," in text or text.startswith("["))):
        return None if text in ("null", "~", "") and type(None) in kinds else text
    if list in kinds and not text.startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        return parse_yaml(text)
    except YamlError as error:
        raise InputError(f"{key}={text}: the value is not valid YAML ({error.problem}).") from error


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of two layers; sections are merged key by key, everything else is replaced.

    Options belong to a kind: those of the layer below do not outlive a change of it.
    """
    merged = dict(below)
    if above.get("kind", below.get("kind")) != below.get("kind"):
        merged.pop("options", None)
    for key, value in above.items():
        under = merged.get(key)
        merged[key] = _merge(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return merged


def _check_keys(settings: Mapping[Any, Any], where: str = "") -> None:
    """Raises InputError for the first key that is no setting, with the one it was probably meant to be."""
    for key in _flatten(settings):
        if key not in _all_settings():
            meant = _suggestion(key)
            remedy = f"Did you mean {meant}?" if meant else f"There are {', '.join(_siblings(key))}."
            raise InputError(f"{where}{key}: there is no such setting.", remedy)


def _flatten(settings: Mapping[Any, Any], prefix: str = "") -> Iterator[str]:
    """Dotted keys, sections before what is in them; not what is in `FREE`."""
    for key, value in settings.items():
        dotted = f"{prefix}{key}"
        yield dotted
        if isinstance(value, dict) and dotted not in FREE:
            yield from _flatten(value, f"{dotted}.")


def _without_empty_sections(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Leaves out `section:` with nothing, or nothing but comments, behind it: YAML reads it as null."""
    kept: dict[str, Any] = {}
    for key, value in settings.items():
        field = _all_settings()[f"{prefix}{key}"]
        if isinstance(value, dict) and f"{prefix}{key}" not in FREE:
            kept[key] = _without_empty_sections(value, f"{prefix}{key}.")
        elif value is not None or _section(field) is None or type(None) in _kinds(field.annotation):
            kept[key] = value
    return kept


def _suggestion(key: str) -> str | None:
    """The setting of the same or a similar last name: in the section of the key first, then anywhere."""
    last = _last(key)
    everywhere = [name for name, field in _all_settings().items() if not _section(field)]
    same = [name for name in everywhere if _last(name) == last]
    if same:
        return difflib.get_close_matches(key, same, n=1, cutoff=0.0)[0]
    for names in (_siblings(key), everywhere):
        by_last = {_last(name): name for name in names}
        near = difflib.get_close_matches(last, by_last, n=1, cutoff=0.7)
        if near:
            return by_last[near[0]]
    return None


def _last(key: str) -> str:
    return key.rpartition(".")[2]


def _siblings(key: str) -> list[str]:
    """The settings of the innermost known section around a key."""
    section = key.rpartition(".")[0]
    while section and (section not in _all_settings() or _section(_all_settings()[section]) is None):
        section = section.rpartition(".")[0]
    return [name for name in _all_settings() if name.rpartition(".")[0] == section]


@cache
def _all_settings() -> dict[str, FieldInfo]:
    """Every setting and section by its dotted key."""

    def walk(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
        for name, field in model.model_fields.items():
            yield f"{prefix}{name}", field
            section = _section(field)
            if section:
                yield from walk(section, f"{prefix}{name}.")

    return dict(walk(RunConfig, ""))


def _section(field: FieldInfo) -> type[BaseModel] | None:
    """The model of a field that is a section, optional ones included."""
    for kind in _kinds(field.annotation):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def _kinds(annotation: Any) -> Iterator[Any]:
    """The types that a value may have: `list` for `list[str]`, `str` for a Literal of strings."""
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        for member in typing.get_args(annotation):
            yield from _kinds(member)
    elif origin is typing.Literal:
        yield from {type(value) for value in typing.get_args(annotation)}
    else:
        yield origin or annotation


def _validate(settings: Mapping[str, Any]) -> RunConfig:
    try:
        return complete_options(RunConfig.model_validate(settings))
    except ValidationError as error:
        problems = [_problem(detail) for detail in error.errors()]
        keys = [".".join(str(part) for part in detail["loc"]) for detail in error.errors()]
        described = [field.description for key in keys if (field := _all_settings().get(key)) is not None]
        help_text = " ".join((described[0] or "").split()) if described else ""
        raise InputError("\n".join(problems), help_text) from None


def _problem(detail: Mapping[str, Any]) -> str:
    message = detail["msg"].removeprefix("Value error, ")
    if not detail["loc"]:  # a check of several settings together names them itself
        return f"{message}."
    key = ".".join(str(part) for part in detail["loc"])
    return f"{key} is {detail['input']!r}; {message.replace('Input should', 'it should')}."
