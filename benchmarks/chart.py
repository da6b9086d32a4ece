"""A line chart as SVG, by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

COLOURS = ("#1f6feb", "#8250df", "#57606a")
WIDTH, HEIGHT = 640, 380
LEFT, RIGHT, TOP, BOTTOM = 64, 120, 48, 52


def line_chart(
    title: str, x_label: str, y_label: str, x: Sequence[float], lines: Mapping[str, Sequence[float]]
) -> str:
    """Draws lines over common x values from zero on, each labelled at its end; the last one is dashed."""
    top = _round_up(max(max(line) for line in lines.values()))
    right = max(x)

    def place(px: float, py: float) -> tuple[float, float]:
        across = LEFT + px / right * (WIDTH - LEFT - RIGHT)
        return round(across, 1), round(HEIGHT - BOTTOM - py / top * (HEIGHT - TOP - BOTTOM), 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(title)}" font-family="system-ui, sans-serif" font-size="12" fill="#1f2328">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="24" font-size="15" font-weight="600">{escape(title)}</text>',
    ]
    for step in range(5):
        value = top * step / 4
        start, height = place(0, value)
        end, _ = place(right, value)
        parts.append(f'<path d="M{start} {height}H{end}" stroke="#d0d7de"/>')
        parts.append(f'<text x="{start - 8}" y="{height + 4}" text-anchor="end">{value:g}</text>')
    for value in x:
        across, down = place(value, 0)
        parts.append(f'<text x="{across}" y="{down + 18}" text-anchor="middle">{value:g}</text>')
    middle, bottom = place(right / 2, 0)
    parts.append(f'<text x="{middle}" y="{bottom + 38}" text-anchor="middle">{escape(x_label)}</text>')
    parts.append(f'<text x="{LEFT}" y="{TOP - 8}" fill="#57606a">{escape(y_label)}</text>')
    ends = _spread({name: place(right, line[-1])[1] for name, line in lines.items()})
    for number, (name, line) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        dashes = ' stroke-dasharray="5 4"' if number == len(lines) - 1 else ""
        points = " ".join(f"{px},{py}" for px, py in map(place, x, line))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>')
        parts.extend(f'<circle cx="{px}" cy="{py}" r="3" fill="{colour}"/>' for px, py in map(place, x, line))
        parts.append(
            f'<text x="{WIDTH - RIGHT + 10}" y="{ends[name] + 4}" fill="{colour}">{escape(name)}</text>'
        )
    return "\n".join([*parts, "</svg>", ""])


def _round_up(value: float) -> float:
    """The next number of one or two digits that divides well by four."""
    scale = 1.0
    while scale * 40 < value:
        scale *= 10
    while scale * 4 > value:
        scale /= 10
    return next(step * scale for step in (4, 6, 8, 12, 16, 20, 24, 32, 40) if step * scale >= value)


def _spread(heights: Mapping[str, float], gap: float = 15) -> dict[str, float]:
    """Moves labels apart that would overlap."""
    placed: dict[str, float] = {}
    last = float("-inf")
    for name in sorted(heights, key=lambda name: heights[name]):
        last = max(heights[name], last + gap)
        placed[name] = last
    return placed
