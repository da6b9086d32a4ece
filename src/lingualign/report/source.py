"""A run folder as the report sees it: values that know the file and the place they came from.

A `Node` is a value of a JSON or YAML file with its source, such as
`measures.json#/iterations/0/greedy/target_win_rate/mean`: the file, relative to the run folder, and a JSON
pointer (RFC 6901, percent-encoded as in a URI). What is not there is a Node whose value is None, so that runs
of an older version, and measures that were not taken, leave gaps and no errors.

A number that is computed for the page has an expression over such sources, `difference(a,b)`, written by the
functions below. In a pointer, `*` stands for every member and `10:20` for these items of a list.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lingualign.errors import InputError
from lingualign.languages import LANGUAGES
from lingualign.pipeline.files import read_json
from lingualign.pipeline.manifest import Manifest
from lingualign.yaml_files import YamlError, parse_yaml

MEASURES, MANIFEST, CONFIG = "measures.json", "manifest.json", "config.yaml"


@dataclass(frozen=True)
class Node:
    """A value and where it is from.

    Attributes:
        value: As in the file; None: there is nothing.
        source: An expression that finds it in the run folder.
    """

    value: Any
    source: str

    def __getitem__(self, key: str | int) -> Node:
        """A member; a Node without a value where there is none."""
        if isinstance(self.value, dict):
            value = self.value.get(key)
        elif isinstance(self.value, list) and isinstance(key, int) and -len(self.value) <= key:
            key = key % len(self.value) if self.value else key
            value = self.value[key] if key < len(self.value) else None
        else:
            value = None
        return Node(value, f"{self.source}/{_token(str(key))}")

    def __bool__(self) -> bool:
        """Whether there is a value."""
        return self.value is not None

    def items(self) -> Iterator[tuple[str, Node]]:
        """The members of an object by key; of anything else none."""
        if isinstance(self.value, dict):
            for key in self.value:
                yield key, self[key]

    def elements(self) -> list[Node]:
        """The items of a list; of anything else none."""
        return [self[place] for place in range(len(self.value))] if isinstance(self.value, list) else []

    def every(self, *path: str) -> Node:
        """What stands at a path in each member that has it, as a list: `*` in the pointer."""
        members = [member for _, member in self.items()] or self.elements()
        found = []
        for member in members:
            for key in path:
                member = member[key]
            if member:
                found.append(member.value)
        return Node(found, "/".join([self.source, "*", *map(_token, path)]))

    def stretch(self, start: int, stop: int, key: str) -> Node:
        """A member of each of the items `start` up to `stop` of a list, as a list."""
        found = [item.get(key) for item in self.value[start:stop]]
        return Node(found, f"{self.source}/{start}:{stop}/{_token(key)}")


def _token(key: str) -> str:
    """A key as a part of a pointer; no character is left that an expression or a wildcard is made with."""
    return quote(key.replace("~", "~0").replace("/", "~1"), safe="-_.~")


def difference(after: Node, before: Node) -> Node:
    """After less before."""
    known = bool(after) and bool(before)
    return Node(after.value - before.value if known else None, f"difference({after.source},{before.source})")


def ratio(part: Node, whole: Node) -> Node:
    """A part of a whole; None where the whole is nothing."""
    known = bool(part) and bool(whole) and whole.value != 0
    return Node(part.value / whole.value if known else None, f"ratio({part.source},{whole.source})")


def total(*nodes: Node) -> Node:
    """The sum of numbers, and of lists of them; nothing counts as 0."""
    values = _numbers(nodes)
    return Node(sum(values), _call("sum", nodes))


def mean(*nodes: Node) -> Node:
    """The mean of numbers, and of lists of them, those left out that are not there."""
    values = _numbers(nodes)
    return Node(sum(values) / len(values) if values else None, _call("mean", nodes))


def count(*nodes: Node) -> Node:
    """How many values there are."""
    return Node(len(_values(nodes)), _call("count", nodes))


def above(bound: float, nodes: Sequence[Node]) -> Node:
    """How many numbers are above a bound."""
    return Node(sum(value > bound for value in _numbers(nodes)), _call(f"above({bound}", nodes, ","))


def constant(module: str, name: str) -> Node:
    """A constant of the package, such as a threshold."""
    from importlib import import_module

    return Node(getattr(import_module(module), name), f"python:{module}#{name}")


def _call(name: str, nodes: Sequence[Node], opening: str = "(") -> str:
    return f"{name}{opening}{','.join(node.source for node in nodes)})"


def _values(nodes: Sequence[Node]) -> list[Any]:
    found: list[Any] = []
    for node in nodes:
        found.extend(node.value if isinstance(node.value, list) else [node.value])
    return [value for value in found if value is not None]


def _numbers(nodes: Sequence[Node]) -> list[float]:
    return [value for value in _values(nodes) if isinstance(value, int | float)]


class TracedRun:
    """A finished run.

    Args:
        folder: Of the run.
        prefix: Before every source, such as `A:`, where a page is about two runs.

    Raises:
        InputError: There is no run, or it is not finished.
    """

    def __init__(self, folder: Path, prefix: str = "") -> None:
        self.folder = folder
        self._prefix = prefix
        if not (folder / MEASURES).is_file():
            raise _unfinished(folder)
        self.measures = self.file(MEASURES)
        if not self.measures["iterations"].elements() or not self.measures["start"]:
            raise InputError(
                f"{folder / MEASURES}: it has no `start` and `iterations`, so it is not of a run.",
                "Give the folder of a run of `lingualign align`.",
            )

    def file(self, name: str) -> Node:
        """The content of a JSON or YAML file of the run; without a value where there is none."""
        path = self.folder / name
        value = None
        if path.is_file():
            value = _read_yaml(path) if path.suffix == ".yaml" else read_json(path)
        return Node(value, f"{self._prefix}{quote(name, safe='-_.~/')}#")

    def table(self, name: str) -> str:
        """The source of a Parquet table, a file or a folder of parts, to make an expression with."""
        return self._prefix + quote(name, safe="-_.~/")

    @cached_property
    def manifest(self) -> Node:
        """`manifest.json`."""
        return self.file(MANIFEST)

    @cached_property
    def config(self) -> Node:
        """`config.yaml`."""
        return self.file(CONFIG)

    @cached_property
    def languages(self) -> list[str]:
        """The codes of all languages that were measured."""
        return list(self.measures["languages"].value or self.start["greedy"]["languages"].value or [])

    @property
    def source(self) -> str:
        """The code of the source language."""
        return str(self.measures["source_language"].value or "en")

    @property
    def targets(self) -> list[str]:
        """The codes of the target languages."""
        return [code for code in self.languages if code != self.source]

    @property
    def ordered(self) -> list[str]:
        """All codes, the targets first and the source language last."""
        return [*self.targets, *(code for code in self.languages if code == self.source)]

    @property
    def start(self) -> Node:
        """What was measured of the starting policy."""
        return self.measures["start"]

    @cached_property
    def iterations(self) -> list[Node]:
        """What was measured after each iteration."""
        return self.measures["iterations"].elements()

    @property
    def last(self) -> Node:
        """What was measured after the last iteration."""
        return self.iterations[-1]

    @property
    def drawn(self) -> list[tuple[int, Node]]:
        """At most three iterations for charts, the first and the last among them: (its series, it)."""
        chosen = sorted({0, len(self.iterations) // 2, len(self.iterations) - 1})
        return [(place + 1, self.iterations[index]) for place, index in enumerate(chosen)]

    def stage(self, iteration: Node, name: str) -> str:
        """The path of a file of an iteration, relative to the run folder."""
        number = iteration["iteration"].value
        if not isinstance(number, int):
            raise InputError(f"{self.folder / MEASURES}: {number!r} is no iteration.")
        return f"iteration-{number}/{name}"


@contextmanager
def reporting_on(*folders: Path) -> Iterator[None]:
    """Turns what files raise that are not as a run writes them into an error that names their folder.

    Raises:
        InputError: Something in a folder is not what it should be.
    """
    try:
        yield
    except (InputError, OSError, MemoryError):
        raise
    except Exception as error:  # whatever the pages make of values that are missing, or of another type
        where = " or ".join(map(str, folders))
        raise InputError(
            f"{where}: its files are not what a run writes, and no page can be made of them "
            f"({type(error).__name__}: {error}).",
            "If nobody has changed them, this is a defect of lingualign: please report it with its run.log.",
        ) from error


def _read_yaml(path: Path) -> Any:
    try:
        return parse_yaml(path.read_text(encoding="utf-8"))
    except (YamlError, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}).", "Restore it, or run the run again.") from None


def language_name(code: str) -> str:
    """The English name of a language; the code where it is not known."""
    return LANGUAGES[code].name if code in LANGUAGES else code


def _unfinished(folder: Path) -> InputError:
    """What to do about a folder without measures."""
    if not folder.is_dir():
        return InputError(f"{folder}: no such folder.", "Give the folder of a run of `lingualign align`.")
    if not (folder / CONFIG).is_file():
        return InputError(
            f"{folder}: it has neither {MEASURES} nor {CONFIG}, so it is not the folder of a run.",
            "Give the folder that `lingualign align` wrote, such as runs/icr.",
        )
    done = None
    manifest = folder / MANIFEST
    if manifest.is_file():
        done = [name for name, stage in Manifest.read(manifest).stages.items() if stage.status == "done"]
    reached = f"; the last stage that is done is {done[-1]}" if done else "; no stage is done"
    return InputError(
        f"{folder}: the run is not finished, there is no {MEASURES}{reached}.",
        f"Finish it: lingualign align {folder / CONFIG} output={folder}",
    )
