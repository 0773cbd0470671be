"""One worker process that catches up on a backlog: how fast, at what cost, with everything published."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

from benchmarks.deployment import Deployment
from benchmarks.figures import Figure
from benchmarks.worker_process import MeasuredWorker, Sample, running_worker
from benchmarks.workload import Workload
from tests.integration.kafka_tools import WORKER_MODULE

GOAL_EVENTS_PER_SECOND = 100_000
BACKLOG_HOURS = 2
HOUR_MS = 3_600_000


async def make_history(deployment: Deployment, workload: Workload, accounts: int) -> Figure:
    """Give every account its history and have a worker score it; in it, almost every event is of another day."""
    begin_ms = time.time_ns() // 1_000_000 - BACKLOG_HOURS * HOUR_MS
    events = await deployment.publish(workload.history(accounts, begin_ms))
    with running_worker(deployment.settings, deployment.log.with_suffix(".history.log")) as worker:
        samples = await worker.catch_up(deployment.published)
    seconds = samples[-1].at_seconds - samples[0].at_seconds
    return Figure("history_events_per_second", "events, each on another day", "1/s", events / seconds, "more")


async def make_backlog(deployment: Deployment, workload: Workload, accounts: int, events: int) -> None:
    """Publish live events of the two hours before now."""
    now_ms = time.time_ns() // 1_000_000
    await deployment.publish(workload.live(accounts, events, now_ms - BACKLOG_HOURS * HOUR_MS, now_ms))


@asynccontextmanager
async def measure_throughput(
    deployment: Deployment, module: str = WORKER_MODULE, **variables: str
) -> AsyncIterator[tuple[MeasuredWorker, list[Figure]]]:
    """Run a worker on the backlog; yield it, still running, with its figures when it has caught up."""
    names = deployment.names
    scores, alerts = await deployment.record_count(names.scores), await deployment.record_count(names.alerts)
    with running_worker(deployment.settings, deployment.log, module, **variables) as worker:
        samples = await worker.catch_up(deployment.published)
        await deployment.check_nothing_set_aside()
        scores = await deployment.record_count(names.scores) - scores
        alerts = await deployment.record_count(names.alerts) - alerts
        seconds = samples[-1].at_seconds - samples[0].at_seconds
        yield (
            worker,
            [
                *_rates(samples),
                Figure("scores_per_second", "scores published meanwhile", "1/s", scores / seconds, "more"),
                Figure("alerts_per_second", "alerts published meanwhile", "1/s", alerts / seconds, "more"),
                Figure("peak_rss_mib", "peak memory", "MiB", max(sample.rss_bytes for sample in samples) / 2**20),
            ],
        )


def _rates(samples: list[Sample]) -> list[Figure]:
    """Compare begin, middle and end; the middle is left out when one commit took more than a quarter of the run."""
    commits = [samples[0]]
    for sample in samples:
        if sample.committed > commits[-1].committed:
            commits.append(sample)
    begin, end = commits[0], commits[-1]
    gap_seconds = max(later.at_seconds - earlier.at_seconds for earlier, later in pairwise(commits))
    figures = [
        Figure("events_per_second", "events, whole run", "1/s", _rate(begin, end), "more", GOAL_EVENTS_PER_SECOND),
        Figure("cpu_us_per_event", "CPU per event, whole run", "us", _cpu_us(begin, end)),
        Figure("commit_gap_seconds", "longest time between two commits", "s", gap_seconds),
    ]
    if gap_seconds < (end.at_seconds - begin.at_seconds) / 4:
        half = next(sample for sample in commits if 2 * sample.committed >= begin.committed + end.committed)
        rate = _rate(half, end)
        figures += [
            Figure("warm_events_per_second", "events, second half", "1/s", rate, "more", GOAL_EVENTS_PER_SECOND),
            Figure("warm_cpu_us_per_event", "CPU per event, second half", "us", _cpu_us(half, end)),
        ]
    return figures


def _rate(begin: Sample, end: Sample) -> float:
    return (end.committed - begin.committed) / (end.at_seconds - begin.at_seconds)


def _cpu_us(begin: Sample, end: Sample) -> float:
    return (end.cpu_seconds - begin.cpu_seconds) / (end.committed - begin.committed) * 1e6
