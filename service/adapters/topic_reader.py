"""Reads ranges of a partition without a consumer group: nothing is committed, so reading disturbs nobody."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple, Protocol

from aiokafka import TopicPartition

from service.adapters.clients import REQUEST_TIMEOUT_MS, Partition, errors_named
from service.adapters.group_less import open_consumer
from service.errors import DependencyError

POLL_MS: Final = 1_000
SILENT_SECONDS: Final = 30
# Above the largest record of any topic, so that one fetch always brings one.
FETCH_MAX_BYTES: Final = 8 * 1024 * 1024
# Ranges end where records do, so a fetch need not wait for more; and other requests to its broker wait for it.
FETCH_WAIT_MS: Final = 10

Headers = Sequence[tuple[str, bytes]]


class ConsumedRecord(Protocol):
    """What is used of aiokafka's record."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class Bounds(NamedTuple):
    """The offsets that a partition holds: the first, and the one after the last."""

    start: int
    end: int


class TopicReader:
    """Reads one partition at a time, from an offset up to another."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer

    async def bounds(self, topic: str, partition: int) -> Bounds:
        """Return what one partition holds now."""
        return (await self.all_bounds([(topic, partition)]))[topic, partition]

    async def all_bounds(self, partitions: Iterable[Partition]) -> dict[Partition, Bounds]:
        """Return what partitions hold now."""
        places = [TopicPartition(*partition) for partition in partitions]
        starts = await self._consumer.beginning_offsets(places) if places else {}
        ends = await self._consumer.end_offsets(places) if places else {}
        return {(place.topic, place.partition): Bounds(starts[place], ends[place]) for place in places}

    async def offset_since(self, topic: str, partition: int, time_ms: int) -> int | None:
        """Return the offset of the first record written at a time or later, None when there is none."""
        place = TopicPartition(topic, partition)
        found = (await self._consumer.offsets_for_times({place: time_ms}))[place]
        return None if found is None else int(found.offset)

    async def read(
        self, topic: str, partition: int, start: int, end: int
    ) -> AsyncGenerator[Sequence[ConsumedRecord], None]:
        """Yield the records from `start` to before `end` in offset order, chunk by chunk.

        Raises DependencyError when the partition stops giving records before its end.
        """
        if start >= end:
            return
        place = TopicPartition(topic, partition)
        self._consumer.assign([place])
        self._consumer.seek(place, start)
        heard = time.monotonic()
        # The position also passes what is no record: compacted offsets and marks of transactions.
        while await self._consumer.position(place) < end:
            fetched = (await self._consumer.getmany(place, timeout_ms=POLL_MS)).get(place, ())
            if fetched:
                heard = time.monotonic()
                yield fetched if fetched[-1].offset < end else [record for record in fetched if record.offset < end]
            elif time.monotonic() - heard > SILENT_SECONDS:
                raise DependencyError(f"{topic}/{partition} stopped giving records; see `vitals kafka status`")
        self._consumer.pause(place)


@asynccontextmanager
async def open_reader(bootstrap: str) -> AsyncIterator[TopicReader]:
    """Open a reader on a cluster; errors of the client become a DependencyError that names it."""
    options = {
        "request_timeout_ms": REQUEST_TIMEOUT_MS,
        "auto_offset_reset": "earliest",
        "max_partition_fetch_bytes": FETCH_MAX_BYTES,
        "fetch_max_wait_ms": FETCH_WAIT_MS,
    }
    async with errors_named(bootstrap), open_consumer(bootstrap, **options) as consumer:
        yield TopicReader(consumer)
