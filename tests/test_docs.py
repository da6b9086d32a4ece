"""The documentation: built as a site without a warning, with links that lead somewhere, and true to the code.

What it says of commands, settings, error messages and names is looked up in the code, so that it cannot fall
behind.
"""

from __future__ import annotations

import ast
import logging
import os
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pytest
import typer.main
from pydantic import BaseModel

import lingualign
from lingualign.cli.app import app
from lingualign.config import RunConfig
from lingualign.parts import list_kinds, load_part
from lingualign.records import PAIRS, RESPONSES, SCORES
from lingualign.settings import list_recipes, load_config

mkdocs_build = pytest.importorskip("mkdocs.commands.build", reason="pip install -e '.[docs]'")

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
UsageError = typer.BadParameter.__base__ or Exception  # typer has a Click of its own, and shows part of it
BLOCK = re.compile(r"^```(?P<language>[^\n`]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass
class HtmlPage:
    """What a page has to be linked to, and what it links to and loads."""

    ids: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)
    text: str = ""


class Reader(HTMLParser):
    """Reads a page of the site."""

    def __init__(self) -> None:
        super().__init__()
        self.page = HtmlPage()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.page.ids.add(found.get("id", ""))
        if tag == "a":
            self.page.links.append(found.get("href", ""))
        if tag in LOADS and found.get("rel") != "canonical":
            self.page.loads.append(found.get(LOADS[tag], ""))

    def handle_data(self, data: str) -> None:
        self.page.text += data


class Warnings(logging.Handler):
    """Keeps what MkDocs warns of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@dataclass
class Site:
    """The built site.

    Attributes:
        folder: Where it is.
        warnings: What the build warned of.
        pages: Its pages, by path.
    """

    folder: Path
    warnings: list[str]
    pages: dict[Path, HtmlPage]

    def page(self, name: str) -> HtmlPage:
        return self.pages[self.folder / name]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The site, built once."""
    from mkdocs.config import load_config as load_site

    folder = tmp_path_factory.mktemp("site")
    warnings = Warnings()
    log = logging.getLogger("mkdocs")
    log.addHandler(warnings)
    working = Path.cwd()
    os.chdir(ROOT)  # mkdocstrings looks for the sources from here
    try:
        config = load_site(str(ROOT / "mkdocs.yml"), site_dir=str(folder))
        config.plugins.on_startup(command="build", dirty=False)
        mkdocs_build.build(config)
    finally:
        os.chdir(working)
        log.removeHandler(warnings)
    pages = {}
    for path in sorted(folder.rglob("*.html")):
        reader = Reader()
        reader.feed(path.read_text(encoding="utf-8"))
        pages[path] = reader.page
    return Site(folder, warnings.messages, pages)


def test_the_site_is_built_without_a_warning(site: Site) -> None:
    assert site.warnings == []
    assert (site.folder / "index.html").is_file()


def test_every_link_and_image_of_the_site_leads_somewhere(site: Site) -> None:
    broken = []
    for path, page in site.pages.items():
        if path.name == "404.html":  # its links are absolute: a server shows it at any address
            continue
        for link in page.links + page.loads:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file():
                broken.append(f"{path.relative_to(site.folder)}: {link}")
            elif parts.fragment and unquote(parts.fragment) not in site.pages[target].ids:
                broken.append(f"{path.relative_to(site.folder)}: no anchor {link}")
    assert broken == []


def test_every_relative_link_of_the_documents_leads_to_a_file_of_the_repository() -> None:
    broken = []
    for path in PAGES:
        text = re.sub(r"`[^`\n]*`", "", BLOCK.sub("", path.read_text(encoding="utf-8")))
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            parts = urlsplit(link)
            if not parts.scheme and parts.path and not (path.parent / unquote(parts.path)).exists():
                broken.append(f"{path.relative_to(ROOT)}: {link}")
    assert broken == []


def test_a_reader_of_the_site_fetches_nothing_from_elsewhere(site: Site) -> None:
    outside = [
        f"{path.relative_to(site.folder)}: {load}"
        for path, page in site.pages.items()
        for load in page.loads
        if urlsplit(load).scheme not in ("", "data") or urlsplit(load).netloc
    ]
    styles = "".join(path.read_text(encoding="utf-8") for path in site.folder.rglob("*.css"))
    assert outside == []
    assert re.findall(r"(?:url\(|@import\s+)[\"']?(?:https?:)?//", styles) == []


def test_the_search_knows_every_page(site: Site) -> None:
    index = (site.folder / "search" / "search_index.js").read_text(encoding="utf-8")
    missing = [path.stem for path in (ROOT / "docs").rglob("*.md") if f"{path.stem}.html" not in index]
    assert missing == []


def test_the_reference_has_every_setting_and_every_option(site: Site) -> None:
    ids = site.page("settings.html").ids
    options = {
        f"{section}.options.{kind}.{name}"
        for folder, section in (("rewards", "reward"), ("pairs", "pairs"))
        for kind in list_kinds(folder)
        for name in load_part(folder, kind, "kind").Settings.model_fields
    }
    assert (setting_keys() | options) - ids == set()


def test_the_reference_has_every_recipe_with_its_comments(site: Site) -> None:
    page = site.page("recipes.html")
    for recipe in list_recipes():
        assert recipe.name in page.ids
        assert recipe.description.split("\n")[-1] in page.text
        assert (ROOT / "docs" / "methods" / f"{recipe.name}.md").is_file()


def test_the_reference_has_every_public_name_with_its_docstring(site: Site) -> None:
    page = site.page("api.html")
    anchors = {anchor.rpartition(".")[2] for anchor in page.ids}
    lacking = [name for name in lingualign.__all__ if name not in anchors]
    assert lacking == []
    assert "Raises" in page.text and "Returns" in page.text


def test_formulas_are_drawn_by_the_browser(site: Site) -> None:
    formulas = "".join(path.read_text(encoding="utf-8") for path in (site.folder / "methods").glob("*.html"))
    assert "<math" in formulas
    assert 'class="arithmatex"' not in formulas
    left = [name for name in re.findall(r"<m[ino][^>]*>(\\\w+)", formulas)]
    assert left == []  # TeX that was not understood


def test_every_command_in_the_documents_can_be_given() -> None:
    problems = []
    root = typer.main.get_command(app)
    for path in PAGES:
        for line in commands_in(path):
            problem = wrong_command(root, shlex.split(line, comments=True)[1:])
            if problem:
                problems.append(f"{path.relative_to(ROOT)}: {line}: {problem}")
    assert problems == []


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("algin icr", "No such command"),
        ("align icr --recompute", "No such option"),
        ("align icr sampling.temprature=1", "no such setting"),
        ("align irc", "There is no recipe"),
        ("train icr", "Missing parameter: pairs"),
    ],
)
def test_a_wrong_command_would_be_noticed(command: str, said: str) -> None:
    assert said in (wrong_command(typer.main.get_command(app), command.split()) or "")


def test_extras_in_the_documents_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = {
        extra
        for path in PAGES
        for extras in re.findall(r"lingualign\[([\w,]+)\]", path.read_text(encoding="utf-8"))
        for extra in extras.split(",")
    }
    assert named and named <= set(project["optional-dependencies"])


def test_every_python_example_parses_and_imports_what_there_is() -> None:
    wrong = []
    for path in PAGES:
        for block in BLOCK.finditer(path.read_text(encoding="utf-8")):
            if block["language"].strip() != "python":
                continue
            for node in ast.walk(ast.parse(block["body"])):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lingualign"):
                    names = {alias.name for alias in node.names}
                    wrong += [
                        f"{path.name}: {node.module}.{name}" for name in names - names_in(node.module or "")
                    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("heading", "schema"), [("Responses", RESPONSES), ("Scores", SCORES), ("Pairs", PAIRS)]
)
def test_the_page_of_tables_has_every_column(heading: str, schema: pa.Schema) -> None:
    text = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")
    section = text.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    firsts = re.findall(r"^\| (`[^|]+) \|", section, re.MULTILINE)
    assert [name for first in firsts for name in re.findall(r"`(\w+)`", first)] == schema.names


def test_every_error_message_that_is_explained_is_one_of_the_program() -> None:
    quoted = re.findall(
        r"^### `(.+)`$", (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    templates = messages_of_the_code()
    assert len(quoted) >= 25
    gone = [
        message
        for message in quoted
        if not any(re.search(pattern_of(message), template, re.DOTALL) for template in templates)
    ]
    assert gone == []


def setting_keys(model: type[BaseModel] = RunConfig, prefix: str = "") -> set[str]:
    """The dotted keys of all settings and sections, but for those of no field: `run` is not one."""
    keys = set()
    for name, info in model.model_fields.items():
        keys.add(f"{prefix}{name}")
        kinds = getattr(info.annotation, "__args__", (info.annotation,))
        for kind in (info.annotation, *kinds):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                keys |= setting_keys(kind, f"{prefix}{name}.")
    return keys


def commands_in(path: Path) -> Iterator[str]:
    """The command lines of `lingualign` in blocks of code, continued lines joined."""
    for block in BLOCK.finditer(path.read_text(encoding="utf-8")):
        if block["language"].strip() not in ("", "bash", "sh", "console"):
            continue
        for line in re.sub(r"\\\n\s*", " ", block["body"]).splitlines():
            if re.match(r"\s*lingualign [a-z-]", line):
                yield line.strip()


def wrong_command(command: Any, words: list[str]) -> str | None:
    """What is wrong with a command line; None where it can be given."""
    name = "lingualign"
    while words and words[0] in getattr(command, "commands", ()):
        name, command, words = words[0], command.commands[words[0]], words[1:]
    if words and hasattr(command, "commands") and not words[0].startswith("-"):
        return f"No such command {words[0]}"
    try:
        command.make_context(name, list(words))
    except typer.Exit:  # --help, --version
        return None
    except UsageError as error:
        return str(error)
    return wrong_settings(name, [word for word in words if not word.startswith("-")])


def wrong_settings(command: str, words: list[str]) -> str | None:
    """What is wrong with a command's recipe and settings: the first of the settings that there is none of."""
    parts = {"reward.options": "rewards", "pairs.options": "pairs"}
    options = {
        f"{key}.{option}"
        for key, folder in parts.items()
        for kind in list_kinds(folder)
        for option in load_part(folder, kind, "kind").Settings.model_fields
    }
    for word in words:
        key, equals, _ = word.partition("=")
        if equals and re.fullmatch(r"[a-z_.]+", key) and key not in setting_keys() | options:
            return f"{key}: no such setting"
    if command in ("align", "validate") and words and "=" not in words[0] and "/" not in words[0]:
        name = words[0]
        if not name.endswith((".yaml", ".yml")) and name not in {recipe.name for recipe in list_recipes()}:
            return f"There is no recipe {name}"
        if not name.endswith((".yaml", ".yml")):
            load_config(name, words[1:])  # values too; raises InputError
    return None


def names_in(module: str) -> set[str]:
    """What can be imported from a module, read from its file: nothing is imported, which would take long."""
    base = ROOT / "src" / module.replace(".", "/")
    file = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
    names = {child.stem for child in base.iterdir()} if base.is_dir() else set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def messages_of_the_code() -> set[str]:
    """Every text in the package, with `...` for what is filled in."""
    found = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.add(
                    "".join(
                        str(part.value) if isinstance(part, ast.Constant) else "..." for part in node.values
                    )
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return found


def pattern_of(message: str) -> str:
    """A quoted message as a pattern: `...` stands for something of the template, the rest for itself."""
    return r"^\s*" + ".*".join(re.escape(part) for part in message.split("..."))
