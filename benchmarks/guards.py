"""`python -m benchmarks.guards [--rounds N] [--events N] [--json]`: what the worker's guards cost.

Guards are the watchdog, the look at the brokers and the breaker. Two deployments get the same accounts and backlogs of
the same kind; workers with and without guards catch up on them in turns, so that what else the machine does meanwhile
falls on both. The medians of their rounds are compared.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.command import on_broker, run, say
from benchmarks.deployment import Deployment
from benchmarks.figures import Figure
from benchmarks.throughput import make_backlog, make_history, measure_throughput
from benchmarks.workload import Workload

ACCOUNTS: Final = 5_000
EVENTS: Final = 300_000
ROUNDS: Final = 4
GOAL_SHARE: Final = 0.9
WORKERS: Final = {"guarded": "service.cli.main", "unguarded": "benchmarks.unguarded_worker"}


async def measure(rounds: int, events: int, bootstrap: str, home: Path) -> list[Figure]:
    """Run both workers in turns, each first in every other round."""
    deployments = {name: Deployment(bootstrap, home, name) for name in WORKERS}
    workloads = {name: Workload(5) for name in WORKERS}
    for name, deployment in deployments.items():
        await make_history(deployment, workloads[name], ACCOUNTS)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in WORKERS}
    for number in range(rounds):
        for name in list(WORKERS)[:: -1 if number % 2 else 1]:
            await make_backlog(deployments[name], workloads[name], ACCOUNTS, events)
            async with measure_throughput(deployments[name], WORKERS[name]) as (_, figures):
                found[name].append({figure.name: figure.value for figure in figures})
            say(f"round {number + 1}, {name}: {found[name][-1]['events_per_second']:,.0f} events/s")
    rates = {name: _median(told, "events_per_second") for name, told in found.items()}
    cpu_us = {name: _median(told, "cpu_us_per_event") for name, told in found.items()}
    return [
        *(Figure(f"{name}_events_per_second", f"events, {name}", "1/s", rates[name], "more") for name in WORKERS),
        *(Figure(f"{name}_cpu_us_per_event", f"CPU per event, {name}", "us", cpu_us[name]) for name in WORKERS),
        Figure("guarded_share", "events with guards, of without", "1", _share(rates), "more", GOAL_SHARE),
        Figure("guarded_cpu_share", "CPU without guards, of with", "1", 1 / _share(cpu_us), "more", GOAL_SHARE),
    ]


def _median(told: Sequence[dict[str, float]], name: str) -> float:
    return median(figures[name] for figures in told)


def _share(values: dict[str, float]) -> float:
    return values["guarded"] / values["unguarded"]


def main() -> int:
    """Measure and print; 1 when something could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guards", description="Measure what the guards cost.")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="backlogs of each worker")
    parser.add_argument("--events", type=int, default=EVENTS, help="events of a backlog")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    arguments = parser.parse_args()
    on_home = partial(measure, arguments.rounds, arguments.events)
    return run(lambda home: asyncio.run(on_broker(home, on_home)), in_json=arguments.json)


if __name__ == "__main__":
    sys.exit(main())
