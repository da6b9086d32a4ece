"""Links out of docs/: to pages made of the repository's tables, to the repository, or to nothing but a path.

The documentation is read in two places: as files, beside the code, where `../src/lingualign` is a good link,
and as a site, where there is no src. The tables that the text leans on become pages of the site; any other
file is linked in the repository if `repo_url` says where that is, and else named.
"""

from __future__ import annotations

import posixpath
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

from markdown import Extension, Markdown
from markdown.treeprocessors import Treeprocessor
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

TABLES = "tables"
PUBLISHED = ("benchmarks/README.md", "benchmarks/results/*.md", "experiments/results/*.md", "CHANGELOG.md")
INSTEAD = {"README.md": "index.md"}  # of the repository -> of the site, which tells the same


class Place:
    """Where the page that is being rendered stands, in the repository and in the site."""

    def __init__(self) -> None:
        self.repository = self.site = ""
        self.repo_url = ""
        self.published: dict[str, str] = {}  # path in the repository -> path in the site

    def target(self, link: str) -> tuple[str, str] | None:
        """A link as (path in the repository, where it leads to in the site or ""); None to leave it alone."""
        parts = urlsplit(link)
        if parts.scheme or parts.netloc or not parts.path or parts.path.startswith("/"):
            return None
        there = posixpath.normpath(posixpath.join(posixpath.dirname(self.repository), parts.path))
        if there.startswith("docs/"):
            page = there.removeprefix("docs/")
            # A folder of pages, which has an index in the site.
            page = posixpath.join(page, "index.md") if page == "methods" else page
            # A notebook's page, unless that is where we are.
            as_page = f"{posixpath.splitext(page)[0]}.md"
            page = as_page if page.endswith(".ipynb") and self.site != as_page else page
        else:
            page = INSTEAD.get(there) or self.published.get(there, "")
        if page:
            relative = posixpath.relpath(page, posixpath.dirname(self.site) or ".")
            return there, relative + (f"#{parts.fragment}" if parts.fragment else "")
        kind = "blob" if posixpath.splitext(there)[1] else "tree"
        return there, f"{self.repo_url.rstrip('/')}/{kind}/main/{there}" if self.repo_url else ""


class OutsideLinks(Treeprocessor):
    """Rewrites links and images before MkDocs looks at them."""

    def __init__(self, md: Markdown, place: Place) -> None:
        super().__init__(md)
        self.place = place

    def run(self, root: ElementTree.Element) -> None:
        """Rewrites the links of a page."""
        for element in root.iter():
            attribute = {"a": "href", "img": "src"}.get(element.tag)
            found = self.place.target(element.get(attribute, "")) if attribute else None
            if attribute is None or found is None:
                continue
            path, link = found
            if link:
                element.set(attribute, link)
            elif element.tag == "a":
                self._name(element, path)

    def _name(self, element: ElementTree.Element, path: str) -> None:
        """The path behind the words of the link, or in place of them where they are a part of it."""
        words = "".join(element.itertext()).strip()
        is_code = len(element) == 1 and element[0].tag == "code" and not (element.text or "").strip()
        element.tag = "span"
        element.attrib.clear()
        if is_code and words in path:
            element[0].text = path
            return
        code = ElementTree.Element("code")
        code.text = path
        code.tail = ")"
        if len(element):
            element[-1].tail = f"{element[-1].tail or ''} ("
        else:
            element.text = f"{element.text or ''} ("
        element.append(code)


class OutsideLinksExtension(Extension):
    """Puts `OutsideLinks` into Markdown."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place

    def extendMarkdown(self, md: Markdown) -> None:
        """Registers it behind inline patterns (20), before MkDocs's own rewriting of links (0)."""
        md.treeprocessors.register(OutsideLinks(md, self.place), "outside-links", 5)


place = Place()


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Adds the extension."""
    place.repo_url = config.repo_url or ""
    config.markdown_extensions.append(OutsideLinksExtension(place))  # type: ignore[arg-type]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Makes pages of the site of the repository's tables."""
    root = Path(config.config_file_path).parent
    for pattern in PUBLISHED:
        for path in sorted(root.glob(pattern)):
            source = path.relative_to(root).as_posix()
            page = f"{TABLES}/{posixpath.splitext(source)[0].replace('/', '-').lower()}.md"
            place.published[source] = page
            file = File.generated(config, page, abs_src_path=str(path))
            file.inclusion = file.inclusion.__class__.NOT_IN_NAV
            files.append(file)
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Notes which page is rendered next."""
    place.site = page.file.src_uri
    published = {site: source for source, site in place.published.items()}
    place.repository = published.get(place.site, f"docs/{place.site}")
    if place.site in published:
        page.meta["search"] = {"boost": 0.5}  # who searches wants the text before its tables
    return markdown
