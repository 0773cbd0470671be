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
from typing import NamedTuple, TypeAlias

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
                owned = list(self._table.owned.values())
                await self._flush([(partition, None) for partition in owned])
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
                dirty = [key for key in keys if key in partition.dirty]
                await self._flush([(partition, dirty)] if dirty else [])

    def _breaking(self) -> _Breaking:
        if self._broken is not None:
            raise DependencyError(f"an earlier flush failed ({self._broken!r}); nothing is committed any more")
        return _Breaking(self)

    def mark_broken(self, error: BaseException) -> None:
        """Refuse every later commit: the order of acknowledgements is no longer known."""
        self._broken = error

    async def _flush(self, dirty: list[_Dirty]) -> None:
        while dirty:
            dirty = await self._flush_once(dirty)

    async def _flush_once(self, dirty: list[_Dirty]) -> list[_Dirty]:
        """Flush and publish keys of all given partitions together; return those to store again: their outputs are sent.

        Together, because each acknowledgement is waited for while agents use the loop.
        """
        started = time.perf_counter()
        encoded: list[_Encoded] = []
        for partition, chosen in dirty:
            keys = list(partition.dirty) if chosen is None else chosen
            if not keys:
                continue
            records, outputs = partition.encode_dirty(self._changelog_topic, keys)
            encoded.append(_Encoded(partition, partition.generation, records, outputs))
            await asyncio.sleep(0)
        await self._send([record for part in encoded for record in part.records])
        await self._fault_point("state acknowledged")
        await self._send([output for part in encoded for made in part.outputs.values() for output in made])
        await self._fault_point("outputs published")
        self.stats.flushes += 1
        self.stats.state_records += sum(len(part.records) for part in encoded)
        again: list[_Dirty] = [(part.partition, keys) for part in encoded if (keys := part.note_published())]
        self.stats.flush_seconds += time.perf_counter() - started
        return again

    async def _send(self, records: list[OutRecord]) -> None:
        await send_records(self._producer(), records)


_Dirty: TypeAlias = tuple[Partition, list[bytes] | None]
"""Keys of a partition to flush; None: all that are dirty when its turn comes."""


class _Encoded(NamedTuple):
    """What one flush writes for one partition."""

    partition: Partition
    generation: int
    records: list[OutRecord]
    outputs: dict[bytes, list[OutRecord]]

    def note_published(self) -> list[bytes]:
        """Move the marker, tell the application, and return the keys whose states changed by that."""
        partition = self.partition
        partition.published_generation = self.generation
        published = partition.hooks.published
        return [
            key for key, made in self.outputs.items() if made and published(partition, key, partition.get(key), made)
        ]


class _Breaking:
    """Marks the committer broken when its block is left by an error or a cancellation."""

    def __init__(self, committer: Committer) -> None:
        self._committer = committer

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            self._committer.mark_broken(error)
