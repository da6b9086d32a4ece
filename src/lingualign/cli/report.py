"""`lingualign report`: the HTML report of a run, or of two side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lingualign.errors import InputError


def command(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN [RUN]", help="Folders of finished runs: one, or two to compare."),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File to write. Default: RUN/report.html; for two runs, comparison.html in the first.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Writes the report of a run as one HTML file, which opens from disk and fetches nothing.

    Every run ends with one, `report.html` in its folder. This makes it again, after `lingualign measure
    representations --output RUN` for instance, or for a run of an older version:

        lingualign report runs/icr

    Two runs side by side, with what differs between them and whether the comparison is fair:

        lingualign report runs/icr runs/random --output icr-and-random.html
    """
    if len(runs) > 2:
        raise InputError(
            f"{len(runs)} runs are given, and a page compares two.",
            "`lingualign compare` puts more methods side by side.",
        )
    from lingualign.report import write_comparison, write_report

    if len(runs) == 1:
        written = write_report(runs[0], output)
    else:
        written = write_comparison(runs[0], runs[1], output or runs[0] / "comparison.html")
    typer.echo(f"Report: {written}")
