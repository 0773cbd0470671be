"""Event-clock order: the co-partitioned inputs of one partition are merged by event time.

As Kafka Streams does among the buffered partitions of a task: the record with the smallest event time goes first
(ties by source), and an empty input is waited for, because its next record may be the earliest. The wait is bounded:
an input that is read to its end is waited for `IDLE_SECONDS`, one with unread records `LAGGING_SECONDS`; one whose
records are on their way here is waited for however long that takes. Nothing here awaits or reads a clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from agents.runtime.batch import RecordBatch
from agents.runtime.transport import ReadingState
from service.scoring.events import Event

IDLE_SECONDS = 1.0
LAGGING_SECONDS = 30.0


class Entry(NamedTuple):
    """One decoded record waiting for its turn."""

    time_ms: int
    offset: int
    key: bytes
    event: Event


class _Chunk:
    """A batch being applied: its decoded records and how far it is."""

    __slots__ = ("batch", "entries", "next")

    def __init__(self, batch: RecordBatch, entries: list[Entry]) -> None:
        self.batch = batch
        self.entries = entries
        self.next = 0


class EventMerger:
    """Buffers of all inputs of one partition."""

    def __init__(self, sources: int, reading_state: Callable[[int], ReadingState], now_seconds: float) -> None:
        self._queues: list[deque[_Chunk]] = [deque() for _ in range(sources)]
        self._buffered_records = [0] * sources
        self._last_arrival = [now_seconds] * sources
        self._reading_state = reading_state

    def add(self, source: int, batch: RecordBatch, entries: list[Entry], now_seconds: float) -> None:
        """Queue a decoded batch; one without entries is done at once when nothing is before it."""
        self._last_arrival[source] = now_seconds
        self._queues[source].append(_Chunk(batch, entries))
        self._buffered_records[source] += len(entries)
        self._drop_finished(source)

    def buffered_records(self, source: int) -> int:
        """Count the records of an input that wait here."""
        return self._buffered_records[source]

    def is_idle(self, now_seconds: float) -> bool:
        """Return whether nothing waits and every input is read to its end and quiet."""
        return not any(self._queues) and all(self._may_pass(source, now_seconds) for source in range(len(self._queues)))

    def apply_ready(self, apply: Callable[[int, Entry], None], now_seconds: float, most: int) -> int:
        """Apply at most `most` records in event-time order; stop where an empty input must be waited for."""
        applied = 0
        while applied < most:
            source = self._earliest(now_seconds)
            if source is None:
                break
            chunk = self._queues[source][0]
            entry = chunk.entries[chunk.next]
            chunk.next += 1
            self._buffered_records[source] -= 1
            apply(source, entry)
            applied += 1
            if chunk.next == len(chunk.entries):
                self._drop_finished(source)
        return applied

    def _earliest(self, now_seconds: float) -> int | None:
        earliest: int | None = None
        earliest_ms = 0
        for source, queue in enumerate(self._queues):
            if queue:
                head = queue[0]
                time_ms = head.entries[head.next].time_ms
                if earliest is None or time_ms < earliest_ms:
                    earliest, earliest_ms = source, time_ms
            elif not self._may_pass(source, now_seconds):
                return None
        return earliest

    def _may_pass(self, source: int, now_seconds: float) -> bool:
        quiet = now_seconds - self._last_arrival[source]
        if quiet < IDLE_SECONDS:
            return False
        state = self._reading_state(source)
        return state == "read" or (state == "unread" and quiet >= LAGGING_SECONDS)

    def _drop_finished(self, source: int) -> None:
        queue = self._queues[source]
        while queue and queue[0].next == len(queue[0].entries):
            queue.popleft().batch.ack()
