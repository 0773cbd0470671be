"""A measured figure, and the table and the JSON that show all of them beside their goals and a stored run."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

BASELINE = Path(__file__).with_name("baseline.json")
TABLE_WIDTH = 110


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number; `name` is its key for ever, `better` says which way is good."""

    name: str
    label: str
    unit: str
    value: float
    better: Literal["more", "less"] = "less"
    goal: float | None = None

    def ratio_to(self, other: float | None) -> float | None:
        """Compare with a goal or an earlier value: above 1 is better, 2 is twice as good."""
        if not other or not self.value:
            return None
        return self.value / other if self.better == "more" else other / self.value


def stored_values() -> Mapping[str, float]:
    """Return the values of the stored run, empty when there is none."""
    if not BASELINE.is_file():
        return {}
    stored = json.loads(BASELINE.read_text(encoding="utf-8"))
    return {name: figure["value"] for name, figure in stored["figures"].items()}


def machine() -> dict[str, Any]:
    """Describe where the run took place."""
    return {
        "cpus": os.cpu_count(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }


def as_json(figures: Iterable[Figure], run: Mapping[str, Any]) -> str:
    """Write the run: its circumstances, and every figure with its ratios."""
    stored = stored_values()
    listed = {
        figure.name: {
            "value": round(figure.value, 4),
            "unit": figure.unit,
            "better": figure.better,
            "goal": figure.goal,
            "goal_ratio": _rounded(figure.ratio_to(figure.goal)),
            "baseline_ratio": _rounded(figure.ratio_to(stored.get(figure.name))),
        }
        for figure in figures
    }
    return json.dumps({**run, "figures": listed}, indent=2)


def print_table(figures: Iterable[Figure], run: Mapping[str, Any]) -> None:
    """Print the run for people."""
    stored = stored_values()
    table = Table(title="Vitals benchmarks", caption=_caption(run), caption_justify="left")
    table.add_column("figure")
    for title in ("goal", "measured", "unit", "x goal", "x stored"):
        table.add_column(title, justify="left" if title == "unit" else "right")
    for figure in figures:
        met = figure.ratio_to(figure.goal)
        table.add_row(
            figure.label,
            "" if figure.goal is None else _number(figure.goal),
            _number(figure.value),
            figure.unit,
            "" if met is None else f"[{'green' if met >= 1 else 'red'}]{met:.2f}[/]",
            _ratio(figure.ratio_to(stored.get(figure.name))),
        )
    console = Console()
    console.width = max(console.width, TABLE_WIDTH)  # a log or a pipe has no width of its own
    console.print(table)


def _caption(run: Mapping[str, Any]) -> str:
    facts = run["machine"]
    return (
        f"{facts['cpus']} CPUs, Python {facts['python']}, load before {facts['load_average'][0]}; "
        f"{run['seconds']:.0f} s{', quick' if run['quick'] else ''}. Ratios above 1 are better."
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:,.1f}" if abs(value) >= 10 else f"{value:,.2f}"


def _ratio(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}"


def _rounded(ratio: float | None) -> float | None:
    return None if ratio is None else round(ratio, 3)
