"""`python -m benchmarks.metrics_cost [--rounds N] [--events N] [--json]`: what a scrape every second costs a worker.

A few percent are less than what a shared machine does to two runs, so a scrape is also measured by itself: processor
time of a worker that does nothing else, many scrapes close together less the same time without.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Final

from benchmarks.deployment import Deployment
from benchmarks.figures import Figure
from benchmarks.in_turns import ACCOUNTS, Comparison, Variant, main
from benchmarks.throughput import make_history
from benchmarks.worker_process import running_worker
from benchmarks.workload import Workload
from service.adapters.embedded_kafka import free_ports
from tests.deploy.again import Again
from tests.deploy.exposition_kit import scrape

GOAL_SHARE: Final = 0.98
SCRAPES: Final = 200
REST_SECONDS: Final = 5.0
PORT: Final = free_ports(1)[0]
METRICS: Final = {"VITALS_METRICS": f"127.0.0.1:{PORT}"}


def _scrape() -> int:
    """Scrape; the worker may not answer yet, or not any more. Returns how long the answer is."""
    return len(scrape(PORT))


COMPARISON: Final = Comparison(
    thing="metrics that are scraped every second",
    having=Variant("scraped", variables=METRICS, beside=lambda: Again(_scrape, 1.0)),
    lacking=Variant("unscraped"),
    goal_share=GOAL_SHARE,
)


async def measure_scrape(bootstrap: str, home: Path) -> list[Figure]:
    """Measure a scrape's processor time in a worker with accounts, at rest."""
    deployment = Deployment(bootstrap, home, "scrapes")
    await make_history(deployment, Workload(6), ACCOUNTS)
    with running_worker(deployment.settings, deployment.log, **METRICS) as worker:
        await asyncio.sleep(REST_SECONDS)  # until nothing of the start is left to do
        begin_seconds, before_seconds = time.monotonic(), worker.cpu_seconds
        await asyncio.sleep(REST_SECONDS)
        idle = (worker.cpu_seconds - before_seconds) / (time.monotonic() - begin_seconds)
        begin_seconds, before_seconds = time.monotonic(), worker.cpu_seconds
        size = await asyncio.to_thread(lambda: min(_scrape() for _ in range(SCRAPES)))
        scraping_seconds = worker.cpu_seconds - before_seconds - idle * (time.monotonic() - begin_seconds)
    each_seconds = scraping_seconds / SCRAPES
    return [
        Figure("scrape_cpu_ms", "CPU of a scrape", "ms", each_seconds * 1000),
        Figure("scrape_core_share", "of a core, scraped every second", "1", each_seconds, goal=1 - GOAL_SHARE),
        Figure("scrape_bytes", "length of what is scraped", "B", size),
    ]


if __name__ == "__main__":
    sys.exit(main(COMPARISON, "benchmarks.metrics_cost", measure_scrape))
