"""YAML as its users expect it: `no` is Norwegian, 5e-7 is a number, and a key is given once.

PyYAML reads YAML 1.1, where `languages: [en, no]` ends in False, `5e-7` is a string, `1:30` is 90, and the
second of two equal keys silently wins. Here the core schema of YAML 1.2 is read instead; what is written
reads the same under both.
"""

from __future__ import annotations

import re
from typing import Any

import yaml


class YamlError(Exception):
    """A text that is not valid YAML.

    Attributes:
        problem: What is wrong.
        line: Where, from 1.
    """

    def __init__(self, problem: str, line: int) -> None:
        self.problem = problem
        self.line = line
        super().__init__(f"line {line}: {problem}")


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (PyYAML's way)

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        # A few lines of aliases of aliases stand for more values than any memory holds.
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.composer.ComposerError(
                problem=f"the alias *{event.anchor} is not read: write the value out",
                problem_mark=event.start_mark,
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in keys:
                raise yaml.constructor.ConstructorError(
                    problem=f"{key} is given twice", problem_mark=key_node.start_mark
                )
            keys.add(key)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Quotes text that either version of YAML would take for something else, and writes every value out."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?(0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
):
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(
            f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first)
        )


def parse_yaml(text: str) -> Any:
    """The value of a YAML document; None for an empty one.

    Raises:
        YamlError: The text is not valid YAML, or gives a key twice.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise YamlError(error.problem or "not valid YAML", mark.line + 1 if mark else 1) from error
    except RecursionError as error:
        raise YamlError("it is nested too deeply", 1) from error
    except (yaml.YAMLError, TypeError, ValueError, LookupError, AttributeError, OverflowError) as error:
        # Control characters; a list as a key; a tag that its value does not fit, such as `!!int x`.
        raise YamlError(str(error), 1) from error


def dump_yaml(value: Any) -> str:
    """A YAML document of plain values, keys in their order."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
