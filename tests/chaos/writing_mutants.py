"""Seeded bugs of what is applied, written, published and committed, and in which order."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from typing import Any

import agents.app
import agents.ingest
import agents.runtime.commit
import agents.runtime.sight
import agents.runtime.table
from agents.partition_task import PartitionTask
from agents.runtime.app import RuntimeApp
from agents.runtime.commit import Committer
from agents.runtime.producer import Ack, OutRecord, send_records
from agents.runtime.table import HEADER, MARKER_KEY, MARKER_KEYS, Partition, ViewBudget
from agents.runtime.transport import BatchConsumer
from agents.scorer import Scorer
from service.scoring.records import NEVER
from service.scoring.state import AccountState
from service.topic_catalogue import REKEYED_SOURCE
from tests.chaos.mutants import mutant
from tests.chaos.patching import patch


async def _flush_all(committer: Committer) -> None:
    for partition in list(committer._table.owned.values()):
        async with partition.lock:
            keys, progress = partition.begin_commit()
            if keys:
                await committer._flush(partition, keys, ViewBudget(), progress)


@mutant("F4", "offsets committed")
def commit_before_flush() -> None:
    """Commit offsets before the state is written."""

    async def commit(self: Committer, take_offsets: Any, commit_offsets: Any, *, is_last: bool = False) -> bool:
        async with self._lock:
            offsets = take_offsets()
            committed: bool = await commit_offsets(offsets) if offsets else False
            await self._fault_point("offsets committed")
            await _flush_all(self)
            await self._fault_point("state flushed")
            return committed

    patch(Committer, "commit", commit)


@mutant("F4", "offsets committed")
def offsets_fixed_after_flush() -> None:
    """Take the offsets to commit when the state is written already: batches applied meanwhile are passed."""

    async def commit(self: Committer, take_offsets: Any, commit_offsets: Any, *, is_last: bool = False) -> bool:
        async with self._lock:
            await _flush_all(self)
            await self._fault_point("state flushed")
            offsets = take_offsets()
            committed: bool = await commit_offsets(offsets) if offsets else False
            await self._fault_point("offsets committed")
            return committed

    patch(Committer, "commit", commit)


@mutant("F4", "state flushed")
def ignored_applied_offset() -> None:
    """Apply records that are read again once more, and know none of their ids."""
    apply = PartitionTask.apply

    def apply_again(self: PartitionTask, source: int, records: Iterable[tuple[int, bytes, Any]]) -> None:
        for offset, key, event in records:
            state = self.partition.get(key)
            if state is not None and offset <= state.applied[source]:
                state.applied[source] = NEVER
                state.recent_new = state.recent_old = b""
            apply(self, source, [(offset, key, event)])

    patch(PartitionTask, "apply", apply_again)


@mutant("F4c", "outputs published")
def alert_before_flush() -> None:
    """Publish alerts before the state that decided them is durable, and forget them at once."""
    flush_urgent = Committer.flush_urgent

    async def publish_first(self: Committer, partition: Partition, keys: Iterable[bytes]) -> None:
        keys = list(keys)
        task: PartitionTask = partition.hooks.tasks[partition.number]  # type: ignore[attr-defined]
        alerts = [
            output
            for key in keys
            if (state := partition.get(key)) is not None
            for output in partition.hooks.outputs(partition, key, state)
            if output.topic == partition.hooks.topics.alerts  # type: ignore[attr-defined]
        ]
        await send_records(self._producer(), alerts)
        await self._fault_point("outputs published")
        for key in keys:
            if key in task.publishing_seq and (state := partition.get(key)) is not None:
                partition.hooks.published(partition, key, state, [a for a in alerts if a.key == key])
        await flush_urgent(self, partition, keys)

    patch(Committer, "flush_urgent", publish_first)


@mutant("F20s")
def swallowed_send_error() -> None:
    """Take a write that the broker refused for done."""
    send = agents.runtime.commit.send_records  # type: ignore[attr-defined]

    async def send_and_hope(producer: Any, records: Iterable[OutRecord]) -> list[Ack]:
        acks: list[Ack] = []
        for record in records:
            with contextlib.suppress(Exception):
                acks += await send(producer, [record])
        return acks

    patch(agents.runtime.commit, "send_records", send_and_hope)


@mutant("F4", "offsets committed")
def unacknowledged_state() -> None:
    """Go on with a flush without awaiting the acknowledgements of states."""
    behind: set[asyncio.Task[None]] = set()

    async def send_later(producer: Any, records: list[OutRecord]) -> list[Ack]:
        if any(record.key == MARKER_KEY for record in records):

            async def later() -> None:
                await asyncio.sleep(0.4)
                await send_records(producer, records)

            task = asyncio.ensure_future(later())
            behind.add(task)
            task.add_done_callback(behind.discard)
            return []
        return await send_records(producer, records)

    patch(agents.runtime.commit, "send_records", send_later)


@mutant("F3")
def ack_on_exception() -> None:
    """Count a batch whose handler failed as applied, and go on."""
    add = RuntimeApp.add_batch_agent
    calls = [0]

    def add_forgiving(self: RuntimeApp, topic_name: str, name: str, handle: Any) -> None:
        async def forgiving(batch: Any) -> None:
            calls[0] += 1
            if calls[0] % 20 == 0:
                batch.ack()  # as a handler's error would end here
            else:
                await handle(batch)

        add(self, topic_name, name, forgiving)

    patch(RuntimeApp, "add_batch_agent", add_forgiving)


@mutant("F4", "offsets committed")
def ack_before_dead_letters() -> None:
    """Send dead letters and copies behind the batch's back: a crash loses them."""
    send = agents.app.send_records  # type: ignore[attr-defined]
    behind: set[asyncio.Task[None]] = set()

    async def send_later(producer: Any, records: list[OutRecord]) -> None:
        async def later() -> None:
            await asyncio.sleep(1.5)
            await send(producer, records)

        task = asyncio.ensure_future(later())
        behind.add(task)
        task.add_done_callback(behind.discard)

    patch(agents.app, "send_records", send_later)


@mutant("F1")
def alerts_not_marked() -> None:
    """Leave alerts in the state after they are published."""
    patch(Scorer, "published", lambda self, partition, key, value, outputs: False)


@mutant("F1")
def strays_scored_where_they_stand() -> None:
    """Score a record on a foreign partition there, so an account has several states."""
    events = agents.ingest.Ingest._events

    def take_all(self: Any, source: int, batch: Any, aside: Any) -> Any:
        self._partitions = 1 if source != REKEYED_SOURCE else 8
        found = list(events(self, source, batch, aside))
        self._partitions = 8
        return iter(found)

    patch(agents.ingest.Ingest, "_events", take_all)


def _store_otherwise(change: Callable[[AccountState], None]) -> None:
    """Change every state on its way to the changelog; the one in memory stays as it is."""
    encode = Partition.encode_dirty

    def encode_dirty(self: Partition, topic: str, keys: list[bytes], *rest: Any) -> Any:
        records, outputs = encode(self, topic, keys, *rest)
        for number, record in enumerate(records):
            if record.key in MARKER_KEYS or record.value is None or record.key is None:
                continue
            state = self.hooks.decode(record.key, record.value[HEADER.size :])
            change(state)
            records[number] = record._replace(value=record.value[: HEADER.size] + self.hooks.encode(state))
        return records, outputs

    patch(Partition, "encode_dirty", encode_dirty)


@mutant("F4", "state flushed")
def rekeyed_offset_not_stored() -> None:
    """Store states without the applied offset of re-keyed copies, and without the ids that would tell them."""

    def forget_copies(state: AccountState) -> None:
        if state.applied[REKEYED_SOURCE] != NEVER:
            state.applied[REKEYED_SOURCE] = NEVER
            state.recent_new = state.recent_old = b""

    _store_otherwise(forget_copies)


# After the first commits, or there is no state yet that time could overtake.
@mutant("F4h", *(f"state acknowledged:{passing}" for passing in (19, 27, 36, 50)))
def progress_too_early() -> None:
    """Move the partition's time before the states are written that have come so far."""
    flush_slices = Committer._flush_slices

    async def time_first(self: Committer, partition: Partition, keys: list[bytes], progress: int, budget: Any) -> None:
        if keys:
            async with partition.lock:
                await self._flush(partition, [], ViewBudget(), progress)
        await flush_slices(self, partition, keys, progress, budget)

    patch(Committer, "_flush_slices", time_first)


@mutant("F21")
def breaker_window_forgotten() -> None:
    """Begin at every start to count dead letters anew."""
    apply = Partition._apply_marker

    def apply_marker(self: Partition, value: bytes) -> None:
        apply(self, value)
        self.notes = {}

    patch(Partition, "_apply_marker", apply_marker)


@mutant("F4", "state flushed")
def half_states() -> None:
    """Store states without applied offsets and known ids."""

    def forget_all(state: AccountState) -> None:
        for source in range(len(state.applied)):
            state.applied[source] = NEVER
        state.recent_new = state.recent_old = b""

    _store_otherwise(forget_all)


@mutant("F4", "state flushed")
def untold_outcomes() -> None:
    """Store states without the outcomes of actions that are still to be told."""

    def forget_outcomes(state: AccountState) -> None:
        if state.acting is not None:
            state.acting.unsent = ()
            state.rest = None

    _store_otherwise(forget_outcomes)


@mutant("F4h", "offsets committed")
def committed_before_applied() -> None:
    """Commit what was delivered, applied or not."""

    def take_offsets(self: BatchConsumer) -> dict[Any, int]:
        offsets: dict[Any, int] = {}
        for tp, queue in self._delivered.items():
            while queue:
                offsets[tp] = queue.popleft().next_offset
        return offsets

    patch(BatchConsumer, "take_offsets", take_offsets)
