"""What the broker tests need: processes under test that can be killed, and topics read whole."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from service.adapters.topic_admin import committed_offsets, end_offsets
from service.settings import Settings

WORKER_MODULE = "service.cli.main"


class TestedProcess:
    """A Python module running in a process of its own, its output in a file."""

    __test__ = False

    def __init__(self, log: Path, *arguments: str, **environment: str) -> None:
        self.log = log
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("VITALS_")}
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                env={**inherited, **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        self.process.kill()
        self.process.wait()

    def terminate(self, within_seconds: float = 10.0) -> int:
        """Ask it to stop; return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(within_seconds)

    def wait_for(self, text: str, within_seconds: float = 60) -> None:
        """Wait until it printed a text; fails when it ends before or time runs out."""
        deadline = time.monotonic() + within_seconds
        while text not in self.output():
            assert self.process.poll() is None, f"the process ended:\n{self.output()[-3000:]}"
            assert time.monotonic() < deadline, f"no {text!r} in:\n{self.output()[-3000:]}"
            time.sleep(0.1)

    def output(self) -> str:
        """Return what it printed so far."""
        return self.log.read_text(errors="replace")

    def __enter__(self) -> TestedProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()


def start_worker(
    settings: Settings, log: Path, *arguments: str, module: str = WORKER_MODULE, **variables: str
) -> TestedProcess:
    """Start `vitals worker` for these settings, with the shortest session timeout unless another one is given."""
    return start_role(settings, log, "worker", *arguments, module=module, **variables)


def start_role(
    settings: Settings, log: Path, role: str, *arguments: str, module: str = WORKER_MODULE, **variables: str
) -> TestedProcess:
    """Start a command that runs until it is stopped, as `start_worker` does."""
    environment = {
        "VITALS_BROKER": settings.broker or "",
        "VITALS_APP_ID": settings.app_id,
        "VITALS_TOPIC_PREFIX": settings.topic_prefix,
        "VITALS_SESSION_TIMEOUT_SECONDS": "6",
    }
    return TestedProcess(log, module, role, *arguments, **{**environment, **variables})


def lag_records(bootstrap: str, group: str, topics: Iterable[str]) -> int:
    """Return how many records of the topics the group has not committed."""

    async def measure() -> int:
        committed = await committed_offsets(bootstrap, group)
        # Afterwards: a commit comes behind the copies to other partitions that its records made.
        ends = await end_offsets(bootstrap, list(topics))
        return sum(end - committed.get(partition, 0) for partition, end in ends.items())

    return asyncio.run(measure())


def wait_caught_up(
    bootstrap: str, group: str, topics: Sequence[str], process: TestedProcess, within_seconds: float = 90
) -> None:
    """Wait until the group committed everything; fails when the process ends or time runs out."""
    deadline = time.monotonic() + within_seconds
    while (lag := lag_records(bootstrap, group, topics)) > 0:
        assert process.process.poll() is None, f"the process ended:\n{process.output()[-3000:]}"
        assert time.monotonic() < deadline, f"lag is still {lag}:\n{process.output()[-3000:]}"
        time.sleep(0.3)


def read_topic(bootstrap: str, topic: str) -> list[Any]:
    """Read every record of a topic, partition by partition in offset order."""

    async def read() -> list[Any]:
        consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
        await consumer.start()
        try:
            partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
            if not partitions:
                await consumer._client.force_metadata_update()
                found = await consumer._client.fetch_all_metadata()
                partitions = [TopicPartition(topic, number) for number in found.partitions_for_topic(topic)]
            consumer.assign(partitions)
            await consumer.seek_to_beginning(*partitions)
            ends = await consumer.end_offsets(partitions)
            records: list[Any] = []
            while any([await consumer.position(partition) < ends[partition] for partition in partitions]):
                for fetched in (await consumer.getmany(timeout_ms=500)).values():
                    records.extend(fetched)
            return sorted(records, key=lambda record: (record.partition, record.offset))
        finally:
            await consumer.stop()

    return asyncio.run(read())


def produce(bootstrap: str, topic: str, records: Iterable[tuple[Any, ...]]) -> list[Any]:
    """Produce (key, value[, headers[, partition]]) records and wait for all acks; return their metadata."""

    async def send() -> list[Any]:
        producer = AIOKafkaProducer(
            bootstrap_servers=bootstrap,
            acks="all",
            enable_idempotence=True,
            max_request_size=8 * 1024 * 1024,
            linger_ms=5,
        )
        await producer.start()
        try:
            acks = []
            for key, value, *more in records:
                headers = more[0] if more else []
                partition = more[1] if len(more) > 1 else None
                acks.append(await producer.send(topic, value, key=key, headers=headers, partition=partition))
            return [await ack for ack in acks]
        finally:
            with contextlib.suppress(Exception):
                await producer.stop()

    return asyncio.run(send())
