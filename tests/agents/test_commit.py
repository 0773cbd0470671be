"""The order of a commit, and that an urgent flush need not wait for all of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, cast

import pytest
from faust.types import TP

from agents.runtime.commit import SLICE_KEYS, Committer
from agents.runtime.producer import Ack, OutRecord
from agents.runtime.table import MARKER_KEY, Partition, PartitionedTable
from service.errors import DependencyError, StateError
from tests.agents.test_table import CountHooks, count

KEYS = [f"key-{number}".encode() for number in range(3 * SLICE_KEYS)]


class Broker:
    """Takes batches as the producer does, acknowledges each a turn later, and keeps what it acknowledged."""

    def __init__(self) -> None:
        self.log: list[tuple[str, list[bytes]]] = []
        self.refuses = ""
        self.ends: Counter[str] = Counter()
        self.sizes: Counter[str] = Counter()

    def create_batch(self) -> Batch:
        return Batch()

    async def send_batch(self, batch: Batch, topic: str, partition: int) -> asyncio.Future[Ack]:
        async def acknowledge() -> Ack:
            await asyncio.sleep(0)
            if topic == self.refuses:
                raise DependencyError("refused")
            self.log.append((topic, [key for key in batch.keys if key != MARKER_KEY]))
            self.ends[topic] += len(batch.keys)
            self.sizes[topic] += batch.size_bytes
            return Ack(topic, self.ends[topic] - len(batch.keys), len(batch.keys))

        return asyncio.ensure_future(acknowledge())


class Batch:
    """One batch, of any size."""

    def __init__(self) -> None:
        self.keys: list[bytes] = []
        self.size_bytes = 0

    def append(self, *, timestamp: Any, key: bytes, value: Any, headers: Any) -> bool:
        self.keys.append(key)
        self.size_bytes += len(key) + len(value)
        return True

    def record_count(self) -> int:
        return len(self.keys)


class Table:
    """One owned partition."""

    def __init__(self, partition: Partition) -> None:
        self.owned = {partition.number: partition}
        self.partition = self.owned.get


def made() -> tuple[Partition, Broker, Committer]:
    """Make a partition of which every key was counted, and its committer."""
    partition, broker = Partition(0, CountHooks()), Broker()
    for key in KEYS:
        count(partition, key)
    table = cast("PartitionedTable", Table(partition))
    return partition, broker, Committer(table, "changelog", cast("Any", lambda: broker))


def committing(committer: Committer, broker: Broker, *, is_last: bool = False) -> Any:
    """Commit offset 7 of a topic."""

    async def commit_offsets(offsets: dict[TP, int]) -> bool:
        broker.log.append(("offsets", []))
        return True

    return committer.commit(lambda: {TP("input", 0): 7}, commit_offsets, is_last=is_last)


def test_every_key_is_stored_before_its_view_leaves_and_before_the_offsets() -> None:
    """Each key's state is acknowledged before its view is sent; offsets are committed after all of them."""
    partition, broker, committer = made()
    asyncio.run(committing(committer, broker, is_last=True))
    stored: set[bytes] = set()
    for topic, keys in broker.log:
        if topic == "changelog":
            stored.update(keys)
        assert topic != "counts" or stored.issuperset(keys)
    assert broker.log[-1] == ("offsets", [])
    assert stored == set(KEYS)
    assert not partition.dirty
    assert sorted(key for topic, keys in broker.log if topic == "counts" for key in keys) == sorted(KEYS)


def test_what_the_changelog_takes_is_counted() -> None:
    """Records and bytes, of keys and values, as the broker got them, with the marker's own."""
    _, broker, committer = made()
    asyncio.run(committing(committer, broker))
    assert committer.stats.state_records == broker.ends["changelog"] > len(KEYS)
    assert committer.stats.state_bytes == broker.sizes["changelog"] > 0


def test_an_urgent_flush_goes_between_two_slices() -> None:
    """A key that must get out while a commit is under way is stored and shown before the commit is through."""
    partition, broker, committer = made()

    async def run() -> None:
        commit = asyncio.ensure_future(committing(committer, broker, is_last=True))
        while not broker.log:  # noqa: ASYNC110 - the broker has no event for it
            await asyncio.sleep(0)
        count(partition, b"urgent")
        await committer.flush_urgent(partition, [b"urgent"])
        assert not commit.done()
        assert ("counts", [b"urgent"]) in broker.log
        await commit

    asyncio.run(run())
    assert broker.log.index(("counts", [b"urgent"])) < broker.log.index(("offsets", [])) - 2


@pytest.mark.parametrize("topic", ["changelog", "counts"])
def test_nothing_is_committed_after_a_refusal(topic: str) -> None:
    """When a state or a view is not acknowledged, no offset is committed, now or ever after."""
    _, broker, committer = made()
    broker.refuses = topic
    with pytest.raises(DependencyError, match="refused"):
        asyncio.run(committing(committer, broker, is_last=True))
    broker.refuses = ""
    with pytest.raises(DependencyError, match="earlier flush failed"):
        asyncio.run(committing(committer, broker))
    assert ("offsets", []) not in broker.log


@pytest.mark.parametrize("topic", ["changelog", "counts"])
def test_nothing_is_committed_after_a_foreign_record(topic: str) -> None:
    """When somebody else wrote a state or a view, the commit fails before its offsets, now and ever after."""
    partition, broker, committer = made()
    partition.own_ends = {"changelog": 0, "counts": 0}
    broker.ends[topic] += 1
    with pytest.raises(StateError, match=f"{topic}/0 goes on at offset 1, but"):
        asyncio.run(committing(committer, broker, is_last=True))
    with pytest.raises(DependencyError, match="earlier flush failed"):
        asyncio.run(committing(committer, broker))
    assert ("offsets", []) not in broker.log


def test_a_partition_given_up_in_a_commit_keeps_its_offsets() -> None:
    """What was not flushed any more is not committed: the next owner reads it again."""
    partition, broker, committer = made()
    table = cast("Any", committer)._table

    async def run() -> None:
        commit = asyncio.ensure_future(committing(committer, broker))
        while not broker.log:  # noqa: ASYNC110 - the broker has no event for it
            await asyncio.sleep(0)
        async with committer.at_rest([partition]):
            table.owned.clear()
        await commit

    asyncio.run(run())
    assert ("offsets", []) not in broker.log
    assert len({key for topic, keys in broker.log if topic == "changelog" for key in keys}) < len(KEYS)


class AlertHooks(CountHooks):
    """Hooks of a table with one alert, which a state keeps until it is noted as sent, as only an owner can."""

    def __init__(self) -> None:
        self.unsent = {b"urgent"}
        self.is_owner = True

    def outputs(self, partition: Partition, key: bytes, value: Any) -> list[OutRecord]:
        return [OutRecord("alerts", partition.number, key, b"")] if key in self.unsent else []

    def published(self, partition: Partition, key: bytes, value: Any, outputs: list[OutRecord]) -> bool:
        if key not in self.unsent or not self.is_owner:
            return False
        self.unsent.discard(key)
        partition.dirty.add(key)
        return True

    def revoked(self, partition: Partition) -> None:
        self.is_owner = False


def test_a_partition_is_given_up_when_its_alerts_are_noted_as_sent() -> None:
    """With an alert on its way, a partition is let go after the state without it is stored; none is stored later."""
    partition, broker = Partition(0, AlertHooks()), Broker()
    table = cast("Any", Table(partition))
    committer = Committer(table, "changelog", cast("Any", lambda: broker))
    count(partition, b"urgent")

    async def run() -> None:
        flush = asyncio.ensure_future(committer.flush_urgent(partition, [b"urgent"]))
        while not broker.log:  # noqa: ASYNC110 - the broker has no event for it
            await asyncio.sleep(0)
        async with committer.at_rest([partition]):
            table.owned.clear()
            partition.hooks.revoked(partition)
        await flush
        count(partition, b"urgent")
        await committer.flush_urgent(partition, [b"urgent"])

    asyncio.run(run())
    sent = [topic for topic, keys in broker.log if keys == [b"urgent"]]
    assert sent.index("alerts") < len(sent) - 1 - sent[::-1].index("changelog")
    assert sent.count("alerts") == 1
    assert sent.count("changelog") == 2
