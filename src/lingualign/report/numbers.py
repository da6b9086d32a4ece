"""How numbers are written: rounded for the eye, the full value and its source beside it for whoever checks.

    <data value="0.684" data-form="percent" data-source="measures.json#/iterations/0/...">68.4</data>

No other function of the report turns a number into text, so that none can be on the page without a source:
`tests/test_report_numbers.py` reads the page and holds every number against the run folder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from markupsafe import Markup

from lingualign.report.source import Node

NONE = Markup('<span class="none" title="not measured">n/a</span>')
_DATA = Markup('<data value="{}" data-form="{}" data-source="{}">{}</data>')


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"


def _general(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


FORMS: dict[str, Callable[[float], str]] = {
    "percent": lambda value: f"{100 * value:.1f}",
    "points": lambda value: f"{100 * value:+.1f}",
    "share": lambda value: f"{100 * value:.0f}",
    "count": lambda value: f"{value:,.0f}",
    "length": lambda value: f"{value:,.1f}",
    "change": lambda value: f"{value:+,.1f}",
    "decimal": lambda value: f"{value:.2f}",
    "signed": lambda value: f"{value:+.2f}",
    "fine": lambda value: f"{value:.3f}",
    "general": _general,
    "duration": _duration,
}
"""Name of a form -> how it writes. percent, share and points are of shares between 0 and 1."""


def text(node: Node, form: str) -> str:
    """A number as plain text, for charts; it also stands in the chart's table."""
    return FORMS[form](node.value).replace("-", "\u2212") if node else ""


def shown(node: Node, form: str) -> Markup:
    """A number with its source; "n/a" where there is none."""
    if not node:
        return NONE
    return _DATA.format(repr(node.value), form, node.source, text(node, form))


def interval(node: Node, form: str = "percent") -> Markup:
    """A mean with its interval: `68.4 [64.1, 72.5]`."""
    if not node:
        return NONE
    return Markup('{} <span class="ci">[{}, {}]</span>').format(
        shown(node["mean"], form), shown(node["low"], form), shown(node["high"], form)
    )


def change(nodes: Sequence[Node], form: str) -> Markup:
    """A number from the start over the iterations: `81.0 → 92.4 → 93.1`."""
    return Markup(' <span class="to">→</span> ').join(shown(node, form) for node in nodes)
