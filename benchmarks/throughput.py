"""One worker process that catches up on a backlog: how fast, at what cost, with everything published."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import chain

from benchmarks.deployment import Deployment
from benchmarks.figures import Figure
from benchmarks.worker_process import MeasuredWorker, Sample
from benchmarks.workload import Workload
from service.input_files import FileEvent

GOAL_EVENTS_PER_SECOND = 50_000
BACKLOG_HOURS = 2
HOUR_MS = 3_600_000


async def prepare_backlog(deployment: Deployment, workload: Workload, accounts: int, live_events: int) -> None:
    """Publish every account's history, then two hours of live events up to now."""
    now_ms = time.time_ns() // 1_000_000
    begin_ms = now_ms - BACKLOG_HOURS * HOUR_MS
    events: Iterator[FileEvent] = chain(
        workload.history(accounts, begin_ms), workload.live(accounts, live_events, begin_ms, now_ms)
    )
    await deployment.publish(events)


async def measure_throughput(deployment: Deployment, worker: MeasuredWorker) -> list[Figure]:
    """Let a worker that is just ready catch up, and say what that took."""
    names = deployment.names
    samples = await worker.catch_up(deployment.published)
    await deployment.check_nothing_set_aside()
    scores = await deployment.record_count(names.scores)
    alerts = await deployment.record_count(names.alerts)
    half = _at_half(samples)
    whole_seconds = samples[-1].at_seconds - samples[0].at_seconds
    return [
        Figure(
            "events_per_second",
            "events, whole run",
            "1/s",
            _rate(samples[0], samples[-1]),
            "more",
            GOAL_EVENTS_PER_SECOND,
        ),
        Figure(
            "warm_events_per_second",
            "events, second half (accounts known)",
            "1/s",
            _rate(half, samples[-1]),
            "more",
            GOAL_EVENTS_PER_SECOND,
        ),
        Figure("cpu_us_per_event", "CPU per event, whole run", "us", _cpu_us(samples[0], samples[-1])),
        Figure("warm_cpu_us_per_event", "CPU per event, second half", "us", _cpu_us(half, samples[-1])),
        Figure("scores_per_second", "scores published meanwhile", "1/s", scores / whole_seconds, "more"),
        Figure("alerts_per_second", "alerts published meanwhile", "1/s", alerts / whole_seconds, "more"),
        Figure("peak_rss_mib", "peak memory", "MiB", max(sample.rss_bytes for sample in samples) / 2**20),
    ]


def _at_half(samples: list[Sample]) -> Sample:
    """Return the instant of the last commit in the first half of the records."""
    reached = max(sample.committed for sample in samples if sample.committed <= samples[-1].committed / 2)
    return next(sample for sample in samples if sample.committed == reached)


def _rate(begin: Sample, end: Sample) -> float:
    return (end.committed - begin.committed) / (end.at_seconds - begin.at_seconds)


def _cpu_us(begin: Sample, end: Sample) -> float:
    return (end.cpu_seconds - begin.cpu_seconds) / (end.committed - begin.committed) * 1e6
