"""The input agents: one for each topic kind, all alike: decode, set aside what cannot be scored, apply the rest.

A batch is acknowledged when its last record is applied and the brokers hold its dead letters and re-keyed copies. In
the wall clock, records are applied as they come; in the event clock they wait in the merger for their turn.

This is the hot path: `Ingest._events` yields what `PartitionTask.apply` takes, nothing awaits in between, and what is
not needed for each event stands outside these two loops. What the steps cost, in microseconds of processor time (the
`path_` figures of `make bench`: usage events, 10,000 accounts, 2 cores of x86-64):

    take     0.45  for each event: out of the fetched batch and to the agent (`runtime/fetching.py`, `transport.py`)
    decode   1.9   for each event: from bytes to a checked event (`_events`, `service/ingest.py`)
    core     5.9   for each event: into the state, score and alerts (`PartitionTask.apply`, `service/scoring`)
    rest     1.4   for each event: what the two loops do besides: offsets, tallies, who is due when
    store    6.1   for each account that changed, at a commit: its state as bytes (`runtime/table.py`)
    show     58    for each score that is published: a fifth of the time at most (`runtime/commit.py`)
    pack     1.3   for each record that is written (`runtime/producer.py`)
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from aiokafka.partitioner import murmur2

from agents.breaker import Breaker
from agents.dead_letters import KIND_HEADER, dead_letter, rekeyed
from agents.inputs import Inputs
from agents.merge import Entry, EventMerger
from agents.partition_task import PartitionTask
from agents.runtime.batch import Record, RecordBatch
from agents.runtime.producer import OutRecord
from agents.runtime.transport import ReadingState
from agents.scorer import BACKLOG_WAIT_SECONDS, TICK_SLICE_ACCOUNTS, Scorer
from service.errors import RecordRejected
from service.ingest import Decoder
from service.scoring.events import Event
from service.topic_catalogue import REKEYED_SOURCE, SOURCE_KINDS, TOPIC_KINDS, TopicKind, TopicNames

MERGE_INTERVAL_SECONDS = 0.05
# Records applied before others get the loop: a few milliseconds of work, or acknowledgements wait for their turn.
MERGE_SLICE_RECORDS = 200
# Records of one input that may wait in the merger before no more of it is fetched.
HOLD_RECORDS = 20_000

SendRecords = Callable[[list[OutRecord]], Any]


class Ingest:
    """Takes batches of every input, in both clocks."""

    def __init__(
        self,
        *,
        scorer: Scorer,
        topics: TopicNames,
        decoder: Decoder,
        breaker: Breaker,
        partitions: int,
        send: SendRecords,
        inputs: Inputs,
    ) -> None:
        self._scorer = scorer
        self._topics = topics
        self._decoder = decoder
        self._breaker = breaker
        self._partitions = partitions
        self._send = send
        self._inputs = inputs
        self._mergers: dict[int, tuple[PartitionTask, EventMerger]] = {}

    def handler(self, source: int) -> Callable[[RecordBatch], Any]:
        """Make the batch handler of one input, by its source index."""

        async def handle(batch: RecordBatch) -> None:
            await self._handle(source, batch)

        return handle

    async def _handle(self, source: int, batch: RecordBatch) -> None:
        task = self._scorer.tasks.get(batch.tp.partition)
        if task is None or task.partition is not batch.state:
            return  # revoked while the batch was waiting: its next owner reads it again
        aside: list[OutRecord] = []
        self._breaker.begin(batch)
        task.arrived_ms = batch.records[0].timestamp
        events = self._events(source, batch, aside)
        entries: list[Entry] = []
        if self._scorer.clock == "wall":
            task.apply(source, events)
        else:
            entries += [Entry(event.time_ms, offset, key, event) for offset, key, event in events]
        self._scorer.figures.note_batch(batch, self._scorer.now_ms())
        if aside:
            await self._send(aside)
        if self._scorer.tasks.get(batch.tp.partition) is not task:
            return  # revoked while its dead letters were sent
        if self._scorer.clock == "event":
            self._buffer(source, batch, entries, task)
            return
        batch.ack()
        self._scorer.wake_urgent(task)
        await self._scorer.backlog_gone(task)

    def _events(self, source: int, batch: RecordBatch, aside: list[OutRecord]) -> Iterator[tuple[int, bytes, Event]]:
        """Yield offset, key and event of the good records; add the others as dead letters and re-keyed copies."""
        known = batch.state.data
        decode = self._decoder.decode
        kind = SOURCE_KINDS[source] or TOPIC_KINDS[0]
        is_rekeyed = source == REKEYED_SOURCE
        for record in batch.records:
            if is_rekeyed:
                kind = original_kind(record)
            key = record.key
            try:
                event = decode(kind, key, record.value, record.headers)
            except RecordRejected as rejected:
                self._breaker.reject(batch, record, rejected)
                self._scorer.counters.add(f"dead_letter_{rejected.reason}")
                topic = self._topics.dead_letters(kind)
                aside.append(dead_letter(batch.tp, record, topic, rejected, self._scorer.now_ms()))
                continue
            if key not in known:  # a known account's key was checked when it was new
                home = (murmur2(key) & 0x7FFFFFFF) % self._partitions
                if home != batch.tp.partition:
                    self._scorer.counters.add("rekeyed")
                    aside.append(rekeyed(record, self._topics.rekeyed, home, kind))
                    continue
            yield record.offset, key, event

    # -- event clock -------------------------------------------------------------------------------------

    def _buffer(self, source: int, batch: RecordBatch, entries: list[Entry], task: PartitionTask) -> None:
        number = task.partition.number
        known = self._mergers.get(number)
        if known is None or known[0] is not task:
            known = self._new_merger(task)
        merger = known[1]
        merger.add(source, batch, entries, time.monotonic())
        if merger.buffered_records(source) >= HOLD_RECORDS:
            self._inputs.hold(source, number)

    def _new_merger(self, task: PartitionTask) -> tuple[PartitionTask, EventMerger]:
        number = task.partition.number

        def reading_state(source: int) -> ReadingState:
            return self._inputs.reading_state(source, number)

        merger = EventMerger(len(self._inputs.names), reading_state, time.monotonic())
        known = self._mergers[number] = (task, merger)
        return known

    async def merge_forever(self) -> None:
        """Apply what is ready in every partition's merger, for ever."""
        while True:
            busy = False
            for number, task in list(self._scorer.tasks.items()):
                known = self._mergers.get(number)
                if known is None or known[0] is not task:
                    known = self._new_merger(task)
                busy = self._merge(task, known[1]) or busy
                self._scorer.wake_urgent(task)
                await asyncio.sleep(0)
            for number in [number for number in self._mergers if number not in self._scorer.tasks]:
                del self._mergers[number]
            self._share_watermark()
            if not busy:
                backlog = any(map(self._scorer.has_backlog, self._scorer.tasks.values()))
                await asyncio.sleep(BACKLOG_WAIT_SECONDS if backlog else MERGE_INTERVAL_SECONDS)

    def _merge(self, task: PartitionTask, merger: EventMerger) -> bool:
        def apply(source: int, entry: Entry) -> None:
            task.apply(source, ((entry.offset, entry.key, entry.event),))

        if self._scorer.has_backlog(task):
            return False
        applied = merger.apply_ready(apply, time.monotonic(), MERGE_SLICE_RECORDS)
        task.tick_due(task.watermark_ms, TICK_SLICE_ACCOUNTS)
        if applied:
            self._release(task.partition.number, merger)
        return applied > 0

    def _release(self, number: int, merger: EventMerger) -> None:
        for source in range(len(self._inputs.names)):
            if merger.buffered_records(source) < HOLD_RECORDS // 2:
                self._inputs.release(source, number)

    def _share_watermark(self) -> None:
        """Let partitions with nothing left to read follow the furthest one, so that silence there counts too."""
        furthest_ms = max((task.watermark_ms for task in self._scorer.tasks.values()), default=0)
        now_seconds = time.monotonic()
        for number, task in self._scorer.tasks.items():
            known = self._mergers.get(number)
            if known is not None and known[1].is_idle(now_seconds):
                task.watermark_ms = furthest_ms


def original_kind(record: Record) -> TopicKind:
    """Return the topic kind that a re-keyed record came from; without one it is judged as usage, and so refused."""
    headers: Sequence[tuple[str, bytes]] = record.headers
    told = {value.decode("ascii", "replace") for name, value in headers if name == KIND_HEADER}
    return next((kind for kind in TOPIC_KINDS if kind in told), TOPIC_KINDS[0])
