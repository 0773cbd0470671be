"""The product itself in the comparison: the full default model with scores and alerts, on events of all its kinds.

It is another work than that of the other lines, and more of it. How it is measured is `benchmarks.throughput`'s matter.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from benchmarks.command import say
from benchmarks.deployment import Deployment
from benchmarks.peers.events import EVENTS_PER_ACCOUNT
from benchmarks.throughput import make_backlog, make_history, measure_throughput
from benchmarks.worker_process import BenchmarkError
from benchmarks.workload import Workload

PRODUCT: Final = "product"
FIGURES: Final = (
    "events_per_second",
    "warm_events_per_second",
    "cpu_us_per_event",
    "warm_cpu_us_per_event",
    "peak_rss_mib",
)


async def measure_product(bootstrap: str, home: Path, round_number: int, events: int) -> dict[str, Any]:
    """Give accounts their history, then measure a worker on a backlog of live events."""
    told: dict[str, Any] = {"engine": PRODUCT, "round": round_number, "events": events}
    say(f"round {round_number}: Vitals with its full default model ...")
    accounts = max(1, events // EVENTS_PER_ACCOUNT)
    deployment, workload = Deployment(bootstrap, home, f"{PRODUCT}-{round_number}"), Workload(1)
    try:
        await make_history(deployment, workload, accounts)
        await make_backlog(deployment, workload, accounts, events)
        async with measure_throughput(deployment) as (_, figures):
            found = {figure.name: figure.value for figure in figures}
            return told | {name: found.get(name) for name in FIGURES}
    except BenchmarkError as error:
        return told | {"failed": str(error)}
