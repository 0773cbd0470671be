"""`python -m benchmarks.skew [--rate N] [--seconds N] [--json]`: what others wait beside a hot account.

Two deployments with the same accounts and the same rate of events: in one the events are spread over all accounts, in
the other every second event is of one account. The alerts that are timed are of other accounts, on all partitions.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.command import on_broker, run, say
from benchmarks.deployment import Deployment
from benchmarks.figures import Figure
from benchmarks.latency import measure_latency
from benchmarks.throughput import make_history
from benchmarks.worker_process import running_worker
from benchmarks.workload import Workload

ACCOUNTS: Final = 5_000
CROSSINGS: Final = 400
RATE: Final = 5_000
SECONDS: Final = 20
GOAL_RATIO: Final = 2.0
HOT_EVERY: Final = {"even": None, "skewed": 2}


async def measure(rate: int, seconds: int, bootstrap: str, home: Path) -> list[Figure]:
    """Measure the alerts under both kinds of traffic."""
    delays_ms: dict[str, dict[str, float]] = {}
    for name, hot_every in HOT_EVERY.items():
        deployment, workload = Deployment(bootstrap, home, name), Workload(6, hot_every)
        await make_history(deployment, workload, ACCOUNTS)
        say(f"event to alert at {rate:,} events/s, {name} traffic ...")
        with running_worker(deployment.settings, deployment.log) as worker:
            figures = await measure_latency(
                deployment, worker, workload, accounts=ACCOUNTS, rate=rate, seconds=seconds, crossings=CROSSINGS
            )
        told = {figure.name.removeprefix("quiet_"): figure.value for figure in figures}
        delays_ms[name] = {part: told[f"alert_{part}_ms"] for part in ("p50", "p99", "max")}
    p99 = {name: delays["p99"] for name, delays in delays_ms.items()}
    return [
        *(
            Figure(f"{name}_alert_{part}_ms", f"event to alert of others, {name} traffic, {part}", "ms", value)
            for name, delays in delays_ms.items()
            for part, value in delays.items()
        ),
        Figure("skew_p99_ratio", "p99 of others, skewed of even", "1", p99["skewed"] / p99["even"], goal=GOAL_RATIO),
    ]


def main() -> int:
    """Measure and print; 1 when something could not be measured."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.skew", description="Measure others beside a hot account."
    )
    parser.add_argument("--rate", type=int, default=RATE, help="events a second")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="how long")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    arguments = parser.parse_args()
    on_home = partial(measure, arguments.rate, arguments.seconds)
    return run(lambda home: asyncio.run(on_broker(home, on_home)), in_json=arguments.json)


if __name__ == "__main__":
    sys.exit(main())
