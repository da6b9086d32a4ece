"""The page: sections one after another in one file that fetches nothing and runs one script of its own."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lingualign.pipeline.files import write_text
from lingualign.report.html import Cell, data_text, joined, language
from lingualign.report.section import Section
from lingualign.report.sections import (
    configuration,
    confusion,
    funnel,
    health,
    length,
    representations,
    retention,
    training,
    traits,
    verdict,
    wins,
)
from lingualign.report.source import TracedRun, reporting_on
from lingualign.report.svg import drawing

FILE = "report.html"
_TEMPLATES = "templates"


@dataclass(frozen=True)
class Page:
    """What the template fills in.

    Attributes:
        title: Of the document, plain text.
        heading: The first heading.
        subject: Under it: what the page is about.
        sections: In their order.
    """

    title: str
    heading: Cell
    subject: Cell
    sections: Sequence[Section]


def write_report(run: Path, output: Path | None = None) -> Path:
    """Writes the report of a finished run: one HTML file that opens from disk.

    Args:
        run: Folder of the run.
        output: File to write. Default: `report.html` in the run folder.

    Returns:
        The file.

    Raises:
        InputError: The folder is not of a run, the run is not finished, or its files are damaged.

    Example:
        >>> write_report(Path("runs/icr"))
        PosixPath('runs/icr/report.html')
    """
    path = output or run / FILE
    with reporting_on(run), drawing():
        page = render(run_page(TracedRun(run)))
    write_text(path, page)
    return path


def run_page(run: TracedRun) -> Page:
    """The page on one run."""
    from lingualign.report.browser import browser_section

    parts = [
        verdict.section(run),
        wins.section(run),
        retention.section(run),
        confusion.section(run),
        health.section(run),
        length.section(run),
        training.section(run),
        representations.section(run),
        traits.section(run),
        funnel.section(run),
        browser_section(run.folder),
        configuration.section(run),
    ]
    recipe = str(run.config["recipe"].value or "run")
    subject = Markup("{} on <code>{}</code>: {}").format(
        data_text(recipe), run.config["policy"].value or "", joined(map(language, run.languages))
    )
    return Page(
        f"{recipe}: report of a run", "Report of a run", subject, [part for part in parts if part is not None]
    )


def render(page: Page) -> str:
    """The page as HTML.

    All styles go into one element and all scripts into another, whose hash is the only one that the page's
    Content-Security-Policy lets run: text from data could not run even if it got through as markup.
    """
    style = "\n".join([_own("style.css"), *(part.style for part in page.sections if part.style)])
    scripts = [_own("page.js"), *(part.script for part in page.sections if part.script)]
    script = "\n".join(f"(() => {{\n{each}\n}})();" for each in scripts)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment = Environment(
        loader=PackageLoader("lingualign.report", _TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        page=page, style=Markup(style), script=Markup(script), digest=digest
    )


def _own(name: str) -> str:
    return resources.files("lingualign.report").joinpath(_TEMPLATES, name).read_text(encoding="utf-8").strip()
