"""The page and the plot of how an event's cost grows: the words stand in `growth_page.txt`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from benchmarks.bars import Bar, draw_bars

PAGE: Final = Path(__file__).resolve().parents[1] / "docs" / "benchmarks-growth.md"
WORDS: Final = Path(__file__).with_name("growth_page.txt")


def write_page(run: dict[str, Any]) -> None:
    """Write page and plot."""
    where, points = run["machine"], run["points"]
    words = WORDS.read_text(encoding="utf-8").format(
        python=where["python"],
        cpus=where["cpus"],
        architecture=where["architecture"],
        load=where["load_average"][0],
        rows="\n".join(_rows(points)),
    )
    PAGE.write_text(words, encoding="utf-8")
    PAGE.with_suffix(".svg").write_text(draw_bars("microseconds per event", list(_bars(points))), encoding="utf-8")


def _rows(points: list[dict[str, Any]]) -> Iterator[str]:
    usual = points[1]["cpu_us_per_event"]
    for point in points:
        cost = point["cpu_us_per_event"]
        yield (
            f"| {point['label']} | {point['value']:,} | {cost:.1f} | {cost / usual:.2f} | "
            f"{point['collection_ms_max']:.1f} | {point['bytes_per_account']:,.0f} |"
        )


def _bars(points: list[dict[str, Any]]) -> Iterator[Bar]:
    for label, group in groupby(points, key=lambda point: point["label"]):
        yield Bar(str(label), 0.0, "", "head")
        for point in group:
            yield Bar(f"{point['value']:,}", point["cpu_us_per_event"], f"{point['cpu_us_per_event']:.1f} us")
