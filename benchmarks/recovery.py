"""`python -m benchmarks.recovery [--accounts N] [--killed N] [--json]`: how long accounts take to come back.

The changelog is written as flushes leave it, by this process: scoring so many histories takes a worker half an hour.
Each account has the full history of the workload. The first worker recovers all accounts by itself; then, with fewer of
them, a worker is killed and another one started at once, which waits for the session of the dead one to end.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

from aiokafka import AIOKafkaProducer

from agents.runtime.producer import OutRecord, send_records
from agents.runtime.table import FORMAT, HEADER
from benchmarks.command import on_broker, run, say
from benchmarks.deployment import Deployment
from benchmarks.figures import Figure
from benchmarks.worker_process import MeasuredWorker, running_worker
from benchmarks.workload import Workload, account_name
from service.account_topics import partition_of
from service.adapters.topic_admin import describe_partitions
from service.ingest import Decoder
from service.model.loader import load_model
from service.scoring.engine import mark_sent, step
from service.scoring.state import AccountState
from service.scoring.state_codec import encode
from tests.integration.kafka_tools import start_worker

TEMPLATES: Final = 500
CHUNK_RECORDS: Final = 20_000
MILLION: Final = 1_000_000
KILLED_ACCOUNTS: Final = 100_000
GOAL_SECONDS: Final = 60.0
SETTLE_SECONDS: Final = 2.0


def stored_states(now_ms: int) -> list[bytes]:
    """Make stored states with a full history that ends now and nothing left to publish."""
    decoder, model = Decoder(lambda: now_ms), load_model()
    states: dict[str, AccountState] = {}
    for item in Workload(3).history(TEMPLATES, now_ms):
        event = decoder.decode_value(None, item.value)
        step(states.setdefault(event.account, AccountState(event.account)), event, event.time_ms, model)
    for state in states.values():
        mark_sent(state, state.seq)
    return [HEADER.pack(FORMAT, 0, state.revision) + encode(state) for state in states.values()]


async def write_changelog(deployment: Deployment, accounts: int) -> int:
    """Make the topics and store so many accounts; return the bytes of their states."""
    await deployment.publish(iter(()))  # makes the topics
    topic = deployment.names.changelog
    count = (await describe_partitions(deployment.bootstrap, [topic]))[topic] or 0
    states = stored_states(time.time_ns() // 1_000_000)

    def records() -> Iterator[OutRecord]:
        for number in range(accounts):
            key = account_name(number).encode()
            yield OutRecord(topic, partition_of(key, count), key, states[number % len(states)])

    producer = AIOKafkaProducer(bootstrap_servers=deployment.bootstrap, acks="all", enable_idempotence=True)
    await producer.start()
    try:
        left = records()
        while chunk := list(islice(left, CHUNK_RECORDS)):
            await send_records(producer, chunk)
    finally:
        await producer.stop()
    return sum(len(states[number % len(states)]) for number in range(accounts))


async def measure_recovery(deployment: Deployment, accounts: int) -> list[Figure]:
    """Have one worker recover all accounts; tell the time of that, of its whole start, and its memory."""
    with running_worker(deployment.settings, deployment.log.with_suffix(".empty.log")) as worker:
        await asyncio.sleep(SETTLE_SECONDS)
        empty_bytes = worker.rss_bytes
    say(f"storing {accounts:,} accounts ...")
    stored_bytes = await write_changelog(deployment, accounts)
    say("a worker recovers them ...")
    with running_worker(deployment.settings, deployment.log) as worker:
        records, seconds = worker.recovery()
        await asyncio.sleep(SETTLE_SECONDS)
        rss_bytes = worker.rss_bytes
        ready_seconds = worker.ready_seconds
    return [
        Figure("full_recovery_accounts", "accounts recovered by one worker", "accounts", float(records), "more"),
        Figure("full_recovery_seconds", "recovery of all of them", "s", seconds, goal=GOAL_SECONDS),
        Figure("full_ready_seconds", "process start to ready with them", "s", ready_seconds),
        Figure("full_stored_bytes", "stored state of an account", "bytes", stored_bytes / accounts),
        Figure("full_rss_mib", "memory of the worker with them", "MiB", rss_bytes / 2**20),
        Figure(
            "full_bytes_per_account", "memory per account, recovered", "bytes", (rss_bytes - empty_bytes) / accounts
        ),
    ]


async def measure_kill(deployment: Deployment, accounts: int) -> list[Figure]:
    """Kill a worker that has so many accounts, start another one at once, and time it until it is ready."""
    say(f"storing {accounts:,} accounts ...")
    await write_changelog(deployment, accounts)
    timeout_seconds = f"{deployment.settings.session_timeout_seconds:g}"
    say("a worker that has them is killed ...")

    def started(name: str) -> MeasuredWorker:
        log = deployment.log.with_suffix(f".{name}.log")
        began = time.monotonic()
        process = start_worker(deployment.settings, log, VITALS_SESSION_TIMEOUT_SECONDS=timeout_seconds)
        return MeasuredWorker(deployment.settings, process, began)

    dying = started("dying")
    try:
        dying.wait_ready()
    finally:
        dying.kill()
    heir = started("heir")
    try:
        heir.wait_ready()
        heir.stop()
    finally:
        heir.kill()
    label = f"kill to ready again, {accounts:,} accounts, session timeout {timeout_seconds} s"
    return [Figure("killed_ready_seconds", label, "s", heir.ready_seconds)]


async def measure(accounts: int, killed_accounts: int, bootstrap: str, home: Path) -> list[Figure]:
    """Measure both."""
    return [
        *await measure_recovery(Deployment(bootstrap, home, "recovery"), accounts),
        *await measure_kill(Deployment(bootstrap, home, "killed"), killed_accounts),
    ]


def main() -> int:
    """Measure and print; 1 when something could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recovery", description="Measure recovery.")
    parser.add_argument("--accounts", type=int, default=MILLION, help="accounts that one worker recovers")
    parser.add_argument("--killed", type=int, default=KILLED_ACCOUNTS, help="accounts of the worker that is killed")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    arguments = parser.parse_args()
    on_home = partial(measure, arguments.accounts, arguments.killed)
    return run(lambda home: asyncio.run(on_broker(home, on_home)), in_json=arguments.json)


if __name__ == "__main__":
    sys.exit(main())
