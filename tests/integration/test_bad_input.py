"""Inputs that other clients and broken ones leave in the topics: nothing lost, nothing scored that was taken back."""

from __future__ import annotations

import asyncio
import random
import struct
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import CompletedProcess

import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.util import calc_crc32c, encode_varint

from schemas.codec import encode_input
from schemas.outputs import DeadLetter
from service.adapters.embedded_kafka import EmbeddedKafka
from service.adapters.incremental_configs import IncrementalAlterConfigsRequest
from service.adapters.topic_admin import committed_offsets, open_admin
from service.settings import Settings
from tests.integration.kafka_tools import produce, read_topic, start_worker
from tests.integration.test_worker import Deployment, home_of, login

pytestmark = [pytest.mark.kafka, pytest.mark.slow]
Vitals = Callable[..., "CompletedProcess[str]"]
Records = Sequence[tuple[bytes, bytes]]


@pytest.fixture
def deployment(settings: Settings, vitals: Vitals, tmp_path: Path) -> Deployment:
    """Make a deployment with its topics."""
    return Deployment(settings, vitals, tmp_path)


def usage_topic(deployment: Deployment) -> str:
    """Name the topic of logins."""
    return f"{deployment.settings.topic_prefix}product-usage"


def account_update(account: str, event_id: str, name: str) -> bytes:
    """Write an account's new name."""
    return encode_input(
        "account_updated",
        {"name": name},
        event_id=event_id,
        source="test",
        account=account,
        time_ms=time.time_ns() // 1_000_000,
    )


def score_all(deployment: Deployment, *arguments: str) -> None:
    """Run a worker until every input is committed."""
    with deployment.start(*arguments) as worker:
        deployment.wait(worker)
        time.sleep(0.5)  # copies to the right partition are committed apart
        deployment.wait(worker)
        assert worker.terminate() == 0


# -- transactions ----------------------------------------------------------------------------------------


def transact(bootstrap: str, topic: str, rounds: Sequence[tuple[bool, Records]]) -> None:
    """Send each round of records in a transaction, and commit or abort it."""

    async def send() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=topic)
        await producer.start()
        try:
            for is_committed, records in rounds:
                await producer.begin_transaction()
                for key, value in records:
                    await producer.send_and_wait(topic, value, key=key)
                await (producer.commit_transaction() if is_committed else producer.abort_transaction())
        finally:
            await producer.stop()

    asyncio.run(send())


def test_records_of_aborted_transactions_are_not_scored(deployment: Deployment) -> None:
    """Committed ones are, aborted ones are not, before and after a kill; commits move over all markers to the end."""
    topic = usage_topic(deployment)

    def logins(begin: str, count: int) -> Records:
        return [(b"acme", login("acme", f"{begin}-{number}")) for number in range(count)]

    transact(deployment.bootstrap, topic, [(False, logins("a", 3)), (True, logins("b", 2)), (False, logins("c", 4))])
    other = f"{deployment.settings.topic_prefix}tickets"
    transact(deployment.bootstrap, other, [(False, [(b"acme", b"never")])])
    with deployment.start() as worker:
        deployment.wait(worker)  # every partition's lag is 0, so the markers at the ends are passed
        transact(
            deployment.bootstrap, topic, [(False, logins("d", 5)), (True, logins("e", 1)), (False, logins("f", 1))]
        )
        deployment.wait(worker)
        worker.kill()
    assert sum(deployment.states()["acme"].logins) == 3
    committed = asyncio.run(committed_offsets(deployment.bootstrap, deployment.settings.app_id))
    assert committed[topic, home_of(b"acme")] == 3 + 2 + 4 + 5 + 1 + 1 + 6  # six markers
    transact(deployment.bootstrap, topic, [(False, logins("g", 2)), (True, logins("h", 1))])
    score_all(deployment)
    assert sum(deployment.states()["acme"].logins) == 4
    assert not read_topic(deployment.bootstrap, f"{other}.dlq")


def test_an_aborted_transaction_of_many_chunks_leaves_no_record(deployment: Deployment) -> None:
    """An aborted transaction that spans many fetches, with records of others between its own, is left out whole."""
    topic = usage_topic(deployment)
    aborted = [(b"acme", login("acme", f"a-{number}", padding="x" * 2_000)) for number in range(600)]

    async def send() -> None:
        hanging = AIOKafkaProducer(bootstrap_servers=deployment.bootstrap, transactional_id=topic)
        plain = AIOKafkaProducer(bootstrap_servers=deployment.bootstrap)
        await hanging.start()
        await plain.start()
        try:
            await hanging.begin_transaction()
            for number, (key, value) in enumerate(aborted):
                sent = await hanging.send(topic, value, key=key)
                if number % 100 == 0:
                    await sent
                    await plain.send_and_wait(topic, login("acme", f"p-{number}"), key=key)
            await hanging.abort_transaction()
        finally:
            await hanging.stop()
            await plain.stop()

    asyncio.run(send())
    score_all(deployment)
    assert sum(deployment.states()["acme"].logins) == 6


# -- batches that nobody can read --------------------------------------------------------------------------


class RawBatch(BatchBuilder):  # type: ignore[misc]  # aiokafka has no types
    """A produce batch with the given bytes."""

    def __init__(self, batch: bytes) -> None:
        super().__init__(1 << 20, 0)
        self.append(timestamp=0, key=b"", value=b"")
        self.close()
        self._buffer = batch


def send_batch(bootstrap: str, topic: str, partition: int, batch: bytes) -> None:
    """Produce a batch as it is."""

    async def send() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=bootstrap, max_request_size=8 << 20)
        await producer.start()
        try:
            await (await producer.send_batch(RawBatch(batch), topic, partition=partition))
        finally:
            await producer.stop()

    asyncio.run(send())


def gzip_bomb(size: int) -> bytes:
    """Make a batch of one record whose value is so many zeros, a multiple of 1 MiB, packed with gzip."""
    head = bytearray()
    for number in (0, 0, 0, 4):  # attributes, time, offset, length of the key
        encode_varint(number, head.append)
    head += b"acme"
    encode_varint(size, head.append)
    length = bytearray()
    encode_varint(len(head) + size + 1, length.append)
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    mebibyte = bytes(1 << 20)
    packed = packer.compress(bytes(length + head))
    for _ in range(size >> 20):
        packed += packer.compress(mebibyte)
    packed += packer.compress(b"\0") + packer.flush()
    body = struct.pack(">hiqqqhii", 1, 0, 0, 0, -1, -1, -1, 1) + packed
    return struct.pack(">qiibI", 0, 4 + 1 + 4 + len(body), -1, 2, calc_crc32c(body)) + body


def set_offset(deployment: Deployment, topic: str, partition: int, offset: int) -> None:
    """Set an offset of the group, as the runbook says."""

    async def commit() -> None:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=deployment.bootstrap, group_id=deployment.settings.app_id, enable_auto_commit=False
        )
        await consumer.start()
        try:
            place = TopicPartition(topic, partition)
            consumer.assign([place])
            await consumer.commit({place: offset})
        finally:
            await consumer.stop()

    asyncio.run(commit())


def expect_refusal(deployment: Deployment, text: str) -> int:
    """Run a worker that must end by itself with exit code 1 and this text; return its largest memory in bytes."""
    largest = 0
    with start_worker(deployment.settings, deployment.log) as worker:
        process = psutil.Process(worker.process.pid)
        deadline = time.monotonic() + 90
        while worker.process.poll() is None:
            assert time.monotonic() < deadline, worker.output()[-3000:]
            try:
                largest = max(largest, process.memory_info().rss)
            except psutil.Error:
                break
            time.sleep(0.01)
        assert worker.process.wait(10) == 1, worker.output()[-3000:]
        assert text in worker.output()
    return largest


def test_a_compression_bomb_stops_the_worker_within_its_memory(deployment: Deployment) -> None:
    """A megabyte that would become a gigabyte is named and refused at every start, and can be passed by hand."""
    topic, partition = usage_topic(deployment), home_of(b"acme")
    produce(deployment.bootstrap, topic, [(b"acme", login("acme", "before"))])
    bomb = gzip_bomb(1 << 30)
    assert len(bomb) < 1.1 * (1 << 20)
    send_batch(deployment.bootstrap, topic, partition, bomb)
    produce(deployment.bootstrap, topic, [(b"acme", login("acme", "after"))])
    refusal = (
        f"worker stops: {topic}/{partition} has a batch at offset 1 that cannot be read: it becomes more than 32 MiB"
    )
    for _ in range(2):
        assert expect_refusal(deployment, refusal) < 512 << 20
    set_offset(deployment, topic, partition, 2)
    score_all(deployment)
    assert sum(deployment.states()["acme"].logins) == 2


def test_a_damaged_batch_stops_the_worker(deployment: Deployment, broker: EmbeddedKafka) -> None:
    """A bit that fell over on the broker's disk is named; what stands before it is scored and committed."""
    topic, partition = usage_topic(deployment), home_of(b"acme")
    for name in ("before", "damaged", "after"):
        produce(deployment.bootstrap, topic, [(b"acme", login("acme", name))])
    (segment,) = broker.data.glob(f"**/{topic}-{partition}/*.log")
    stored = segment.read_bytes()
    assert stored.count(b"damaged") == 1
    segment.write_bytes(stored.replace(b"damaged", b"damagEd"))
    refusal = f"{topic}/{partition} has a batch at offset 1 that cannot be read: its bytes do not fit its checksum"
    expect_refusal(deployment, refusal)
    set_offset(deployment, topic, partition, 2)
    score_all(deployment)
    assert sum(deployment.states()["acme"].logins) == 2


# -- other clients' keys and copies ------------------------------------------------------------------------


def test_every_partitioner_brings_an_account_home(deployment: Deployment) -> None:
    """Keys hashed as librdkafka does, as Java does, or not at all: all count once, in the order of each publisher."""
    rng = random.Random(7)
    topic = usage_topic(deployment)
    accounts = [f"acct-{number}" for number in range(24)]
    records: list[tuple[bytes, bytes, tuple[()], int]] = []
    for number in range(6):
        for account in accounts:
            key = account.encode()
            homes = {"crc32": zlib.crc32(key) % 8, "murmur2": home_of(key), "random": rng.randrange(8)}
            records += [(key, login(account, f"{name}-{number}"), (), home) for name, home in homes.items()]
    produce(deployment.bootstrap, topic, records)
    names = [
        (
            account.encode(),
            account_update(account, f"n-{number}", f"name {number}"),
            (),
            zlib.crc32(account.encode()) % 8,
        )
        for number in range(20)
        for account in accounts
    ]
    produce(deployment.bootstrap, f"{deployment.settings.topic_prefix}accounts", names)
    assert any(home_of(key) != home for key, _, _, home in names)
    score_all(deployment)
    states = deployment.states()
    assert {account: sum(state.logins) for account, state in states.items()} == dict.fromkeys(accounts, 18)
    assert {state.attributes.name for state in states.values() if state.attributes} == {"name 19"}


def test_a_copy_on_another_partition_counts_once(deployment: Deployment) -> None:
    """One event on every partition, as a producer that retries without a key's partitioner sends it, is one event."""
    event = login("acme", "same")
    produce(deployment.bootstrap, usage_topic(deployment), [(b"acme", event, (), partition) for partition in range(8)])
    score_all(deployment)
    assert sum(deployment.states()["acme"].logins) == 1


# -- what a topic may hold besides -------------------------------------------------------------------------


def test_a_compacted_input_is_read_to_its_end(deployment: Deployment) -> None:
    """Tombstones become dead letters, gaps are passed over, and every offset is committed."""
    topic = f"{deployment.settings.topic_prefix}accounts"
    asyncio.run(compact(deployment.bootstrap, topic))
    updates: list[tuple[bytes, bytes | None]] = [
        (b"acme", account_update("acme", f"n-{number}", f"name {number}")) for number in range(50)
    ]
    other = next(f"acct-{number}" for number in range(99) if home_of(b"acct-%d" % number) == home_of(b"acme"))
    produce(deployment.bootstrap, topic, [(other.encode(), account_update(other, "o", "other"))])
    for part in range(0, 50, 10):
        produce(deployment.bootstrap, topic, updates[part : part + 10])
        time.sleep(0.2)  # segments are rolled by time
    produce(deployment.bootstrap, topic, [(b"acme", None)])
    time.sleep(0.2)
    produce(deployment.bootstrap, topic, [(b"acme", account_update("acme", "last", "last name"))])
    deadline = time.monotonic() + 90
    while len(left := read_topic(deployment.bootstrap, topic)) >= 50:
        assert time.monotonic() < deadline, "nothing was compacted"
        time.sleep(1)
    assert (left[0].offset, left[0].key) == (0, other.encode())
    assert left[-1].offset == 52
    assert len(left) < 50
    score_all(deployment)
    states = deployment.states()
    names = {account: state.attributes.name for account, state in states.items() if state.attributes is not None}
    assert names == {"acme": "last name", other: "other"}
    letters = read_topic(deployment.bootstrap, f"{topic}.dlq")
    tombstones = sum(record.value is None for record in left)
    assert [DeadLetter.from_headers(letter.headers).reason for letter in letters] == ["empty_value"] * tombstones


async def compact(bootstrap: str, topic: str) -> None:
    """Have a topic compacted at once."""
    settings = {
        "cleanup.policy": "compact",
        "segment.ms": "100",
        "min.cleanable.dirty.ratio": "0.01",
        "min.compaction.lag.ms": "0",
        "max.compaction.lag.ms": "100",
        "delete.retention.ms": "60000",
    }
    async with open_admin(bootstrap) as admin:
        response = await admin._client.send(
            admin._client.get_random_node(), IncrementalAlterConfigsRequest({topic: settings})
        )
        assert all(code == 0 for code, *_ in response.resources), response.resources


def test_one_account_with_half_of_the_traffic(deployment: Deployment) -> None:
    """All others are scored as ever, each of its events counts, and they are applied in the order that they came in."""
    small = [f"acct-{number}" for number in range(100)]
    logins = [(b"hot", login("hot", f"h-{number}")) for number in range(2_000)]
    logins += [(account.encode(), login(account, f"s-{number}")) for number in range(20) for account in small]
    random.Random(3).shuffle(logins)
    produce(deployment.bootstrap, usage_topic(deployment), logins)
    names = [(b"hot", account_update("hot", f"n-{number}", f"name {number}")) for number in range(500)]
    produce(deployment.bootstrap, f"{deployment.settings.topic_prefix}accounts", names)
    score_all(deployment)
    states = deployment.states()
    assert {account: sum(state.logins) for account, state in states.items()} == {
        "hot": 2_000,
        **dict.fromkeys(small, 20),
    }
    assert states["hot"].attributes is not None
    assert states["hot"].attributes.name == "name 499"
