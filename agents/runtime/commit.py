"""The commit: the one place where state, outputs and offsets become durable, in this order.

    1  fix the offsets of every batch that is applied
    2  write all dirty state to the changelog, await every acknowledgement
    3  publish the outputs that this very state decided (alerts, scores), await every acknowledgement
    4  write the states that must remember their outputs as sent, await every acknowledgement
    5  commit the offsets fixed in 1

Steps 2 to 4 alone, for a few keys, are an urgent flush: an alert need not wait for the commit interval. One lock
serialises both. An error in any step leaves the order broken, so the committer refuses to go on and the worker stops;
`docs/failure-modes.md` tells what a crash after each step leaves behind.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer
from faust.types import TP

from agents.runtime.producer import OutRecord, send_records
from agents.runtime.table import Partition, PartitionedTable
from service.errors import DependencyError

FaultPoint = Callable[[str], Awaitable[None]]


@dataclass(slots=True)
class CommitStats:
    """What the committer did since the start."""

    commits: int = 0
    flushes: int = 0
    state_records: int = 0
    output_records: int = 0
    flush_seconds: float = 0.0


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
        self.stats = CommitStats()

    async def commit(
        self, take_offsets: Callable[[], dict[TP, int]], commit_offsets: Callable[..., Awaitable[bool]]
    ) -> bool:
        """Do the five steps; return whether offsets were committed. Raises what any step raised."""
        async with self._lock:
            with self._breaking():
                offsets = take_offsets()
                for tp, offset in offsets.items():
                    if (partition := self._table.partition(tp.partition)) is not None:
                        partition.input_ends[tp.topic] = offset
                await self._fault_point("offsets fixed")
                for partition in list(self._table.owned.values()):
                    await self._flush(partition, list(partition.dirty))
                await self._fault_point("state flushed")
                committed = await commit_offsets(offsets) if offsets else False
                await self._fault_point("offsets committed")
                self.stats.commits += 1
                return committed

    async def flush_urgent(self, partition: Partition, keys: Iterable[bytes]) -> None:
        """Make the given keys durable and publish their outputs at once."""
        async with self._lock:
            if self._table.partition(partition.number) is not partition:
                return  # revoked meanwhile: its next owner publishes from the changelog
            with self._breaking():
                await self._flush(partition, [key for key in keys if key in partition.dirty])

    def _breaking(self) -> _Breaking:
        if self._broken is not None:
            raise DependencyError(f"an earlier flush failed ({self._broken!r}); nothing is committed any more")
        return _Breaking(self)

    def mark_broken(self, error: BaseException) -> None:
        """Refuse every later commit: the order of acknowledgements is no longer known."""
        self._broken = error

    async def _flush(self, partition: Partition, keys: list[bytes]) -> None:
        while keys:
            keys = await self._flush_once(partition, keys)

    async def _flush_once(self, partition: Partition, keys: list[bytes]) -> list[bytes]:
        """Flush and publish once; return the keys to store again because their outputs are sent."""
        started = time.perf_counter()
        records, outputs_by_key = partition.encode_dirty(self._changelog_topic, keys)
        generation = partition.generation
        await send_records(self._producer(), records)
        await self._fault_point("state acknowledged")
        outputs: list[OutRecord] = [output for made in outputs_by_key.values() for output in made]
        await send_records(self._producer(), outputs)
        partition.published_generation = generation
        await self._fault_point("outputs published")
        published = partition.hooks.published
        again = [
            key for key, made in outputs_by_key.items() if made and published(partition, key, partition.get(key), made)
        ]
        stats = self.stats
        stats.flushes += 1
        stats.state_records += len(records)
        stats.output_records += len(outputs)
        stats.flush_seconds += time.perf_counter() - started
        return again


class _Breaking:
    """Marks the committer broken when its block is left by an error or a cancellation."""

    def __init__(self, committer: Committer) -> None:
        self._committer = committer

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            self._committer.mark_broken(error)
