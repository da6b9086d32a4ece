"""Holds every number of a report against the files of its run, knowing nothing of how the report was made.

`problems` reads the page as HTML, finds the source of each number in the run folder, and says what does not
hold: a number that its source does not give, a text that is not that number rounded, a mark of a chart whose
numbers are in no row of the table under it, and any digit that has no source at all.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pyarrow.parquet as pq

from lingualign.yaml_files import parse_yaml

# Where digits are no numbers of ours: identifiers, settings and commands, texts from data, axes of charts,
# and what nobody sees. The pair browser (its section is called "pairs") has tests of its own.
EXEMPT = {"code", "pre", "bdi", "svg", "script", "style", "title"}
BROWSER = "pairs"
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
NUMBER = re.compile(r"[+\u2212]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+\u2212]?\d+)?")


@dataclass
class Row:
    """A row of a table: its heading, and the numbers in it as they are written."""

    heading: str = ""
    numbers: list[str] = field(default_factory=list)


@dataclass
class Exhibit:
    """Charts and the tables under them."""

    labels: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    numbers: list[str] = field(default_factory=list)


@dataclass
class Number:
    """A <data> element."""

    value: str
    form: str
    source: str
    text: str = ""


class Reader(HTMLParser):
    """Reads a page once, and keeps its numbers, its exhibits and the digits that are outside of both."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.stack: list[tuple[str, Mapping[str, str | None]]] = []
        self.numbers: list[Number] = []
        self.exhibits: list[Exhibit] = []
        self.strays: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        exhibit = self.exhibit()
        if tag == "data":
            self.numbers.append(
                Number(found["value"] or "", found["data-form"] or "", found["data-source"] or "")
            )
        elif tag == "div" and found.get("class") == "exhibit":
            self.exhibits.append(Exhibit())
        elif tag == "tr" and exhibit is not None:
            exhibit.rows.append(Row())
        elif tag == "svg" and exhibit is not None:
            exhibit.names.append(found["aria-label"] or "")
        elif "data-label" in found and exhibit is not None:
            exhibit.labels.append(found["data-label"] or "")
        if tag not in VOID:
            self.stack.append((tag, found))

    def handle_endtag(self, tag: str) -> None:
        while self.stack and self.stack.pop()[0] != tag:
            pass

    def handle_data(self, text: str) -> None:
        exhibit = self.exhibit()
        if self.inside("data"):
            self.numbers[-1].text += text
            if exhibit is not None:
                exhibit.numbers.append(text)
                if self.inside("tr"):
                    exhibit.rows[-1].numbers.append(text)
            return
        if exhibit is not None and self.inside("tr") and self.inside("th"):
            exhibit.rows[-1].heading += text
        hidden = any(tag in EXEMPT or found.get("id") == BROWSER for tag, found in self.stack)
        if not hidden and any(character.isdecimal() for character in text):
            self.strays.append(text.strip())

    def inside(self, tag: str) -> bool:
        return any(tag == each for each, _ in self.stack)

    def exhibit(self) -> Exhibit | None:
        inside = any(found.get("class") == "exhibit" for _, found in self.stack)
        return self.exhibits[-1] if inside else None


def problems(page: str, runs: Mapping[str, Path]) -> list[str]:
    """What does not hold on a page.

    Args:
        page: HTML.
        runs: The prefix of a run's sources -> its folder.
    """
    reader = Reader()
    reader.feed(page)
    sources = Sources(runs)
    found = [f"no source: {text}" for text in reader.strays]
    for number in reader.numbers:
        value = sources.value(number.source)
        if not isinstance(value, int | float) or not np.isclose(value, float(number.value), rtol=1e-12):
            found.append(f"{number.source} is {value}, not {number.value}")
        elif number.text != written(value, number.form):
            found.append(f"{number.source} is {written(value, number.form)}, not {number.text}")
    for exhibit in reader.exhibits:
        for label in exhibit.labels:
            name, _, said = label.rpartition(": ")
            wanted = NUMBER.findall(said)
            rows = [row for row in exhibit.rows if not name or name in row.heading or row.heading in name]
            if not wanted or not any(_within(wanted, row.numbers) for row in rows or exhibit.rows):
                found.append(f"no row under the chart says: {label}")
        for name in exhibit.names:
            missing = set(NUMBER.findall(name)) - {
                number for text in exhibit.numbers for number in NUMBER.findall(text)
            }
            found.extend(f"the name of a chart says {number}, and nothing else does" for number in missing)
    return found


def numbers_of(page: str) -> list[Number]:
    """All numbers of a page."""
    reader = Reader()
    reader.feed(page)
    return reader.numbers


def marks_of(page: str) -> list[str]:
    """What the marks of all charts say."""
    reader = Reader()
    reader.feed(page)
    return [label for exhibit in reader.exhibits for label in exhibit.labels]


def _within(wanted: list[str], numbers: list[str]) -> bool:
    """Whether numbers are there in their order."""
    left = iter([number for text in numbers for number in NUMBER.findall(text)])
    return all(number in left for number in wanted)


def written(value: float, form: str) -> str:
    """A number as the page should write it."""
    if form == "duration":
        size, unit = (
            (value, "s") if value < 100 else (value / 60, "min") if value < 6000 else (value / 3600, "h")
        )
        return f"{size:.1f} {unit}"
    if form == "general":
        return (f"{value:,}" if isinstance(value, int) else f"{value:.4g}").replace("-", "\u2212")
    scale, places, signed = {
        "percent": (100, 1, False),
        "points": (100, 1, True),
        "share": (100, 0, False),
        "count": (1, 0, False),
        "length": (1, 1, False),
        "change": (1, 1, True),
        "decimal": (1, 2, False),
        "signed": (1, 2, True),
        "fine": (1, 3, False),
    }[form]
    rounded = f"{scale * value:{'+' if signed else ''},.{places}f}"
    return rounded.replace("-", "\u2212")


class Sources:
    """Finds the value of a source in run folders, by a grammar of its own: name(source,...) or file#place."""

    def __init__(self, runs: Mapping[str, Path]) -> None:
        self.runs = runs
        self.files: dict[Path, Any] = {}
        self.columns: dict[str, np.ndarray] = {}

    def value(self, source: str) -> Any:
        """The value, a list where a `*` stands for several."""
        call = re.fullmatch(r"([a-z]+)\((.*)\)", source)
        if call:
            return self._call(call[1], [self.value(part) for part in _parts(call[2])])
        if re.fullmatch(r"-?\d+(\.\d+)?", source):
            return float(source)
        if source.startswith("python:"):
            module, _, pointer = source.removeprefix("python:").partition("#")
            name, *rest = pointer.split("/")
            return _follow(getattr(importlib.import_module(module), name), rest)
        prefix = next(name for name in sorted(self.runs, reverse=True) if source.startswith(name))
        path, _, pointer = source.removeprefix(prefix).partition("#")
        if "?" in path:
            return self._column(self.runs[prefix], path, pointer)
        return _follow(self._file(self.runs[prefix] / unquote(path)), pointer.split("/")[1:])

    def _call(self, name: str, values: list[Any]) -> Any:
        if name == "quantile":
            return float(np.quantile(*values))
        if name in ("difference", "ratio"):
            first, second = values
            return first - second if name == "difference" else first / second
        bound = values.pop(0) if name == "above" else None
        flat = [each for value in values for each in (value if isinstance(value, list) else [value])]
        known = [value for value in flat if value is not None]
        of: dict[str, Callable[[], Any]] = {
            "sum": lambda: sum(known),
            "mean": lambda: sum(known) / len(known),
            "count": lambda: len(known),
            "above": lambda: sum(value > bound for value in known),
        }
        return of[name]()

    def _file(self, path: Path) -> Any:
        if path not in self.files:
            read = parse_yaml if path.suffix == ".yaml" else json.loads
            self.files[path] = read(path.read_text(encoding="utf-8"))
        return self.files[path]

    def _column(self, run: Path, path: str, column: str) -> np.ndarray:
        key = f"{run}{path}{column}"
        if key not in self.columns:
            folder, _, where = path.partition("?language=")
            values = [
                row[column]
                for part in sorted((run / unquote(folder)).glob("*.parquet"))
                for row in pq.read_table(part, columns=["language", column]).to_pylist()
                if row["language"] == where and row[column] is not None
            ]
            self.columns[key] = np.array(values)
        return self.columns[key]


def _parts(arguments: str) -> list[str]:
    """Arguments between the commas that are outside of parentheses."""
    parts, depth = [""], 0
    for character in arguments:
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _follow(value: Any, keys: list[str]) -> Any:
    for place, key in enumerate(keys):
        if key == "*" or re.fullmatch(r"\d+:\d+", key):
            start, _, stop = key.partition(":")
            members = list(value.values()) if isinstance(value, dict) else value
            members = members if key == "*" else members[int(start) : int(stop)]
            found = []
            for member in members:
                each = _follow(member, keys[place + 1 :])
                found.extend(each if isinstance(each, list) else [each])
            return found
        name = unquote(key).replace("~1", "/").replace("~0", "~")
        value = value[int(name)] if isinstance(value, list | tuple) else value.get(name) if value else None
    return value
