"""`python -m benchmarks.scaling [--events N] [--json]`: what a second worker process adds, and what the broker takes.

One worker, then two of another deployment, catch up on a backlog of the same kind; a rate counts from when every worker
has its partitions. With broker and workers on one machine the sum cannot pass its processors: how many of them each
side had is told beside the rates.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

import psutil

from benchmarks.command import run, say
from benchmarks.deployment import Deployment
from benchmarks.figures import Figure
from benchmarks.throughput import make_backlog, make_history
from benchmarks.worker_process import MeasuredWorker, cpu_seconds, running_worker
from benchmarks.workload import Workload
from service.adapters.embedded_kafka import EmbeddedKafka

ACCOUNTS: Final = 5_000
EVENTS: Final = 2_000_000  # the first worker reads some 300,000 before the second has its share
SHARED_SECONDS: Final = 3.0  # from the second worker's readiness until both read
GOAL_RATIO: Final = 1.7


async def _measure(bootstrap: str, broker: psutil.Process, home: Path, workers: int, events: int) -> list[Figure]:
    name = f"with-{workers}"
    deployment, workload = Deployment(bootstrap, home, name), Workload(7)
    await make_history(deployment, workload, ACCOUNTS)
    await make_backlog(deployment, workload, ACCOUNTS, events)
    say(f"{workers} of 2 workers on {events:,} events ...")
    with ExitStack() as stack:
        running: list[MeasuredWorker] = [
            stack.enter_context(running_worker(deployment.settings, deployment.log.with_suffix(f".{number}.log")))
            for number in range(workers)
        ]
        await asyncio.sleep(SHARED_SECONDS if workers > 1 else 0.0)
        before = [cpu_seconds(broker), sum(worker.cpu_seconds for worker in running)]
        begin_seconds = time.monotonic()
        samples = await running[0].catch_up(deployment.published)
        seconds = time.monotonic() - begin_seconds
        after = [cpu_seconds(broker), sum(worker.cpu_seconds for worker in running)]
    rate = (samples[-1].committed - samples[0].committed) / (samples[-1].at_seconds - samples[0].at_seconds)
    cores = [(late - early) / seconds for early, late in zip(before, after, strict=True)]
    return [
        Figure(f"workers_{workers}_events_per_second", f"events, {workers} worker(s)", "1/s", rate, "more"),
        Figure(f"workers_{workers}_broker_cores", f"the broker beside {workers} worker(s)", "cores", cores[0]),
        Figure(f"workers_{workers}_worker_cores", f"{workers} worker(s)", "cores", cores[1]),
    ]


def measure(events: int, home: Path) -> list[Figure]:
    """Measure one worker, then two, on a broker of their own."""
    kafka = EmbeddedKafka(home, brokers=1, port=0)
    say("starting a broker ...")
    try:
        kafka.start()
        pid = kafka.status().brokers[0].pid
        assert pid is not None, "the broker runs"
        broker = psutil.Process(pid)
        figures = [
            figure
            for workers in (1, 2)
            for figure in asyncio.run(_measure(kafka.bootstrap, broker, home, workers, events))
        ]
    finally:
        kafka.stop()
    rates = {figure.name: figure.value for figure in figures}
    ratio = rates["workers_2_events_per_second"] / rates["workers_1_events_per_second"]
    return [*figures, Figure("workers_ratio", "events of two workers, of one's", "1", ratio, "more", GOAL_RATIO)]


def main() -> int:
    """Measure and print; 1 when something could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description="Measure a second worker.")
    parser.add_argument("--events", type=int, default=EVENTS, help="events of each backlog")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    arguments = parser.parse_args()
    return run(partial(measure, arguments.events), in_json=arguments.json)


if __name__ == "__main__":
    sys.exit(main())
