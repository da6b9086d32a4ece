"""A forest plot as SVG, by hand: a method a row, wins with their intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

WIDTH, ROW, TOP, BOTTOM, LEFT, RIGHT = 760, 40, 100, 52, 150, 140
# Colours for light and dark pages; what shows the file decides which.
STYLE = """
svg { font-family: system-ui, sans-serif; font-size: 12px }
.page { fill: #ffffff } text { fill: #1f2328 } .quiet { fill: #57606a } .grid { stroke: #d8dee4 }
.start { stroke: #57606a; stroke-dasharray: 4 3 }
.sampled { stroke: #0969da; fill: #0969da } .greedy { stroke: #8250df; fill: #8250df }
text.sampled, text.greedy { stroke: none }
@media (prefers-color-scheme: dark) {
  .page { fill: #0d1117 } text { fill: #e6edf3 } .quiet { fill: #9198a1 } .grid { stroke: #30363d }
  .start { stroke: #9198a1 }
  .sampled { stroke: #58a6ff; fill: #58a6ff } .greedy { stroke: #bc8cff; fill: #bc8cff }
}
"""


def forest_plot(comparison: Mapping[str, Any]) -> str:
    """Draws wins against the start with their intervals, sampled above greedy, the best method first.

    Args:
        comparison: The content of `comparison.json`.

    Returns:
        An SVG file.
    """
    methods = comparison["methods"]
    height = TOP + ROW * len(methods) + BOTTOM
    bottom = height - BOTTOM
    wins = {name: comparison["wins"][name]["methods"] for name in ("sampled", "greedy")}
    bounds = [
        found["target"][end] for table in wins.values() for found in table.values() for end in ("low", "high")
    ]
    low, high, step = axis(100 * min(0.5, *bounds), 100 * max(0.5, *bounds))

    def across(percent: float) -> str:
        return f"{LEFT + (percent - low) / (high - low) * (WIDTH - LEFT - RIGHT):.1f}"

    title = "Wins against the starting policy, mean over the target languages"
    svg = ElementTree.Element(
        "svg", xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {WIDTH} {height}", role="img"
    )
    svg.set("aria-label", title)
    _add(svg, "style", STYLE)
    _add(svg, "rect", css="page", width=WIDTH, height=height)
    _add(svg, "text", title, x=16, y=26, font_size=15, font_weight=600)
    seeds = len(comparison["seeds"])
    _add(
        svg,
        "text",
        f"{seeds} seed{'s' if seeds > 1 else ''}, {comparison['held_out_prompts']} prompts a language, "
        "95 % bootstrap intervals",
        x=16,
        y=46,
        css="quiet",
    )
    _add(svg, "text", f"Judge: {comparison['judge']['label']}", x=16, y=64, css="quiet")
    for number in range(round((high - low) / step) + 1):
        x = across(low + number * step)
        _add(svg, "path", d=f"M{x} {TOP}V{bottom}", css="grid")
        _add(
            svg,
            "text",
            f"{low + number * step:g}",
            x=x,
            y=bottom + 18,
            text_anchor="middle",
            css="quiet",
        )
    _add(svg, "path", d=f"M{across(50)} {TOP - 6}V{bottom}", css="start")
    _add(svg, "text", "start", x=across(50), y=TOP - 10, text_anchor="middle", css="quiet")
    _add(svg, "text", "wins %", x=across((low + high) / 2), y=bottom + 38, text_anchor="middle")
    names = {"sampled": f"T={comparison['temperature']:g}", "greedy": "greedy"}
    for number, (decoding, name) in enumerate(names.items()):
        label: dict[str, Any] = {
            "x": WIDTH - 16,
            "y": TOP - 26 + 16 * number,
            "text_anchor": "end",
            "class": decoding,
        }
        _add(svg, "text", f"{'●' if decoding == 'sampled' else '■'} {name}", **label)
    for row, method in enumerate(methods):
        middle = TOP + ROW * (row + 0.5)
        _add(svg, "text", method, x=LEFT - 12, y=middle + 4, text_anchor="end", font_weight=600)
        for decoding, y in (("sampled", middle - 8), ("greedy", middle + 8)):
            interval = {end: 100 * wins[decoding][method]["target"][end] for end in ("mean", "low", "high")}
            mark = _add(svg, "g", css=decoding)
            line = f"M{across(interval['low'])} {y}H{across(interval['high'])}"
            _add(mark, "path", d=line, stroke_width=2)
            x = across(interval["mean"])
            if decoding == "sampled":
                _add(mark, "circle", cx=x, cy=y, r=4)
            else:
                _add(mark, "rect", x=f"{float(x) - 3.5:.1f}", y=y - 3.5, width=7, height=7)
            numbers = f"{interval['mean']:.1f} [{interval['low']:.1f}, {interval['high']:.1f}]"
            _add(svg, "text", numbers, x=WIDTH - RIGHT + 16, y=y + 4, css=decoding)
    ElementTree.indent(svg)
    return ElementTree.tostring(svg, encoding="unicode") + "\n"


def axis(low: float, high: float) -> tuple[float, float, float]:
    """The ends of an axis around some percentages, and the step between its ticks: at most ten of them."""
    step = next(step for step in (1, 2, 5, 10, 20) if high - low <= 8 * step or step == 20)
    return step * (low // step), step * -(-high // step) + (step if low == high else 0), step


def _add(
    parent: ElementTree.Element, tag: str, text: str | None = None, **attributes: object
) -> ElementTree.Element:
    """Appends an element; underscores of attributes are hyphens in SVG, and `css` is its class."""
    named = {name.replace("_", "-"): str(value) for name, value in attributes.items()}
    if "css" in named:
        named["class"] = named.pop("css")
    child = ElementTree.SubElement(parent, tag, named)
    child.text = text
    return child
