"""Events to the input topics: keyed by account, in order per partition, every one acknowledged.

What is published here was decoded first, so no line that the worker would refuse leaves. The events come from a
thread of their own, because a file or a pipe blocks while it is read.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.partitioner import murmur2

from service.adapters.clients import NOT_ALLOWED, client_options, not_allowed
from service.adapters.topic_admin import describe_partitions, ensure_topics
from service.errors import DependencyError
from service.input_files import FileEvent
from service.topic_catalogue import TopicNames

BATCH_BYTES = 256 * 1024
CHUNK_EVENTS = 4_000
READ_AHEAD_EVENTS = 4 * CHUNK_EVENTS
IDLE_SECONDS = 0.02
UNACKED_BATCHES = 64

Place = tuple[str, int]


@dataclass(slots=True)
class PublishSummary:
    """What was acknowledged; `seconds` counts from the first event to the last acknowledgement."""

    events: int = 0
    topics: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    interrupted: bool = False

    @property
    def events_per_second(self) -> float:
        """Return the rate, 0 for nothing."""
        return self.events / self.seconds if self.seconds else 0.0


async def publish_events(
    bootstrap: str,
    names: TopicNames,
    events: Iterable[FileEvent],
    *,
    stop: asyncio.Event | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> PublishSummary:
    """Publish events in order, creating missing topics first; return when all are acknowledged.

    `stop` ends the reading early: what was sent by then is still awaited. `progress` is told how many are acknowledged.
    Raises DependencyError when the brokers refuse a batch, and what reading the events raises.
    """
    counts = await describe_partitions(bootstrap, names.inputs)
    if not all(counts.values()):
        await ensure_topics(bootstrap, names)
        counts = await describe_partitions(bootstrap, names.inputs)
    producer = AIOKafkaProducer(
        **client_options(bootstrap), acks="all", enable_idempotence=True, max_batch_size=BATCH_BYTES
    )
    try:
        await producer.start()
        publisher = _Publisher(producer, names, {name: count or 1 for name, count in counts.items()})
        return await publisher.publish(_ReadAhead(events), stop or asyncio.Event(), progress)
    except NOT_ALLOWED as error:
        raise not_allowed(bootstrap, error) from error
    except KafkaError as error:
        raise DependencyError(
            f"Kafka at {bootstrap} did not take a batch: {error}; publish again: what arrived before is dropped as "
            "duplicate, as its ids are the same"
        ) from error
    finally:
        await producer.stop()


class _Publisher:
    """Packs events into a batch per partition and awaits the acknowledgements."""

    def __init__(self, producer: Any, names: TopicNames, partition_counts: dict[str, int]) -> None:
        self._producer = producer
        self._names = names
        self._partition_counts = partition_counts
        self._keys: dict[str, tuple[bytes, int]] = {}
        self._unacked: deque[tuple[asyncio.Future[Any], str, int]] = deque()
        self._summary = PublishSummary()

    async def publish(self, events: _ReadAhead, stop: asyncio.Event, progress: Callable[[int], None]) -> PublishSummary:
        """Send until the events end or `stop` is set, then wait for what is under way."""
        begin: float | None = None
        events.start()
        try:
            while not stop.is_set() and (chunk := await events.next_chunk(stop)):
                begin = begin or time.monotonic()
                await self._send(chunk)
                await self._await_acks(UNACKED_BATCHES)
                progress(self._summary.events)
        finally:
            events.stop()
            await self._await_acks(0)
        summary = self._summary
        summary.interrupted = stop.is_set()
        summary.seconds = time.monotonic() - begin if begin is not None else 0.0
        return summary

    async def _send(self, chunk: list[FileEvent]) -> None:
        by_place: dict[Place, list[tuple[bytes, bytes]]] = {}
        for kind, value, event in chunk:
            topic = self._names.input(kind)
            key, key_hash = self._keys.get(event.account) or self._remember(event.account)
            by_place.setdefault((topic, key_hash % self._partition_counts[topic]), []).append((key, value))
        await asyncio.gather(*(self._send_place(place, records) for place, records in by_place.items()))

    def _remember(self, account: str) -> tuple[bytes, int]:
        """Hash a key as every default partitioner does; in pure Python that is worth doing once."""
        key = account.encode()
        known = self._keys[account] = (key, murmur2(key) & 0x7FFFFFFF)
        return known

    async def _send_place(self, place: Place, records: list[tuple[bytes, bytes]]) -> None:
        topic, partition = place
        batch = self._producer.create_batch()
        count = 0
        for key, value in records:
            if batch.append(timestamp=None, key=key, value=value) is None:
                await self._send_batch(batch, topic, partition, count)
                batch = self._producer.create_batch()
                batch.append(timestamp=None, key=key, value=value)
                count = 0
            count += 1
        await self._send_batch(batch, topic, partition, count)

    async def _send_batch(self, batch: Any, topic: str, partition: int, count: int) -> None:
        ack = await self._producer.send_batch(batch, topic, partition=partition)
        self._unacked.append((ack, topic, count))

    async def _await_acks(self, most: int) -> None:
        """Wait until at most `most` batches are unacknowledged; raises the broker's error for a refused one."""
        while self._unacked and (len(self._unacked) > most or self._unacked[0][0].done()):
            ack, topic, count = self._unacked.popleft()
            await ack
            self._summary.events += count
            self._summary.topics[topic] = self._summary.topics.get(topic, 0) + count


class _ReadAhead:
    """Reads events in a thread, a bounded number ahead; an error of reading is raised by `next_chunk` in its turn."""

    def __init__(self, events: Iterable[FileEvent]) -> None:
        self._events = events
        self._ready: deque[FileEvent] = deque()
        self._error: BaseException | None = None
        self._stopped = threading.Event()
        self._ended = threading.Event()
        # A daemon: one that waits for a line of a silent pipe must not keep the process.
        self._thread = threading.Thread(target=self._read, name="read-events", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Read no more."""
        self._stopped.set()

    def _read(self) -> None:
        try:
            for event in self._events:
                self._ready.append(event)
                while len(self._ready) >= READ_AHEAD_EVENTS and not self._stopped.is_set():
                    self._stopped.wait(IDLE_SECONDS / 4)
                if self._stopped.is_set():
                    return
        except Exception as error:  # raised where the events are taken
            self._error = error
        finally:
            self._ended.set()

    async def next_chunk(self, stop: asyncio.Event) -> list[FileEvent]:
        """Return what has been read, waiting for at least one event; empty at the end or when stopped."""
        while not self._ready and not stop.is_set():
            if self._ended.is_set() and not self._ready:
                if self._error is not None:
                    raise self._error
                return []
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), IDLE_SECONDS)
        return [self._ready.popleft() for _ in range(min(CHUNK_EVENTS, len(self._ready)))]
