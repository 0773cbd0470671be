"""Topics and settings of one benchmark on the shared broker, and what is asked of the brokers about them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition

from benchmarks.worker_process import BenchmarkError
from service.adapters.topic_admin import end_offsets
from service.input_files import FileEvent
from service.publish import publish_events
from service.settings import Settings, load_settings
from service.topic_catalogue import TOPIC_KINDS, TopicNames


class Deployment:
    """One worker's topics, named apart from those of the other benchmarks."""

    def __init__(self, bootstrap: str, home: Path, name: str) -> None:
        self.settings: Settings = load_settings(broker=bootstrap, app_id=name, topic_prefix=f"{name}-", home=home)
        self.names = TopicNames.from_settings(self.settings)
        self.bootstrap = bootstrap
        self.log = home / f"{name}.log"
        self.published = 0

    async def publish(self, events: Iterable[FileEvent]) -> int:
        """Publish events and wait for every acknowledgement; return how many."""
        summary = await publish_events(self.bootstrap, self.names, events)
        self.published += summary.events
        return summary.events

    async def record_count(self, *topics: str) -> int:
        """Count the records that were ever written to these topics."""
        return sum((await end_offsets(self.bootstrap, topics)).values())

    async def check_nothing_set_aside(self) -> None:
        """Raise BenchmarkError when an event was not scored: the figures would be of something else."""
        aside = await self.record_count(*map(self.names.dead_letters, TOPIC_KINDS), self.names.rekeyed)
        if aside:
            raise BenchmarkError(f"{aside} events were set aside instead of scored; see {self.names.prefix}*.dlq")

    async def read_raw(self, seconds_max: float = 60.0) -> float:
        """Read all inputs with a bare consumer that does nothing; return records per second."""
        ends = await end_offsets(self.bootstrap, list(self.names.inputs))
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap, enable_auto_commit=False, max_partition_fetch_bytes=2 * 1024 * 1024
        )
        await consumer.start()
        try:
            partitions = [TopicPartition(*place) for place in ends]
            consumer.assign(partitions)
            await consumer.seek_to_beginning(*partitions)
            total, seen, begin = sum(ends.values()), 0, time.monotonic()
            while seen < total:
                seen += sum(map(len, (await consumer.getmany(timeout_ms=500)).values()))
                if time.monotonic() - begin > seconds_max:
                    raise BenchmarkError(f"a bare consumer read {seen} of {total} records in {seconds_max} s")
            return total / (time.monotonic() - begin)
        finally:
            await consumer.stop()
