"""How state comes back after a start or a rebalance: whole chunks of the changelog straight into the table.

Faust applies one changelog record per event through a queue (5,700 records a second); its own task for that is
switched off here. The order matters. A fetch begun before the rebalance must have ended when positions are set: its
records are dropped, and the ones after them would be delivered. Flow control is resumed before the input partitions,
because resuming it clears the agents' queues, and a batch cleared there would never be acknowledged. An error while
recovering stops the worker.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Collection
from typing import Any

from aiokafka.errors import IllegalStateError, KafkaError
from faust.tables.manager import TableManager
from faust.tables.recovery import RebalanceAgain, Recovery, ServiceStopped
from faust.types import TP
from mode import Service

from agents.runtime.batch import Record
from service.adapters.clients import NOT_ALLOWED, not_allowed
from service.adapters.topic_reader import open_reader
from service.errors import DependencyError, NotAllowedError, StateError, TopicError

# A changelog whose last offsets hold no record (a compacted or emptied tail) is done when it stood still this often.
STILL_CHECKS = 2
CHECK_INTERVAL_SECONDS = 1.0


class ChunkedRecovery(Recovery):
    """Faust's recovery service with the two working tasks replaced."""

    app: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._revoked = asyncio.Event()
        self.recovered_records = 0
        self.recovery_seconds = 0.0

    @Service.task
    async def _slurp_changelogs(self) -> None:
        """Do nothing: records are applied where they arrive, in `apply_records`."""

    @Service.task
    async def _publish_stats(self) -> None:
        """Do nothing: progress is in this service's own counters."""

    @Service.task
    async def _restart_recovery(self) -> None:
        """Recover after each assignment until the service stops."""
        while not self.should_stop:
            if await self.wait_for_stopped(self.signal_recovery_start):  # type: ignore[arg-type]  # mode's own annotation is too narrow
                return
            self.signal_recovery_start.clear()
            try:
                await self._recover(self._generation_id)
            except (RebalanceAgain, IllegalStateError):
                self.log.info("Another rebalance began; recovery starts again")
            except NOT_ALLOWED as error:
                raise not_allowed(self.app.options.bootstrap, error) from error
            except NotAllowedError:
                raise
            except (TimeoutError, DependencyError, KafkaError) as error:
                self.log.warning("Recovery starts again, as the brokers do not answer: %r", error)
                self.signal_recovery_start.set()
                await self.sleep(CHECK_INTERVAL_SECONDS)
            except ServiceStopped:
                return

    def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """End a recovery that is under way: what it was for is another worker's, or will be assigned anew."""
        super().on_partitions_revoked(revoked)
        self._revoked.set()

    async def on_rebalance(self, *args: Any, **kwargs: Any) -> None:
        """Begin to recover what was assigned."""
        self._revoked.clear()
        await super().on_rebalance(*args, **kwargs)

    async def _wait(self, awaitable: Any, timeout: Any = None) -> None:  # noqa: ASYNC109 - Faust's signature
        """Wait as Faust does, which raises RebalanceAgain or ServiceStopped, but end at a revoke as well.

        Raises TimeoutError, which to Faust is a stop: its recovery would end for ever.
        """
        waiting = asyncio.ensure_future(awaitable)
        revoked = asyncio.ensure_future(self._revoked.wait())
        either = {waiting, revoked}
        try:
            async with asyncio.timeout(timeout):
                await super()._wait(asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED))
            if self._revoked.is_set():
                raise RebalanceAgain
        finally:
            revoked.cancel()
            waiting.cancel()

    async def _recover(self, generation_id: int) -> None:
        started = time.perf_counter()
        table, tps = self.app.state_table, set(self.active_tps)
        self._set_recovery_started()
        self.signal_recovery_end.clear()
        self.app.consumer.stop_flow()
        await self._wait(self.app.consumer.fetch_ended())
        self.app.consumer.forget_partitions()
        for tp in tps:
            table.begin_recovery(tp.partition, generation_id)  # the group's, so nobody before can have had it
        self.recovered_records = 0
        await self._seek_to_start(tps)
        if self.need_recovery():
            await self._read_changelog(tps)
        self.recovery_seconds = time.perf_counter() - started
        self.log.info(
            "Recovered %d changelog records of %d partitions in %.2f s",
            self.recovered_records,
            len(tps),
            self.recovery_seconds,
        )
        await self.app.on_rebalance_complete.send()
        await self._refuse_new_inputs()
        table.end_recovery(await self._call(self._doubtful_views()))
        gc.freeze()  # what was just recovered is long-lived: no collection need look at it again
        if self.app.consumer_generation_id == generation_id:
            await self._start_inputs()

    async def _seek_to_start(self, tps: set[TP]) -> None:
        consumer = self.app.consumer
        ends = await self._call(consumer.highwaters(*tps)) if tps else {}
        starts = await self._call(consumer.earliest_offsets(*tps)) if tps else {}
        self.active_highwaters.clear()
        self.active_highwaters.update({TP(*tp): end - 1 for tp, end in ends.items()})
        self.active_offsets.clear()
        self.active_offsets.update({TP(*tp): (start or 0) - 1 for tp, start in starts.items()})
        if tps:
            await self._call(consumer.seek_wait({tp: self.active_offsets[tp] + 1 for tp in tps}))

    async def _refuse_new_inputs(self) -> None:
        """Raise StateError when an input ends before what is in the state: its records would be taken for old ones."""
        applied = {
            TP(topic, number): end
            for number, partition in self.app.state_table.recovering.items()
            for topic, end in partition.input_ends.items()
        }
        known = [tp for tp in applied if tp in self.app.consumer.assignment()]
        ends = await self._call(self.app.consumer.highwaters(*known)) if known else {}
        for tp, end in ends.items():
            if end < applied[TP(*tp)]:
                raise StateError(
                    f"{tp.topic}/{tp.partition} ends at offset {end}, but records up to {applied[TP(*tp)]} are in the "
                    "state: the topic was deleted and made anew; start over with a new VITALS_TOPIC_PREFIX and "
                    "VITALS_APP_ID"
                )

    async def _doubtful_views(self) -> dict[int, Collection[bytes]]:
        """Find the keys whose views were written after the marker, by the owner that wrote it or by anybody else.

        From here on every record that is not this worker's own is noticed, as its own must come next.
        """
        recovering, topic = self.app.state_table.recovering, self.app.state_table.hooks.views_topic
        doubtful: dict[int, Collection[bytes]] = {}
        if not recovering:
            return doubtful
        async with open_reader(self.app.options.bootstrap) as reader:
            bounds = await reader.all_bounds([(topic, number) for number in recovering])
            for number, partition in list(recovering.items()):
                begin, (start, end) = partition.views_end, bounds[topic, number]
                changelog = TP(self.app.options.changelog_topic, number)
                partition.own_ends = {changelog.topic: self.active_offsets[changelog] + 1, topic: end}
                if begin is None or begin == end:
                    continue
                if begin > end:  # the topic was made anew
                    doubtful[number] = partition.data.keys()
                    continue
                chunks = reader.read(topic, number, max(begin, start), end)
                last = {
                    record.key: record.value async for chunk in chunks for record in chunk if record.key is not None
                }
                # A view that is taken back is right where there is no value.
                doubtful[number] = {key for key, value in last.items() if value is not None or key in partition.data}
        return doubtful

    def remaining_records(self) -> int:
        """Count the offsets of the changelog that are still to be read back."""
        offsets = self.active_offsets
        return sum(max(end - offsets.get(tp, -1), 0) for tp, end in self.active_highwaters.items())

    async def _call(self, awaitable: Any) -> Any:
        """Await a consumer call; raise RebalanceAgain or ServiceStopped when it is overtaken by one."""
        task = asyncio.ensure_future(awaitable)
        await self._wait(task, timeout=self.app.conf.broker_request_timeout)
        return await task

    async def _read_changelog(self, tps: set[TP]) -> None:
        consumer = self.app.consumer
        self.app.flow_control.resume()
        consumer.resume_partitions(tps)
        consumer.resume_flow()
        await self.app._fetcher.maybe_start()  # noqa: SLF001 - as Faust's own recovery does
        watch = asyncio.ensure_future(self._end_when_still(tps))
        try:
            await self._wait(self.signal_recovery_end.wait())
        finally:
            watch.cancel()
        consumer.pause_partitions(tps)

    def apply_records(self, tp: TP, records: list[Record]) -> None:
        """Apply a chunk of changelog records (called by the consumer, in offset order)."""
        partition = self.app.state_table.recovering.get(tp.partition)
        if partition is None:
            return
        partition.apply_changelog(records)
        self.active_offsets[tp] = max(self.active_offsets[tp], records[-1].offset)
        self.recovered_records += len(records)
        if not self.need_recovery():
            self.signal_recovery_end.set()

    async def _end_when_still(self, tps: set[TP]) -> None:
        """End partitions whose last offsets hold no record: the consumer is past them, and nothing arrives."""
        seen, still = -1, 0
        while True:
            await asyncio.sleep(CHECK_INTERVAL_SECONDS)
            still = still + 1 if self.recovered_records == seen else 0
            seen = self.recovered_records
            if still < STILL_CHECKS:
                continue
            for tp in tps:
                end = self.active_highwaters[tp]
                if self.active_offsets[tp] < end and (await self.app.consumer.position(tp) or 0) > end:
                    self.active_offsets[tp] = end
            if not self.need_recovery():
                self.signal_recovery_end.set()

    async def _start_inputs(self) -> None:
        consumer = self.app.consumer
        self.app.flow_control.resume()
        await self._seek_inputs([tp for tp in consumer.assignment() if not self._is_changelog_tp(tp)])
        consumer.resume_partitions({tp for tp in consumer.assignment() if not self._is_changelog_tp(tp)})
        self._set_recovery_ended()
        self.completed.set()
        consumer.resume_flow()
        await self.app._fetcher.maybe_start()  # noqa: SLF001 - as Faust's own recovery does
        self.tables.on_actives_ready()
        self.tables.on_standbys_ready()
        self.app.on_rebalance_end()
        self.log.info("Worker ready")

    async def _seek_inputs(self, inputs: list[TP]) -> None:
        """Begin inputs at their committed offset, or at their earliest record when they have none.

        `perform_seek` leaves those without one alone, and a fetch that spanned the rebalance may have moved them past
        records that were then dropped.
        """
        consumer = self.app.consumer
        await self._call(consumer.perform_seek())
        found = await self._call(consumer.earliest_offsets(*inputs)) if inputs else {}
        starts = {TP(*tp): start or 0 for tp, start in found.items()}
        for tp, start in starts.items():
            consumer.refuse_deleted(tp, start)
            self._refuse_lost_state(tp, start)
        uncommitted = {tp: start for tp, start in starts.items() if not consumer.read_offset(tp)}
        if uncommitted:
            await self._call(consumer.seek_wait(uncommitted))

    def _refuse_lost_state(self, tp: TP, start: int) -> None:
        """Raise TopicError when records are committed, but nothing tells of them: the changelog was deleted.

        The marker comes before the first offset, and compaction keeps it.
        """
        partition, committed = self.app.state_table.partition(tp.partition), self.app.consumer.read_offset(tp) or 0
        if partition is not None and partition.marked is None and committed > start:
            raise TopicError(
                f"{self.app.options.changelog_topic}/{tp.partition} is empty, but {tp.topic}/{tp.partition} is scored "
                f"up to offset {committed - 1}: the state was deleted; to score again what the inputs still have, set "
                f'the offsets of group {self.app.conf.id} to the earliest, see "Topic deleted" in docs/failure-modes.md'
            )


class BatchTableManager(TableManager):
    """Faust's table manager with the recovery above."""

    @property
    def recovery(self) -> Recovery:
        """The recovery service, made at first use."""
        if self._recovery is None:
            self._recovery = ChunkedRecovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery
