"""`python -m benchmarks.run [--json] [--quick]`: every figure, on an embedded broker of its own in a temporary folder.

Everything runs one after the other, so that nothing but the broker and the producer shares the processors with what is
measured. Progress goes to stderr; stdout holds the table or the JSON alone.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.command import on_broker, run, say
from benchmarks.core import measure_core
from benchmarks.deployment import Deployment
from benchmarks.figures import Figure
from benchmarks.footprint import measure_footprint
from benchmarks.latency import BUSY_RATE, QUIET_RATE, measure_latency
from benchmarks.midnight import measure_midnight
from benchmarks.path import measure_path
from benchmarks.serving import FULL as SERVING_FULL
from benchmarks.serving import QUICK as SERVING_QUICK
from benchmarks.serving import ServingSizes, measure_serving
from benchmarks.throughput import make_backlog, make_history, measure_throughput
from benchmarks.workload import Workload


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    accounts: int
    live_events: int
    latency_seconds: int
    crossings: int
    footprint_accounts: int
    midnight_accounts: int
    serving: ServingSizes


FULL = Sizes(
    accounts=10_000,
    live_events=600_000,
    latency_seconds=20,
    crossings=500,
    footprint_accounts=100_000,
    midnight_accounts=100_000,
    serving=SERVING_FULL,
)
QUICK = Sizes(
    accounts=2_000,
    live_events=80_000,
    latency_seconds=5,
    crossings=100,
    footprint_accounts=20_000,
    midnight_accounts=20_000,
    serving=SERVING_QUICK,
)


async def measure_worker(bootstrap: str, home: Path, sizes: Sizes) -> list[Figure]:
    """Measure one worker's throughput, then its latency, then the bare consumer on the same topics."""
    deployment, workload = Deployment(bootstrap, home, "bench"), Workload(1)
    say(f"giving {sizes.accounts:,} accounts their history ...")
    history = await make_history(deployment, workload, sizes.accounts)
    say(f"one worker catches up on {sizes.live_events:,} events ...")
    await make_backlog(deployment, workload, sizes.accounts, sizes.live_events)
    async with measure_throughput(deployment) as (worker, figures):
        latency: list[Figure] = []
        for rate in (BUSY_RATE, QUIET_RATE):
            say(f"event to alert at {rate:,} events/s ...")
            latency += await measure_latency(
                deployment,
                worker,
                workload,
                accounts=sizes.accounts,
                rate=rate,
                seconds=sizes.latency_seconds,
                crossings=sizes.crossings,
            )
    say("a bare consumer on the same topics ...")
    raw = await deployment.read_raw()
    return [
        *figures,
        Figure("raw_events_per_second", "bare aiokafka consumer that does nothing", "1/s", raw, "more"),
        history,
        Figure("raw_share", "events, whole run, of the bare consumer's", "1", figures[0].value / raw, "more"),
        *latency,
    ]


def measure_parts(sizes: Sizes) -> list[Figure]:
    """Measure what needs no broker; each part runs an event loop of its own."""
    say("the core by itself ...")
    now_ms = time.time_ns() // 1_000_000
    core = [*measure_core(now_ms), *measure_path(now_ms)]
    say(f"a midnight at which {sizes.midnight_accounts:,} accounts are due ...")
    return [*measure_midnight(sizes.midnight_accounts), *core]


async def measure_deployments(sizes: Sizes, bootstrap: str, home: Path) -> list[Figure]:
    """Measure workers on a real broker, then what serves their scores."""
    figures = await measure_worker(bootstrap, home, sizes)
    say(f"memory and recovery of {sizes.footprint_accounts:,} accounts ...")
    footprint = await measure_footprint(Deployment(bootstrap, home, "footprint"), Workload(2), sizes.footprint_accounts)
    return [*figures, *footprint, *await measure_serving(sizes.serving, bootstrap, home)]


def measure_all(sizes: Sizes, home: Path) -> list[Figure]:
    """Measure the parts, then workers and what serves their scores."""
    parts = measure_parts(sizes)
    return [*asyncio.run(on_broker(home, partial(measure_deployments, sizes))), *parts]


def main() -> int:
    """Run and print; 1 when something could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description="Measure Vitals on real parts.")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--quick", action="store_true", help="small sizes, about a minute: to see that it works")
    arguments = parser.parse_args()
    sizes = QUICK if arguments.quick else FULL
    return run(partial(measure_all, sizes), in_json=arguments.json, is_quick=arguments.quick)


if __name__ == "__main__":
    sys.exit(main())
