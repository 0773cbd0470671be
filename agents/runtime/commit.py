"""The commit: the one place where state, outputs and offsets become durable, in this order.

    1  fix the offsets of every batch that is applied
    2  write all dirty state to the changelog, await every acknowledgement
    3  publish the outputs that this very state decided (alerts, views), await every acknowledgement
    4  write the states that must remember their outputs as sent, await every acknowledgement
    5  commit the offsets fixed in 1

Steps 2 to 4 are done side by side for all partitions, and within one in slices of keys, so that agents get the loop in
between. They alone, for the keys of new alerts, are an urgent flush: an alert need not wait for the commit interval,
and not for more of a commit than the slice of its partition that is under way (a partition's lock serialises both).
Views come with the slices as far as a share of the time allows; the rest follows with later commits.

An error in any step leaves the order broken, so the committer refuses to go on and the worker stops;
`docs/failure-modes.md` tells what a crash after each step leaves behind.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaProducer
from faust.types import TP

from agents.runtime.producer import send_records
from agents.runtime.table import Partition, PartitionedTable, ViewBudget
from service.errors import DependencyError
from service.metrics.buckets import SHORT_BOUNDS, Buckets

# Keys that a commit flushes, and views that it makes, before an urgent flush of the same partition gets its turn: some
# two milliseconds of work. Slices of all partitions come in one turn of the loop.
SLICE_KEYS = 256
SLICE_VIEWS = 32
# Views may take this share of the time since the last commit, which counts for at most so many seconds ...
VIEW_SHARE = 0.2
VIEW_INTERVAL_SECONDS_MAX = 2.0
# ... and so many seconds before partitions are given up, within the time that a stop may take.
LAST_VIEWS_SECONDS = 3.0

FaultPoint = Callable[[str], Awaitable[None]]


@dataclass(slots=True)
class CommitStats:
    """What the committer did since the start."""

    commits: int = 0
    flushes: int = 0
    state_records: int = 0
    state_bytes: int = 0
    flush_seconds: float = 0.0
    commit_seconds: Buckets = field(default_factory=lambda: Buckets(SHORT_BOUNDS))


async def no_fault(point: str) -> None:
    """Do nothing: the fault point of a worker that is not under test."""


class Committer:
    """Flushes and commits; see the module's five steps."""

    def __init__(
        self,
        table: PartitionedTable,
        changelog_topic: str,
        producer: Callable[[], AIOKafkaProducer],
        fault_point: FaultPoint = no_fault,
    ) -> None:
        self._table = table
        self._changelog_topic = changelog_topic
        self._producer = producer
        self._fault_point = fault_point
        self._lock = asyncio.Lock()
        self._broken: BaseException | None = None
        self._began_seconds = time.monotonic()
        self.stats = CommitStats()

    async def commit(
        self,
        take_offsets: Callable[[], dict[TP, int]],
        commit_offsets: Callable[..., Awaitable[bool]],
        *,
        is_last: bool = False,
    ) -> bool:
        """Do the five steps; return whether offsets were committed. Raises what any step raised.

        The last commit before partitions are given up takes more time for views.
        """
        async with self._lock:
            with self._breaking():
                views_seconds = self._views_seconds(is_last=is_last)
                offsets = take_offsets()
                for tp, offset in offsets.items():
                    if (partition := self._table.partition(tp.partition)) is not None:
                        partition.input_ends[tp.topic] = offset
                begun = [(partition, *partition.begin_commit()) for partition in self._table.owned.values()]
                await self._fault_point("offsets fixed")
                await all_done(self._flush_slices(*each, ViewBudget(views_seconds / len(begun))) for each in begun)
                await self._fault_point("state flushed")
                whole = {partition.number for partition, *_ in begun if self._owns(partition)}
                offsets = {tp: offset for tp, offset in offsets.items() if tp.partition in whole}
                committed = await commit_offsets(offsets) if offsets else False
                await self._fault_point("offsets committed")
                self.stats.commits += 1
                self.stats.commit_seconds.add(time.monotonic() - self._began_seconds)
                return committed

    async def flush_urgent(self, partition: Partition, keys: Iterable[bytes]) -> None:
        """Make the given keys durable and publish their outputs at once."""
        async with partition.lock:
            if not self._owns(partition):
                return  # revoked meanwhile: its next owner publishes from the changelog
            with self._breaking():
                dirty = [key for key in keys if key in partition.dirty]
                if dirty:
                    await self._flush(partition, dirty, ViewBudget())

    def _owns(self, partition: Partition) -> bool:
        return self._table.partition(partition.number) is partition

    @property
    def is_committing(self) -> bool:
        """Whether a commit is under way."""
        return self._lock.locked()

    @asynccontextmanager
    async def at_rest(self, partitions: Iterable[Partition]) -> AsyncIterator[None]:
        """Hold partitions that are given up where no flush is under way: what left is noted as sent, nothing leaves."""
        async with AsyncExitStack() as held:
            for partition in partitions:
                await held.enter_async_context(partition.lock)
            yield

    def _views_seconds(self, *, is_last: bool) -> float:
        """Say how long this commit may spend on making views."""
        before_seconds, self._began_seconds = self._began_seconds, time.monotonic()
        if is_last:
            return LAST_VIEWS_SECONDS
        return VIEW_SHARE * min(self._began_seconds - before_seconds, VIEW_INTERVAL_SECONDS_MAX)

    def _breaking(self) -> _Breaking:
        if self._broken is not None:
            raise DependencyError(f"an earlier flush failed ({self._broken!r}); nothing is committed any more")
        return _Breaking(self)

    def mark_broken(self, error: BaseException) -> None:
        """Refuse every later commit: the order of acknowledgements is no longer known."""
        self._broken = error

    async def _flush_slices(self, partition: Partition, keys: list[bytes], progress: int, budget: ViewBudget) -> None:
        """Flush the keys, letting urgent flushes of the partition in between."""
        rest = deque(keys)
        while rest or partition.needs_marker():
            async with partition.lock:
                if not self._owns(partition):
                    return  # the commit then leaves out its offsets
                chosen = _take_slice(rest, partition, budget)
                if chosen or not rest:
                    await self._flush(partition, chosen, budget, None if rest else progress)

    async def _flush(
        self, partition: Partition, keys: list[bytes], budget: ViewBudget, progress: int | None = None
    ) -> None:
        """Flush and publish keys until none has to be stored again because its outputs are sent."""
        again: Sequence[bytes] = keys
        while again or progress is not None:
            started = time.perf_counter()
            records, outputs = partition.encode_dirty(self._changelog_topic, again, budget, progress)
            progress = None
            partition.note_written(await send_records(self._producer(), records))
            await self._fault_point("state acknowledged")
            made_now = [output for made in outputs.values() for output in made]
            partition.note_written(await send_records(self._producer(), made_now))
            await self._fault_point("outputs published")
            partition.note_published()
            published = partition.hooks.published
            again = [key for key, made in outputs.items() if published(partition, key, partition.get(key), made)]
            self.stats.flushes += 1
            self.stats.state_records += len(records)
            self.stats.state_bytes += sum(len(record.key or b"") + len(record.value or b"") for record in records)
            self.stats.flush_seconds += time.perf_counter() - started


def _take_slice(rest: deque[bytes], partition: Partition, budget: ViewBudget) -> list[bytes]:
    """Take the next keys that are dirty or, while there is time for views, late."""
    dirty, outdated, late = partition.dirty, partition.outdated, partition.late
    has_time = budget.seconds_left > 0
    chosen: list[bytes] = []
    views = 0
    while rest and len(chosen) < SLICE_KEYS and views < SLICE_VIEWS:
        key = rest.popleft()
        if key in dirty or (has_time and key in late):
            chosen.append(key)
            views += has_time and key in outdated
    return chosen


async def all_done(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Wait until everything is done; when one fails, stop the others first, then raise its error."""
    with first_error():
        async with asyncio.TaskGroup() as group:
            for each in work:
                group.create_task(each)


@contextmanager
def first_error() -> Iterator[None]:
    """Raise the first error of a task group as itself."""
    try:
        yield
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None


class _Breaking:
    """Marks the committer broken when its block is left by an error or a cancellation."""

    def __init__(self, committer: Committer) -> None:
        self._committer = committer

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            self._committer.mark_broken(error)
