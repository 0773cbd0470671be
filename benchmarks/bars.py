"""Plots of the benchmarks: horizontal bars as a small SVG made by hand, light and dark; bars need no library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

BAR_HEIGHT: Final = 18
LINE_HEIGHT: Final = 26
LABEL_WIDTH: Final = 400
PLOT_WIDTH: Final = 420
WIDTH: Final = 980
STYLE: Final = (
    "<style>text{font:13px sans-serif;fill:#24292f}.ours{fill:#2f6fdb}.peer{fill:#9aa4b2}.limit{fill:#d5dae1}"
    "line{stroke:#24292f}@media(prefers-color-scheme:dark){text{fill:#d6dbe5}line{stroke:#d6dbe5}"
    ".limit{fill:#4b5362}}</style>"
)


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar; `kind` is ours, peer, limit, or head for a line of text; `spread` the least and the most."""

    label: str
    value: float
    told: str
    kind: str = "ours"
    spread: tuple[float, float] | None = None


def draw_bars(title: str, bars: Sequence[Bar]) -> str:
    """Draw bars below each other, on one scale."""
    top = max((value for bar in bars for value in (bar.value, *(bar.spread or ()))), default=0.0)
    top = max(top, 1e-9)  # of nothing but zeros
    height = LINE_HEIGHT * len(bars) + 10
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {height}" xmlns="http://www.w3.org/2000/svg" role="img">',
        f"<title>{escape(title)}</title>",
        STYLE,
    ]
    for number, bar in enumerate(bars):
        y = 5 + LINE_HEIGHT * number
        middle = y + BAR_HEIGHT / 2
        least, most = (LABEL_WIDTH + PLOT_WIDTH * value / top for value in bar.spread or (bar.value, bar.value))
        width = PLOT_WIDTH * bar.value / top
        parts.append(f'<text x="{LABEL_WIDTH - 8}" y="{middle + 4:.0f}" text-anchor="end">{escape(bar.label)}</text>')
        if bar.kind != "head":
            parts += [
                f'<rect class="{bar.kind}" x="{LABEL_WIDTH}" y="{y}" width="{width:.1f}" height="{BAR_HEIGHT}"/>',
                f'<line x1="{least:.1f}" y1="{middle:.1f}" x2="{most:.1f}" y2="{middle:.1f}"/>',
                f'<text x="{most + 8:.0f}" y="{middle + 4:.0f}">{escape(bar.told)}</text>',
            ]
    return "\n".join([*parts, "</svg>", ""])
