"""`lingualign recipes`: the methods, and every setting with its meaning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lingualign.cli.arguments import Json
from lingualign.cli.reporters import make_reporter, stdout_console

if TYPE_CHECKING:
    from pydantic import BaseModel


@dataclass(frozen=True)
class Setting:
    """One setting of a recipe: its dotted key, its value, and what it means."""

    key: str
    value: object
    help: str


def explain_settings(section: BaseModel, options: Mapping[str, Any], prefix: str = "") -> Iterator[Setting]:
    """Every setting of a configuration, section by section.

    Args:
        section: The configuration, or a section of it.
        options: Dotted key -> the options of a part, which stand in the configuration as plain values.
        prefix: Of the section's keys.
    """
    from pydantic import BaseModel

    for name, field in type(section).model_fields.items():
        value = options.get(f"{prefix}{name}", getattr(section, name))
        if isinstance(value, BaseModel):
            yield from explain_settings(value, options, f"{prefix}{name}.")
        else:
            plain = section.model_dump(mode="json")[name]
            yield Setting(f"{prefix}{name}", plain, " ".join((field.description or "").split()))


def command(
    name: Annotated[
        str | None, typer.Argument(help="Show one recipe, with all settings.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Lists the recipes; with the name of one, explains all its settings.

    lingualign recipes

    lingualign recipes icr
    """
    from lingualign.settings import PARTS, list_recipes, load_config, part_options

    recipes = {recipe.name: recipe for recipe in list_recipes()}
    if name is not None:
        config = load_config(name, [])
        options = {key: part_options(config, key.partition(".")[0]) for key in PARTS}
        settings = list(explain_settings(config, {key: part for key, part in options.items() if part}))
        if json:
            make_reporter(json).result("recipe", {"name": name, "settings": [s.__dict__ for s in settings]})
            return
        console = stdout_console()
        console.print(recipes[name].description, markup=False, highlight=False)
        for setting in settings:
            console.print(f"\n{setting.key}={setting.value}", markup=False, highlight=False, style="bold")
            console.print(f"    {setting.help}", markup=False, highlight=False)
        return
    if json:
        listed = [{"name": recipe.name, "summary": recipe.summary} for recipe in recipes.values()]
        make_reporter(json).result("recipes", {"recipes": listed})
        return
    console = stdout_console()
    for recipe in recipes.values():
        console.print(f"{recipe.name:<12} {recipe.summary}", markup=False, highlight=False)
