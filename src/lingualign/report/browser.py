"""The pair browser: what the policy was trained on, to be read.

A page cannot hold 100,000 pairs, so samples are drawn (`browser_sample`), cut to a budget of bytes
(`browser_iteration`) and put into the page as JSON, which its script shows one at a time. The first pairs are
also there as HTML, for readers without JavaScript; the script fills in their very markup.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from lingualign.identifiers import DEFAULT, make_identifier
from lingualign.languages import LANGUAGES
from lingualign.pipeline.folder import iterations_with
from lingualign.report.browser_iteration import Drawn, draw_pairs
from lingualign.report.browser_pairs import dump
from lingualign.report.browser_sample import AGAINST, CERTAIN, CHANCE, CONTEXTS, MOST, UNCERTAIN
from lingualign.report.section import Section
from lingualign.texts import visible
from lingualign.yaml_files import parse_yaml

BUDGET = 2_400_000
"""Most bytes of pairs in the page, over all iterations and languages."""

STATIC = 3  # pairs that are there without JavaScript

_WORDS = {
    CERTAIN: "with the largest margin",
    UNCERTAIN: "with the margin closest to 0",
    CONTEXTS: "on which contexts disagree",
    AGAINST: "where the reward prefers the rejected response",
    CHANCE: "drawn at random",
}


def browser_section(run: Path) -> Section | None:
    """Makes the pair browser of a run.

    Args:
        run: Folder of the run.

    Returns:
        None where no iteration has pairs.

    Raises:
        InputError: A table of the run cannot be read.
    """
    config = parse_yaml((run / "config.yaml").read_text(encoding="utf-8"))
    drawn = _draw(run, config)
    if not drawn:
        return None
    last = drawn[-1]
    names = {count.language: _name(count.language) for one in drawn for count in one.counts}
    names |= {code: _name(code) for code in _detected(drawn)}
    data = {
        "names": names,
        "iterations": [
            {
                "number": one.number,
                "ranked": one.ranked,
                "numbers": [visible(name) for name in one.numbers],
                "contexts": [visible(name) for name in one.contexts],
                "pairs": one.pairs,
            }
            for one in reversed(drawn)
        ],
    }
    reward = config.get("reward", {})
    body = _template().render(
        data=dump(data),
        names=names,
        first=last,
        static=_first_pairs(last.pairs),
        drawn=list(reversed(drawn)),
        kinds=_kinds(drawn),
        contexts=list(dict.fromkeys(name for one in drawn for name in one.contexts)),
        total=sum(count.pairs for one in drawn for count in one.counts),
        shown=sum(count.shown for one in drawn for count in one.counts),
        limit=min(one.limit for one in drawn),
        cut=any(part["more"] for one in drawn for pair in one.pairs for part in _texts(pair)),
        megabytes=BUDGET / 1e6,
        seed=config.get("seed", 0),
        source=config.get("source_language", "en"),
        implicit=reward.get("kind") == "implicit",
    )
    return Section(
        "pairs", "Pair browser", Markup(body), style=_file("browser.css"), script=_file("browser.js")
    )


def _draw(run: Path, config: Mapping[str, Any]) -> list[Drawn]:
    """The pairs of all iterations, the last of which gets half of the room."""
    folders = {number: run / f"iteration-{number}" for number in iterations_with(run, "pairs.parquet")}
    languages = [str(code) for code in config.get("languages", [])]
    identifier = make_identifier(config.get("measures", {}).get("identifier", DEFAULT), languages)
    rejects = config.get("pairs", {}).get("wrong_language") == "reject"
    drawn = []
    for number in sorted(folders):
        share = BUDGET
        if len(folders) > 1:
            share = BUDGET // 2 if number == max(folders) else BUDGET // 2 // (len(folders) - 1)
        found = draw_pairs(
            folders[number], number, languages, identifier, rejects, int(config.get("seed", 0)), share
        )
        if found is not None:
            drawn.append(found)
    return drawn


def _kinds(drawn: Sequence[Drawn]) -> list[tuple[int, str]]:
    """The kinds that there are: how many at most in a language and an iteration, and what they are."""
    there = {kind for one in drawn for pair in one.pairs for kind in pair["drawn"]}
    return [(MOST[kind], words) for kind, words in _WORDS.items() if kind in there]


def _first_pairs(pairs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """A pair of each of the first languages."""
    by_language: dict[str, Mapping[str, Any]] = {}
    for pair in pairs:
        by_language.setdefault(pair["language"], pair)
    return list(by_language.values())[:STATIC]


def _detected(drawn: Sequence[Drawn]) -> set[str]:
    sides = (pair[side] for one in drawn for pair in one.pairs for side in ("chosen", "rejected"))
    return {side["language"] for side in sides if side["language"] is not None}


def _texts(pair: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [pair["prompt"], pair["chosen"], pair["rejected"]]


def _name(code: str) -> str:
    return LANGUAGES[code].name if code in LANGUAGES else visible(code)


def written(value: float | None) -> str:
    """A number as the page's script writes it: a real minus, and a dash for what is not known."""
    if value is None:
        return "–"
    if value == int(value):
        return f"{value:.0f}".replace("-", "\u2212")
    form = ".2f" if abs(value) >= 10 else ".3f" if abs(value) >= 0.001 else ".1e"
    return f"{value:{form}}".replace("-", "\u2212")


def _file(name: str) -> str:
    return (resources.files("lingualign.report") / "templates" / name).read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("lingualign.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"written": written, "visible": visible}
    return environment.get_template("browser.html.j2")
