"""What the commands have in common: the recipe and settings behind the command's name, and the options."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lingualign.errors import InputError

if TYPE_CHECKING:
    from lingualign.config import RunConfig

Arguments = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RECIPE | run.yaml] [key=value ...]",
        help="A recipe or a YAML file, and settings that differ from it. Default: `icr`, in the lab.",
        show_default=False,
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[key=value ...]",
        help="Settings; `lingualign recipes icr` explains them all.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Lines of JSON on stdout instead of text.")]
AllowMissing = Annotated[
    bool, typer.Option("--allow-missing", help="Where languages have different ids, use those that all have.")
]
RecomputeCorrupt = Annotated[
    bool, typer.Option("--recompute-corrupt", help="Make damaged files of the run folder again.")
]


def table_option(flag: str, what: str) -> Any:
    """An option that takes a Parquet file or a folder of part files."""
    return typer.Option(
        flag, help=f"{what}: a Parquet file, or a folder of part-*.parquet.", show_default=False
    )


Responses = Annotated[Path, table_option("--responses", "Candidates to read")]
Pairs = Annotated[Path, table_option("--pairs", "Preference pairs")]


def load(arguments: list[str] | None, allow_missing: bool = False) -> RunConfig:
    """The configuration that the arguments of a command describe.

    Raises:
        InputError: There is more than one recipe, or the settings are wrong.
    """
    from lingualign.settings import load_config

    names = [argument for argument in arguments or [] if "=" not in argument]
    overrides = [argument for argument in arguments or [] if "=" in argument]
    if len(names) > 1:
        raise InputError(
            f"{' and '.join(names)}: there can be one recipe or YAML file.",
            "A setting is written key=value, without spaces.",
        )
    if allow_missing:
        overrides.append("data.allow_missing=true")
    return load_config(names[0] if names else None, overrides)


Output = Annotated[
    Path,
    typer.Option(
        "--output", "-o", help="Folder for the result; the same command resumes in it.", show_default=False
    ),
]
