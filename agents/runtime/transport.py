"""How records come in: one chunk of one partition is one Faust event, and offsets are committed exactly.

Faust delivers one record per event (about 6,000 a second) and commits past records that were never acknowledged. Here
a fetched list of records is cut into chunks that travel as `RecordBatch` through Faust's unmodified conductor, stream
and agent. Per partition a queue holds the delivered batches in order; the committable offset is behind the last batch
of the acked head of that queue, so gaps in the offsets (compaction, transaction markers) do not matter and nothing
unacked is passed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from aiokafka.errors import ConsumerStoppedError
from faust.transport.consumer import ensure_TP
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage
from mode import Service

from agents.runtime.batch import Record, RecordBatch
from agents.runtime.commit import Committer
from agents.runtime.fetching import BatchConsumerThread
from agents.runtime.producer import DurableProducer
from service.errors import BatchError, StateError

ReadingState = Literal["applying", "unread", "read"]

FETCH_TIMEOUT_SECONDS = 1.0
# While a partition is held back, look often whether it was released.
HELD_FETCH_TIMEOUT_SECONDS = 0.05
# What was delivered before a batch that cannot be read may take this long to be applied.
LAST_APPLIED_SECONDS = 30.0


class BatchConsumer(driver.Consumer):
    """Faust's aiokafka consumer with batch delivery and its own bookkeeping of offsets."""

    app: Any  # a RuntimeApp; its module imports this one

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._delivered: dict[TP, deque[RecordBatch]] = {}
        self._passed: dict[TP, int] = {}  # where to go on when nothing is delivered and not committed
        self._held: set[TP] = set()
        self._no_fetch = asyncio.Event()
        self._no_fetch.set()

    def _new_consumer_thread(self) -> BatchConsumerThread:
        return BatchConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def _crash(self, reason: BaseException) -> None:
        """Crash alone: the last commit and a rebalance need the client's thread and the queue of its calls."""
        self._crashed.set()
        self.crash_reason = reason

    # -- delivery ----------------------------------------------------------------------------------------

    async def _drain_messages(self, fetcher: Any) -> None:
        """Fetch and deliver until stopped (Faust's fetcher service runs this)."""
        try:
            while not (self._stopped.is_set() or fetcher._stopped.is_set()):  # noqa: SLF001 - as Faust's own loop
                await self._drain_once()
        except (ConsumerStoppedError, asyncio.CancelledError):
            if not self.app.should_stop:
                raise

    async def _drain_once(self) -> None:
        try:
            records, active = await self._wait_next_records(FETCH_TIMEOUT_SECONDS)
        except BatchError:
            await self._commit_delivered()
            raise
        generation = self.app.consumer_generation_id
        if not records or self.should_stop:
            await asyncio.sleep(0)
            return
        for tp, chunk, is_last in interleave(records, self.app.batch_max_records):
            if not self.flow_active or generation != self.app.consumer_generation_id:
                return  # a rebalance began: every partition will be read again from its committed offset
            if active is None or tp not in active:
                continue
            if tp.topic in self.app.tables.changelog_topics:
                if chunk:
                    self.app.tables.recovery.apply_records(tp, chunk)
                await asyncio.sleep(0)
                continue
            next_offset = records[tp].next_offset if is_last else chunk[-1].offset + 1
            await self._deliver(tp, chunk, next_offset, generation)

    async def _commit_delivered(self) -> None:
        """Commit all that was read, so that nobody who sets the offset behind a bad batch leaves out more than it."""
        for _ in range(round(LAST_APPLIED_SECONDS / HELD_FETCH_TIMEOUT_SECONDS)):
            if all(batch.applied for queue in self._delivered.values() for batch in queue):
                break
            await asyncio.sleep(HELD_FETCH_TIMEOUT_SECONDS)
        await self.flush_and_commit(is_last=True)

    async def _deliver(self, tp: TP, chunk: list[Record], next_offset: int, generation: int) -> None:
        position = self._read_offset[tp]
        if chunk and position is not None and chunk[0].offset < position:
            chunk = [record for record in chunk if record.offset >= position]
        if not chunk:
            self._pass(tp, next_offset)
            return
        if position is not None and chunk[0].offset > position:
            # Compaction leaves gaps too, so a gap alone says nothing.
            for start in (await self.earliest_offsets(tp)).values():
                self.refuse_deleted(tp, start)
        state = self.app.state_table.partition(tp.partition)
        if state is None:
            raise StateError(f"{tp.topic}/{tp.partition} delivers records, but its state is not recovered")
        batch = RecordBatch(tp, chunk, state)
        batch.next_offset = next_offset
        last = chunk[-1]
        message = ConsumerMessage(
            tp.topic,
            tp.partition,
            last.offset,
            last.timestamp / 1000.0,
            0,
            None,
            None,
            batch,  # type: ignore[arg-type]  # the point of this layer: a batch travels as one message's value
            None,
            0,
            0,
            tp,
            generation_id=generation,
        )
        self._delivered.setdefault(tp, deque()).append(batch)
        self._read_offset[tp] = next_offset
        await self.wait_first(self.callback(message), self.suspend_flow.wait())

    def _pass(self, tp: TP, next_offset: int) -> None:
        """Go on behind what is no record: markers, aborted transactions and what compaction removed."""
        if next_offset <= (self._read_offset[tp] or 0):
            return
        self._read_offset[tp] = next_offset
        delivered = self._delivered.get(tp)
        if delivered:
            delivered[-1].next_offset = next_offset
        else:
            self._passed[tp] = next_offset

    async def _wait_next_records(  # Faust's signature
        self,
        timeout: float,  # noqa: ASYNC109 - Faust's signature
    ) -> tuple[Any, set[TP] | None]:
        if not self.flow_active:
            await self.wait(self.can_resume_flow.wait())
        active = self._get_active_partitions() - self._held
        if not active:
            await self.sleep(HELD_FETCH_TIMEOUT_SECONDS)
            return {}, active
        if self._held:
            timeout = HELD_FETCH_TIMEOUT_SECONDS
        self._no_fetch.clear()
        try:
            return await self._getmany(active_partitions=active, timeout=timeout), active
        finally:
            self._no_fetch.set()

    async def fetch_ended(self) -> None:
        """Wait until no fetch is under way; with the flow stopped none begins after that."""
        await self._no_fetch.wait()

    def hold(self, tp: TP) -> None:
        """Fetch nothing more from a partition until `release`: its reader has enough to go on with."""
        self._held.add(tp)

    def release(self, tp: TP) -> None:
        """Fetch from a held partition again."""
        self._held.discard(tp)

    def is_held(self, tp: TP) -> bool:
        """Return whether a partition is not fetched from for now."""
        return tp in self._held

    def refuse_deleted(self, tp: TP, start: int) -> None:
        """Raise StateError when a partition begins, at `start`, behind the next record to deliver."""
        position = self.read_offset(tp)
        if position is not None and start > position:
            raise StateError(
                f"{tp.topic}/{tp.partition} begins at offset {start}, but records from {position} on are not scored: "
                "they were deleted before they were read; to go on without them, set the offsets of group "
                f"{self.app.conf.id} to the earliest, see docs/failure-modes.md"
            )

    def read_offset(self, tp: TP) -> int | None:
        """Return the offset of the next record to deliver, None when it was never told."""
        offset: int | None = self._read_offset[tp]
        return offset

    def reading_state(self, tp: TP) -> ReadingState:
        """Return whether delivered records of the partition are still to be applied, others to be read, or neither."""
        delivered = self._delivered.get(tp)
        if delivered and not delivered[-1].applied:
            return "applying"
        end = self._known_end(tp)
        return "unread" if end is None or (self._read_offset[tp] or 0) < end else "read"

    def unapplied_records(self, tp: TP) -> int:
        """Count the offsets from the first record that is not applied to the end that the last fetch found."""
        begin, end = self._unapplied_begin(tp), self._known_end(tp)
        return 0 if begin is None or end is None else max(end - begin, 0)

    def _unapplied_begin(self, tp: TP) -> int | None:
        head = self._unapplied_head(tp)
        return self.read_offset(tp) if head is None else head.first_offset

    def oldest_unapplied_ms(self, tp: TP) -> int | None:
        """Return the timestamp of the first record that is delivered and not applied; None when there is none."""
        head = self._unapplied_head(tp)
        return None if head is None else head.records[0].timestamp

    def _unapplied_head(self, tp: TP) -> RecordBatch | None:
        return next((batch for batch in self._delivered.get(tp, ()) if not batch.applied), None)

    def _known_end(self, tp: TP) -> int | None:
        """Return where the last fetch found the partition's end; None when there was none, or a rebalance took it."""
        try:
            end: int | None = self.highwater(tp)
        except AssertionError:  # the client's word for a partition that it is not assigned any more, asked for too late
            return None
        return end

    def on_buffer_full(self, tp: TP) -> None:
        """Do nothing: an agent's small queue is the back-pressure; Faust's answer stalls a whole second."""

    def on_buffer_drop(self, tp: TP) -> None:
        """Do nothing, see `on_buffer_full`."""

    @Service.task
    async def _commit_livelock_detector(self) -> None:
        """Do nothing: Faust's check reports idle partitions as errors."""

    # -- commit ------------------------------------------------------------------------------------------

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:  # noqa: ARG002 - Faust's signature
        """Flush state, publish outputs and commit, in the committer's order."""
        return await self.flush_and_commit(is_last=False)

    async def flush_and_commit(self, *, is_last: bool) -> bool:
        """Commit; the last one before partitions are given up takes more time to bring views out."""
        committer: Committer = self.app.committer
        return await committer.commit(self.take_offsets, self._commit_offsets, is_last=is_last)

    def take_offsets(self) -> dict[TP, int]:
        """Remove the acked head of every queue; return the offset after each."""
        offsets, self._passed = self._passed, {}
        for tp, queue in self._delivered.items():
            while queue and queue[0].applied:
                offsets[tp] = queue.popleft().next_offset
        return offsets

    def delivered_count(self) -> int:
        """Count the batches handed to agents and not yet committed."""
        return sum(len(queue) for queue in self._delivered.values())

    def first_unapplied(self) -> dict[TP, int]:
        """Return where the first delivered batch begins that is not applied, for every partition that has one."""
        first = {tp: self._unapplied_head(tp) for tp in self._delivered}
        return {tp: batch.first_offset for tp, batch in first.items() if batch is not None}

    async def wait_empty(self) -> None:
        """Commit what is applied; batches still waiting are read again by the next owner.

        At a stop an error is only noted, or nothing behind this would be stopped: the worker would not leave its group,
        and the client's thread would keep the process. A worker that ends for an error does not wait for views, and for
        the rest no longer than it may: what is not written by then is read again.
        """
        until = self.app.last_commit_until
        try:
            async with asyncio.timeout_at(until):
                await self.flush_and_commit(is_last=until is None)
        except Exception as error:
            if not self.app.should_stop:
                raise
            self.app.note_failure(error)

    def uncommitted(self) -> dict[TP, tuple[int, int]]:
        """Return from where to where delivered records are not committed, as far as that is known."""
        spans: dict[TP, tuple[int, int]] = {}
        for tp in self.app.owned_inputs():
            begin, delivered = self._committed_offset[tp], self._delivered.get(tp)
            if begin is None and delivered:
                begin = delivered[0].first_offset
            end = self._read_offset[tp] or 0
            if begin is not None and begin < end:
                spans[tp] = (begin, end)
        return spans

    async def on_stop(self) -> None:
        """Commit, then let go of every partition: the producer stops next, so nothing may begin to be written."""
        await super().on_stop()
        try:
            async with asyncio.timeout_at(self.app.last_commit_until):
                await self._give_up_partitions()
        except TimeoutError:
            self.forget_partitions()  # whatever is under way ends with the process, as in a crash

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Commit, then forget every partition (Faust's protocol revokes all of them at each rebalance)."""
        await super().on_partitions_revoked(revoked)  # suspends the flow and calls wait_empty
        await self._give_up_partitions()

    async def _give_up_partitions(self) -> None:
        """Forget every partition between two flushes: an alert on its way would come again from the next owner."""
        async with self.app.committer.at_rest(list(self.app.state_table.owned.values())):
            self.forget_partitions()

    def forget_partitions(self) -> None:
        """Let go of every state together with what was delivered for it, as only both make an offset to commit."""
        self._delivered.clear()
        self._passed.clear()
        self._held.clear()
        self.app.state_table.drop_partitions()


class BatchTransport(driver.Transport):
    """The aiokafka transport with the classes above."""

    Consumer = BatchConsumer
    Producer = DurableProducer


def interleave(records: Mapping[Any, list[Record]], chunk_records: int) -> Iterator[tuple[TP, list[Record], bool]]:
    """Cut each partition's records into chunks and yield them in turns, so that none waits for a whole other.

    Beside each chunk stands whether it is the partition's last; a partition without records has one empty chunk.
    """
    waiting = {
        ensure_TP(tp): deque(
            found[start : start + chunk_records] for start in range(0, max(len(found), 1), chunk_records)
        )
        for tp, found in records.items()
    }
    while waiting:
        for tp in list(waiting):
            chunk = waiting[tp].popleft()
            is_last = not waiting[tp]
            if is_last:
                del waiting[tp]
            yield tp, chunk, is_last
