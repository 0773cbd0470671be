"""Partitions are applied side by side: each in order, few at Redis at once, none under way after a failure."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition

from service.account_copy.rows import Item
from service.account_copy.writer import BATCH_MAX, CopyLost
from service.projector import AT_REDIS_MAX, Projector

PARTS = [TopicPartition("scores", number) for number in range(4)]
COUNT = 3 * BATCH_MAX + 7


@dataclass
class Writer:
    """A copy that takes its time, and may be lost once."""

    lost_at: str = ""
    keys: Any = field(default_factory=lambda: SimpleNamespace(epoch="e"))
    running: int = 0
    most: int = 0
    running_at_begin: list[int] = field(default_factory=list)
    applied: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))

    async def begin(self, _places: int, *, instead_of: str = "") -> bool:
        """Note what is under way while the projector looks where to go on."""
        self.running_at_begin.append(self.running)
        return False

    async def offsets(self, starts: dict[str, int]) -> dict[str, int]:
        """Say where each place goes on."""
        return {place: (self.applied[place] or [(0, start)])[-1][1] for place, start in starts.items()}

    async def apply(self, _kind: str, place: str, start: int, end: int, items: list[Item]) -> int:
        """Apply a batch."""
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(0.002)
            if place == self.lost_at:
                self.lost_at = ""
                raise CopyLost("gap")
            self.applied[place].append((start, end))
        finally:
            self.running -= 1
        return len(items)

    async def beat(self, _applied_ms: dict[str, int], _model_version: str) -> bool:
        """Say that all is well."""
        return True


class Consumer:
    """A consumer that gives everything at once, again after each seek, and then stops the run."""

    def __init__(self, stop: asyncio.Event) -> None:
        self._stop = stop
        self._at = dict.fromkeys(PARTS, 0)

    def assignment(self) -> set[TopicPartition]:
        """Name the share."""
        return set(PARTS)

    async def beginning_offsets(self, parts: list[TopicPartition]) -> dict[TopicPartition, int]:
        """Begin at 0."""
        return dict.fromkeys(parts, 0)

    async def end_offsets(self, parts: list[TopicPartition]) -> dict[TopicPartition, int]:
        """End after all."""
        return dict.fromkeys(parts, COUNT)

    def highwater(self, _part: TopicPartition) -> int:
        """End after all."""
        return COUNT

    async def position(self, part: TopicPartition) -> int:
        """Tell what was given."""
        return self._at[part]

    def seek(self, part: TopicPartition, offset: int) -> None:
        """Go to an offset."""
        self._at[part] = offset

    def pause(self, *parts: TopicPartition) -> None:
        """Do nothing."""

    def resume(self, *parts: TopicPartition) -> None:
        """Do nothing."""

    async def getmany(self, *, timeout_ms: int, max_records: int = 0) -> dict[TopicPartition, list[Any]]:
        """Give what is left."""
        left = {
            part: [SimpleNamespace(offset=offset, timestamp=1) for offset in range(at, COUNT)]
            for part, at in self._at.items()
            if at < COUNT
        }
        self._at = dict.fromkeys(PARTS, COUNT)
        if not left:
            self._stop.set()
        return left


async def project(writer: Writer) -> None:
    """Run a projector until everything is read."""
    stop = asyncio.Event()
    item = Item(b"", b"")
    projector = Projector(Consumer(stop), writer, {"scores": "scores"}, len(PARTS), lambda *_: item)  # type: ignore[arg-type]
    await asyncio.wait_for(projector.run(stop), 20)


def batches() -> list[tuple[int, int]]:
    """List the batches of a partition as they must come."""
    return [(first, min(first + BATCH_MAX, COUNT)) for first in range(0, COUNT, BATCH_MAX)]


def test_each_partition_is_applied_in_order_and_few_at_once() -> None:
    """Redis always has the next batch, and never more than two, whatever the number of partitions."""
    writer = Writer()
    asyncio.run(project(writer))
    assert writer.applied == {f"scores:{number}": batches() for number in range(len(PARTS))}
    assert writer.most == AT_REDIS_MAX


@pytest.mark.parametrize("lost", range(len(PARTS)))
def test_after_a_failure_nothing_is_under_way(lost: int) -> None:
    """The projector looks where to go on only when all partitions are at rest; then each goes on without a gap."""
    writer = Writer(lost_at=f"scores:{lost}")
    asyncio.run(project(writer))
    assert writer.running_at_begin == [0, 0]
    assert writer.applied == {f"scores:{number}": batches() for number in range(len(PARTS))}
