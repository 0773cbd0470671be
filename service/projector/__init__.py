"""Follows scores, alerts, states and what people did, and keeps the copy in Redis; scoring neither waits nor knows.

The group only shares the partitions out among projectors. How far a partition is applied stands in Redis, beside the
data: after every change of partitions, every failure of Redis and every sign that the copy is another, the projector
asks it where to go on. Whatever it read meanwhile is dropped.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import IllegalStateError

from service.account_copy.rows import Item, ReadState, action_item, alert_item, score_item, state_item
from service.account_copy.writer import AT_END, BATCH_MAX, CopyLost, CopyWriter, Kind
from service.adapters.clients import client_options, errors_named, stop_consumer
from service.adapters.redis_client import REDIS_FAILURES
from service.adapters.topic_admin import existing_partitions
from service.adapters.topic_reader import ConsumedRecord
from service.errors import StateError
from service.metrics import catalogue
from service.metrics.exposition import Sample
from service.topic_catalogue import TopicNames

POLL_MS: Final = 200
POLL_RECORDS: Final = 8_000
AT_REDIS_MAX: Final = 2  # batches: one that it applies and one that waits, so that those who read wait for no more
BEAT_SECONDS: Final = 1.0
RETRY_SECONDS: Final = 1.0
MOVED_SECONDS: Final = 0.1
FETCH_MAX_BYTES: Final = 8 * 1024 * 1024

log = logging.getLogger(__name__)

MakeItem: TypeAlias = Callable[[Kind, ConsumedRecord], Item | None]


class Projector:
    """Brings what the topics hold into the copy, until it is stopped."""

    def __init__(
        self, consumer: Any, writer: CopyWriter, kinds: Mapping[str, Kind], places: int, make_item: MakeItem
    ) -> None:
        """`kinds`: what each topic holds; `places`: how many partitions they have together."""
        self._consumer = consumer
        self._writer = writer
        self._kinds = kinds
        self._places = places
        self._make_item = make_item
        self._next: dict[TopicPartition, int] = {}
        self._applied_ms: dict[TopicPartition, int] = {}
        self._share_changed = False
        self._beaten = 0.0
        self._live = False
        self._model_version = ""
        self._unreadable = 0
        self._applied: Counter[Kind] = Counter()
        self._redis_failures = 0
        self._at_redis = asyncio.Semaphore(AT_REDIS_MAX)
        self._sweeping: asyncio.Task[int] | None = None

    def share_changed(self, gained: Sequence[TopicPartition]) -> None:
        """Take note of other partitions; those gained rest until it is known where they go on."""
        self._share_changed = True
        self._consumer.pause(*gained)

    async def run(self, stop: asyncio.Event) -> None:
        """Follow until stopped; failures of Redis are waited out."""
        while not stop.is_set():
            try:
                await self._synchronise()
                while not stop.is_set() and not self._share_changed:
                    await self._step()
            except CopyLost as lost:
                log.warning("the copy in Redis is another (%s): looking where to go on", lost)
            except IllegalStateError:
                await asyncio.sleep(MOVED_SECONDS)  # a partition moved away between two looks at the share
            except REDIS_FAILURES as error:
                self._redis_failures += 1
                log.warning("Redis fails (%s): trying again; scoring goes on", error)
                await self._rest()

    async def _rest(self) -> None:
        """Wait a moment while staying in the group; what a paused consumer gives is nothing."""
        self._consumer.pause(*self._consumer.assignment())
        await asyncio.sleep(RETRY_SECONDS)
        await self._consumer.getmany(timeout_ms=0)
        self._live = False

    async def _synchronise(self) -> None:
        """Ask the copy how far each partition is applied, and go on from there."""
        self._share_changed = False
        share = sorted(self._consumer.assignment())
        new = await self._writer.begin(self._places)
        starts = await self._consumer.beginning_offsets(share) if share else {}
        ends = await self._consumer.end_offsets(share) if share else {}
        applied = await self._writer.offsets({_place(part): starts[part] for part in share}) if share else {}
        if any(applied[_place(part)] > ends[part] for part in share):
            log.warning("a topic was made anew: the copy begins anew")
            new = await self._writer.begin(self._places, instead_of=self._writer.keys.epoch)
            applied = await self._writer.offsets({_place(part): starts[part] for part in share})
        if self._share_changed:
            return
        self._next = {part: applied[_place(part)] for part in share}
        for part, offset in self._next.items():
            self._consumer.seek(part, max(offset, starts[part]))
        self._applied_ms = {}
        self._consumer.resume(*share)
        self._beaten, self._live = 0.0, False
        behind = sum(ends[part] - max(offset, starts[part]) for part, offset in self._next.items())
        log.info("copy %s: %d partitions, %d records to apply", self._writer.keys.epoch, len(share), behind)
        if new:
            self._sweep()

    async def _step(self) -> None:
        fetched = await self._consumer.getmany(timeout_ms=POLL_MS, max_records=POLL_RECORDS)
        if not self._share_changed:
            await self._apply_all(fetched)
        if time.monotonic() - self._beaten >= BEAT_SECONDS:
            await self._beat()

    async def _apply_all(self, fetched: Mapping[TopicPartition, Sequence[ConsumedRecord]]) -> None:
        """Apply partitions side by side, so that Redis need not wait for this process; raises when all are at rest."""
        applying = (self._apply(part, records) for part, records in fetched.items())
        for failed in await asyncio.gather(*applying, return_exceptions=True):
            if failed is not None:
                raise failed

    async def _apply(self, part: TopicPartition, records: Sequence[ConsumedRecord]) -> None:
        """Apply records in slices; while Redis is at one, the next is made."""
        start, kind = self._next[part], self._kinds[part.topic]
        items: list[Item] = []
        applying: asyncio.Task[None] | None = None
        try:
            for first in range(0, len(records), BATCH_MAX):
                part_records = records[first : first + BATCH_MAX]
                items = [item for record in part_records if (item := self._item(kind, record)) is not None]
                if applying is not None:
                    await applying
                end = part_records[-1].offset + 1
                applying = asyncio.create_task(self._write(kind, part, start, end, items))
                await asyncio.sleep(0)  # it is on its way to Redis now
                start = end
            if applying is not None:
                await applying
        finally:
            if applying is not None:
                applying.cancel()
        self._next[part] = start
        self._applied[kind] += len(records)
        self._applied_ms[part] = records[-1].timestamp
        if items and items[-1].model_version not in {"", self._model_version}:
            self._model_version = items[-1].model_version
            self._beaten = 0.0  # the copy is told at once

    async def _write(self, kind: Kind, part: TopicPartition, start: int, end: int, items: Sequence[Item]) -> None:
        async with self._at_redis:
            await self._writer.apply(kind, _place(part), start, end, items)

    def _item(self, kind: Kind, record: ConsumedRecord) -> Item | None:
        try:
            return self._make_item(kind, record)
        except (ValueError, StateError) as error:
            self._unreadable += 1
            place = f"{record.topic}/{record.partition}/{record.offset}"
            log.log(
                logging.WARNING if self._unreadable <= 10 else logging.DEBUG,
                "%s is no message of ours and is left out (%d so far): %.200r",
                place,
                self._unreadable,
                str(error),
            )
            return None

    async def _beat(self) -> None:
        self._beaten = time.monotonic()
        applied_ms = {
            _place(part): AT_END if await self._is_at_end(part) else self._applied_ms.get(part, 1)
            for part in self._next
        }
        live = await self._writer.beat(applied_ms, self._model_version)
        if live != self._live:
            log.info("copy %s is %s", self._writer.keys.epoch, "whole and live" if live else "behind")
        self._live = live

    async def _is_at_end(self, part: TopicPartition) -> bool:
        if part not in self._consumer.assignment():
            return False  # it is moving: the client forgets it before it says so
        end = self._consumer.highwater(part)
        return end is not None and await self._consumer.position(part) >= end

    def samples(self) -> Iterator[Sample]:
        """Give what is known of the work done and to do."""
        for kind in sorted(set(self._kinds.values())):
            yield Sample(catalogue.COPIED, self._applied[kind], {"kind": kind})
            parts = [part for part in self._next if self._kinds[part.topic] == kind]
            yield Sample(catalogue.COPY_LAG, sum(map(self._behind, parts)), {"kind": kind})
        yield Sample(catalogue.COPY_UNREADABLE, self._unreadable)
        yield Sample(catalogue.REDIS_FAILURES, self._redis_failures)

    def _behind(self, part: TopicPartition) -> int:
        if part not in self._consumer.assignment():
            return 0
        end = self._consumer.highwater(part)
        return 0 if end is None else max(end - self._next[part], 0)

    def _sweep(self) -> None:
        if self._sweeping is None or self._sweeping.done():
            self._sweeping = asyncio.create_task(self._writer.sweep())
            self._sweeping.add_done_callback(_log_sweep)


def _log_sweep(task: asyncio.Task[int]) -> None:
    if task.cancelled():
        return
    if (error := task.exception()) is not None:
        log.warning("keys of an earlier copy are left in Redis: %s", error)
    elif task.result():
        log.info("%d keys of earlier copies removed", task.result())


def _place(part: TopicPartition) -> str:
    return f"{part.topic}:{part.partition}"


def _item_maker(departed_seconds: int, read_state: ReadState) -> MakeItem:
    def make(kind: Kind, record: ConsumedRecord) -> Item | None:
        if kind == "scores":
            return score_item(record.key, record.value, record.offset, departed_seconds)
        if kind == "alerts":
            return alert_item(record.key, record.value, record.offset)
        if kind == "actions":
            return action_item(record.key, record.value, record.offset)
        return state_item(record.key, record.value, record.offset, read_state)

    return make


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no annotations
    def __init__(self) -> None:
        self.projector: Projector | None = None

    async def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:  # noqa: ARG002 - the client's signature
        if self.projector:
            self.projector.share_changed(())

    async def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        if self.projector:
            self.projector.share_changed(assigned)


@asynccontextmanager
async def open_projector(
    bootstrap: str, writer: CopyWriter, names: TopicNames, *, departed_seconds: int, read_state: ReadState
) -> AsyncIterator[Projector]:
    """Open a projector in the group `<app id>-projector`; raises DependencyError for topics that do not exist."""
    kinds: dict[str, Kind] = {
        names.scores: "scores",
        names.alerts: "alerts",
        names.changelog: "states",
        names.audit: "actions",
    }
    counts = await existing_partitions(bootstrap, kinds)
    consumer = AIOKafkaConsumer(
        **client_options(bootstrap),
        group_id=names.projector_group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=FETCH_MAX_BYTES,
    )
    listener = _Listener()
    places = sum(count or 0 for count in counts.values())
    projector = Projector(consumer, writer, kinds, places, _item_maker(departed_seconds, read_state))
    listener.projector = projector
    consumer.subscribe(list(kinds), listener=listener)
    async with errors_named(bootstrap):
        try:
            await consumer.start()
            yield projector
        finally:
            await stop_consumer(consumer)
