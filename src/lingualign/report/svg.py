"""From an Altair chart to SVG that lives in the page: its colours, its font, and no scripts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import altair as alt
import vl_convert
from altair.utils.schemapi import debug_mode
from markupsafe import Markup

# Put into the drawing itself: Altair's `configure` copies a chart with all its data each time.
_CONFIG = {
    "background": "transparent",
    "font": "system-ui, sans-serif",
    "padding": {"left": 14, "right": 8, "top": 2, "bottom": 2},
    "view": {"stroke": None},
    "axis": {
        "labelColor": "var(--muted)",
        "titleColor": "var(--muted)",
        "gridColor": "var(--line)",
        "domainColor": "var(--line)",
        "tickColor": "var(--line)",
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
        "labelLimit": 118,
    },
    "text": {"fontSize": 11},
}
# What Vega writes for screen readers and hit tests. The chart is one image with a name, and its numbers stand
# in a table; the labels of marks stay, for what is shown under the pointer.
_NOISE = re.compile(
    r' (?:aria-roledescription|role|pointer-events|stroke-miterlimit|version|xmlns(?::xlink)?)="[^"]*"'
    r'|(?<=[ "]) ?(?:opacity|font-weight)="(?:1|normal)"'
    r'| class="(?:mark|marks|background|foreground)[^"]*"'
)
_EMPTY = re.compile(r'<path aria-hidden="true" d="(?:M0,0h0v0h0Z)?"(?: display="none")?/>')
_AXIS_LABEL = re.compile(r' aria-label="[XY]-axis[^"]*"')
_PLACES = re.compile(r' (?:d|transform|x2|y2|width|height|viewBox)="[^"]*"')
_LONG_NUMBER = re.compile(r"\d+\.\d{3,}")
_SIZE = re.compile(r'<svg ([^>]*?) ?width="([\d.]+)" height="([\d.]+)"')


@contextmanager
def drawing() -> Iterator[None]:
    """Draws without checks, for the time of a page.

    Altair otherwise holds each part of a chart against its schema as it is made: a quarter of the time of a
    report, and of use only to who changes a chart. A test checks them all.
    """
    with debug_mode(False):
        yield


def render(chart: alt.Chart | alt.LayerChart) -> Markup:
    """Draws a chart.

    Colours are variables of the page's style, so that they follow it into the dark; Vega passes them through
    untouched, and browsers read `fill="var(--ink)"` as CSS.

    Returns:
        An <svg> without id or script, as wide as its place and no wider than a quarter above its own width.
    """
    specification = chart.to_dict(validate=False)
    specification["config"] |= _CONFIG
    drawn = vl_convert.vegalite_to_svg(specification)
    drawn = _EMPTY.sub("", _NOISE.sub("", _AXIS_LABEL.sub("", drawn)))
    drawn = drawn.replace(' aria-label="', ' data-label="')  # marks of an image have no role, so no name
    drawn = _PLACES.sub(lambda place: _LONG_NUMBER.sub(_rounded, place.group()), drawn)
    return Markup(_SIZE.sub(_sized, drawn, count=1))


def _rounded(found: re.Match[str]) -> str:
    return f"{float(found.group()):.2f}".rstrip("0").rstrip(".")


def _sized(found: re.Match[str]) -> str:
    width = float(found[2])
    return f'<svg {found[1]} style="max-width:{1.25 * width:.0f}px"'
