"""What the commands that measure have in common: how results are shown, and where they are kept."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lingualign.cli.reporters import stdout_console

if TYPE_CHECKING:
    from rich.table import Table

    from lingualign.pipeline.progress import Reporter

Format = Annotated[
    Literal["plain", "markdown"],
    typer.Option("--format", help="How the tables are printed; --json prints everything as JSON."),
]
OptionalOutput = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="Folder for measures.json, in which other measures stay.",
        show_default=False,
    ),
]


def emit(
    section: str,
    measured: Mapping[str, Any],
    tables: Callable[[Mapping[str, Any]], Sequence[Table]],
    output: Path | None,
    form: str,
    json: bool,
    reporter: Reporter,
) -> None:
    """Shows a result, and keeps it under its section of `measures.json`.

    Args:
        section: Its name in the file.
        measured: Plain values for JSON.
        tables: Makes tables of them.
        output: Folder of the file; None keeps nothing.
        form: Of the tables: plain or markdown.
        json: Print the values instead.
        reporter: Of the command.
    """
    if output is not None:
        from lingualign.pipeline.measuring_files import keep_section

        keep_section(output, section, _without_nan(measured))
    if json:
        reporter.result(section, _without_nan(measured))
        return
    for table in tables(measured):
        if form == "markdown":
            print(markdown(table))
        else:
            stdout_console().print(table)
    if output is not None:
        print(f"Measures: {output / 'measures.json'}", file=sys.stderr)


def language_codes(text: str) -> list[str]:
    """Codes with commas between them."""
    return [code.strip() for code in text.split(",") if code.strip()]


def _without_nan(value: Any) -> Any:
    """The same with null for what could not be estimated: JSON has no NaN."""
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and value != value else value


def markdown(table: Table) -> str:
    """A table as GitHub's Markdown, its title and caption as paragraphs."""
    cells = [[_flat(str(column.header)), *map(_flat, map(str, column.cells))] for column in table.columns]
    rows = list(zip(*cells, strict=True))
    dashes = ["---" if column.justify == "left" else "---:" for column in table.columns]
    lines = ["| " + " | ".join(row) + " |" for row in [rows[0], tuple(dashes), *rows[1:]]]
    parts = [f"**{table.title}**" if table.title else "", "\n".join(lines), str(table.caption or "")]
    return "\n\n".join(part for part in parts if part) + "\n"


def _flat(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
