"""What one account costs in memory, live and as recovered, and how fast accounts come back after a restart."""

from __future__ import annotations

import asyncio
import time

from benchmarks.deployment import Deployment
from benchmarks.figures import Figure
from benchmarks.worker_process import running_worker
from benchmarks.workload import Workload

GOAL_BYTES_PER_ACCOUNT = 1_024
GOAL_RECORDS_PER_SECOND = 250_000
GOAL_IDLE_PERCENT = 2.0
SETTLE_SECONDS = 2.0
WATCHED_SECONDS = 20.0
IDLE_SECONDS = 65.0  # a value that no flush touched is encoded again after 30 to 60 seconds


async def measure_footprint(deployment: Deployment, workload: Workload, accounts: int) -> list[Figure]:
    """Compare a worker without accounts, one that scored them all, and one that recovered them all."""
    await deployment.publish(iter(()))  # makes the topics
    with running_worker(deployment.settings, deployment.log.with_suffix(".empty.log")) as worker:
        await asyncio.sleep(SETTLE_SECONDS)
        empty_bytes = worker.rss_bytes
    await deployment.publish(workload.small_accounts(accounts, time.time_ns() // 1_000_000))
    with running_worker(deployment.settings, deployment.log.with_suffix(".live.log")) as worker:
        samples = await worker.catch_up(deployment.published)
        await asyncio.sleep(SETTLE_SECONDS)
        live_bytes = worker.rss_bytes
        await asyncio.sleep(IDLE_SECONDS)
        idle_bytes = worker.rss_bytes
    await deployment.check_nothing_set_aside()
    with running_worker(deployment.settings, deployment.log.with_suffix(".recovered.log")) as worker:
        await asyncio.sleep(SETTLE_SECONDS)
        recovered_bytes = worker.rss_bytes
        records, seconds = worker.recovery()
        ready_seconds = worker.ready_seconds
        before_seconds = worker.cpu_seconds
        await asyncio.sleep(WATCHED_SECONDS)
        idle_percent = (worker.cpu_seconds - before_seconds) / WATCHED_SECONDS * 100
    new_seconds = samples[-1].at_seconds - samples[0].at_seconds
    return [
        Figure("cold_events_per_second", "events of new accounts", "1/s", deployment.published / new_seconds, "more"),
        Figure(
            "live_bytes_per_account",
            f"memory per account, {accounts:,} live",
            "bytes",
            (live_bytes - empty_bytes) / accounts,
            goal=GOAL_BYTES_PER_ACCOUNT,
        ),
        Figure(
            "idle_bytes_per_account",
            "memory per account, a minute later",
            "bytes",
            (idle_bytes - empty_bytes) / accounts,
            goal=GOAL_BYTES_PER_ACCOUNT,
        ),
        Figure(
            "recovered_bytes_per_account",
            "memory per account, recovered",
            "bytes",
            (recovered_bytes - empty_bytes) / accounts,
            goal=GOAL_BYTES_PER_ACCOUNT,
        ),
        Figure(
            "idle_cpu_percent", f"of a core, for {accounts:,} quiet accounts", "%", idle_percent, goal=GOAL_IDLE_PERCENT
        ),
        Figure("empty_rss_mib", "memory of a worker without accounts", "MiB", empty_bytes / 2**20),
        Figure(
            "recovery_records_per_second", "recovery", "records/s", records / seconds, "more", GOAL_RECORDS_PER_SECOND
        ),
        Figure("recovery_records", "changelog records recovered", "records", float(records)),
        Figure("ready_seconds", "process start to ready, those recovered", "s", ready_seconds),
    ]
