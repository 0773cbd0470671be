"""What one thing costs a worker: with and without it, in turns, as shares in one run.

Two deployments get the same accounts and backlogs of the same kind; the two workers catch up on them in turns, each
first in every other round, so that what else the machine does meanwhile falls on both. The medians are compared.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.command import OnBroker, on_broker, run, say
from benchmarks.deployment import Deployment
from benchmarks.figures import Figure
from benchmarks.throughput import make_backlog, make_history, measure_throughput
from benchmarks.workload import Workload
from tests.integration.kafka_tools import WORKER_MODULE

ACCOUNTS: Final = 5_000
EVENTS: Final = 300_000
ROUNDS: Final = 4


@dataclass(frozen=True, slots=True)
class Variant:
    """A worker: its name in the figures, what is started with which settings, and what runs beside it."""

    name: str
    module: str = WORKER_MODULE
    variables: Mapping[str, str] = field(default_factory=dict)
    beside: Callable[[], AbstractContextManager[object]] = nullcontext


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two workers that differ in `thing` alone, and the share that the first must reach of the second."""

    thing: str
    having: Variant
    lacking: Variant
    goal_share: float

    async def measure(self, rounds: int, events: int, bootstrap: str, home: Path) -> list[Figure]:
        """Run both in turns."""
        both = (self.having, self.lacking)
        deployments = {variant.name: Deployment(bootstrap, home, variant.name) for variant in both}
        workloads = {variant.name: Workload(5) for variant in both}
        for name, deployment in deployments.items():
            await make_history(deployment, workloads[name], ACCOUNTS)
        found: dict[str, list[dict[str, float]]] = {variant.name: [] for variant in both}
        for number in range(rounds):
            for variant in both[:: -1 if number % 2 else 1]:
                name = variant.name
                await make_backlog(deployments[name], workloads[name], ACCOUNTS, events)
                with variant.beside():
                    async with measure_throughput(deployments[name], variant.module, **variant.variables) as (_, told):
                        found[name].append({figure.name: figure.value for figure in told})
                say(f"round {number + 1}, {name}: {found[name][-1]['events_per_second']:,.0f} events/s")
        return self._figures(found)

    def _figures(self, found: Mapping[str, Sequence[Mapping[str, float]]]) -> list[Figure]:
        having, lacking, thing, goal = self.having.name, self.lacking.name, self.thing, self.goal_share
        rates = {name: median(told["events_per_second"] for told in rounds) for name, rounds in found.items()}
        cpu_us = {name: median(told["cpu_us_per_event"] for told in rounds) for name, rounds in found.items()}
        share, cpu_share = rates[having] / rates[lacking], cpu_us[lacking] / cpu_us[having]
        return [
            *(Figure(f"{name}_events_per_second", f"events, {name}", "1/s", rates[name], "more") for name in rates),
            *(Figure(f"{name}_cpu_us_per_event", f"CPU per event, {name}", "us", cpu_us[name]) for name in cpu_us),
            Figure(f"{having}_share", f"events with {thing}, of without", "1", share, "more", goal),
            Figure(f"{having}_cpu_share", f"CPU without {thing}, of with", "1", cpu_share, "more", goal),
        ]


def main(comparison: Comparison, module: str, more: OnBroker | None = None) -> int:
    """Measure and print, with `more` on the same broker; 1 when something could not be measured."""
    thing = comparison.thing
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=f"Measure what {thing} cost.")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="backlogs of each worker")
    parser.add_argument("--events", type=int, default=EVENTS, help="events of a backlog")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    arguments = parser.parse_args()
    compared: OnBroker = partial(comparison.measure, arguments.rounds, arguments.events)

    async def measure(bootstrap: str, home: Path) -> list[Figure]:
        return [*await compared(bootstrap, home), *(await more(bootstrap, home) if more else ())]

    return run(lambda home: asyncio.run(on_broker(home, measure)), in_json=arguments.json)
