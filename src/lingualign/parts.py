"""The parts that a recipe names: a file of the package, or a file of the user's own.

`reward.kind=random` is `rewards/random.py`, `pairs.kind=best-worst` is `pairs/best_worst.py`, and
`reward.kind=./my_reward.py` is that file. Such a file has `Settings`, its options, and `make`, which builds
the part from them. That is all there is to adding one: no list names them.
"""

from __future__ import annotations

import difflib
import hashlib
import re
import sys
from collections.abc import Mapping
from importlib import import_module, resources, util
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel, ValidationError

from lingualign.errors import InputError
from lingualign.paths import user_path

MAKES = re.compile(r"^def make\(", re.MULTILINE)


def list_kinds(folder: str) -> list[str]:
    """The parts in a folder of the package, by name, without importing any.

    Args:
        folder: `rewards` or `pairs`.
    """
    files = (resources.files("lingualign") / folder).iterdir()
    return sorted(
        file.name.removesuffix(".py").replace("_", "-")
        for file in files
        if file.name.endswith(".py") and MAKES.search(file.read_text(encoding="utf-8"))
    )


def load_part(folder: str, kind: str, setting: str) -> ModuleType:
    """The module of a part.

    Args:
        folder: `rewards` or `pairs`.
        kind: A name from `list_kinds`, or the path of a Python file.
        setting: Which setting names it, for errors.

    Raises:
        InputError: There is no such part, or the file lacks `Settings` or `make`.
    """
    if not kind.endswith(".py"):
        known = list_kinds(folder)
        if kind not in known:
            near = difflib.get_close_matches(kind, known, n=1)
            meant = f"Did you mean {near[0]}? " if near else ""
            raise InputError(
                f"{setting} is {kind!r}; there is no such kind.",
                f"{meant}There are {', '.join(known)}; the name of a file of your own ends in .py.",
            )
        return import_module(f"lingualign.{folder}.{kind.replace('-', '_')}")
    module = _own_file(user_path(kind), setting)
    lacking = [name for name in ("Settings", "make") if not hasattr(module, name)]
    if lacking:
        raise InputError(
            f"{setting}: {kind} has no {' and no '.join(lacking)}.",
            "See docs/extending.md for what such a file holds.",
        )
    return module


def part_settings(module: ModuleType, options: Mapping[str, Any], setting: str) -> BaseModel:
    """The options of a part, complete and checked.

    Args:
        module: From `load_part`.
        options: What the user and the recipe set.
        setting: Where they stand, e.g. `reward.options`.

    Raises:
        InputError: There is no such option, or a value is not allowed.
    """
    model: type[BaseModel] = module.Settings
    unknown = [name for name in options if name not in model.model_fields]
    if unknown:
        known = list(model.model_fields)
        near = difflib.get_close_matches(unknown[0], known, n=1)
        raise InputError(
            f"{setting}.{unknown[0]}: this kind has no such option.",
            f"Did you mean {setting}.{near[0]}?" if near else f"It has {', '.join(known) or 'none'}.",
        )
    try:
        return model.model_validate(dict(options))
    except ValidationError as error:
        problems = []
        for detail in error.errors():
            name = ".".join(map(str, (setting, *detail["loc"])))
            message = detail["msg"].removeprefix("Value error, ").replace("Input should", "it should")
            problems.append(f"{name} is {detail['input']!r}; {message}." if detail["loc"] else f"{message}.")
        raise InputError("\n".join(problems)) from None


def _own_file(path: Path, setting: str) -> ModuleType:
    """Imports a Python file, once for each content."""
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    except OSError as error:
        raise InputError(f"{setting}: {path} cannot be read ({error.strerror}).") from None
    name = f"lingualign_part_{path.stem}_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    spec = util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the user's code raises
        del sys.modules[name]
        raise InputError(f"{setting}: {path} cannot be imported: {type(error).__name__}: {error}") from error
    return module
