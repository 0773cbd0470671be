"""What the harness does to a cluster by hand: members put out of a group, offsets set back, settings changed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, RecordsToDelete
from aiokafka.errors import GroupCoordinatorNotAvailableError
from aiokafka.protocol.group import LeaveGroupRequest

from service.adapters.incremental_configs import IncrementalAlterConfigsRequest


@asynccontextmanager
async def _admin(bootstrap: str) -> AsyncIterator[Any]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=15_000)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def _coordinator(admin: Any, group: str) -> int:
    for _ in range(60):
        with contextlib.suppress(GroupCoordinatorNotAvailableError):
            found: int = await admin.find_coordinator(group)
            return found
        await asyncio.sleep(0.5)  # the first group of a cluster makes the topic of offsets
    raise TimeoutError(f"group {group} has no coordinator")


def evict_members(bootstrap: str, group: str) -> None:
    """Have every member leave a group, as the members themselves would; only for dead ones."""

    async def evict() -> None:
        async with _admin(bootstrap) as admin:
            coordinator = await _coordinator(admin, group)
            (described,) = await admin.describe_consumer_groups([group], coordinator)
            for member in described.groups[0][5]:
                await admin._client.send(coordinator, LeaveGroupRequest(group, member[0]))

    asyncio.run(evict())


def rewind_group(bootstrap: str, group: str, topics: Iterable[str]) -> None:
    """Commit offset 0 for every partition; the group must have no members."""

    async def rewind() -> None:
        consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False)
        await consumer.start()
        try:
            await consumer._client.force_metadata_update()
            partitions = [TopicPartition(topic, number) for topic in topics for number in range(8)]
            consumer.assign(partitions)
            await consumer.commit(dict.fromkeys(partitions, 0))
        finally:
            await consumer.stop()

    asyncio.run(rewind())


def alter_topic(bootstrap: str, topic: str, changes: Mapping[str, str]) -> None:
    """Change settings of a topic."""

    async def alter() -> None:
        async with _admin(bootstrap) as admin:
            response = await admin._send_request(IncrementalAlterConfigsRequest({topic: dict(changes)}))
            assert not any(resource[0] for resource in response.resources), response

    asyncio.run(alter())


def delete_records(bootstrap: str, before: Mapping[tuple[str, int], int]) -> None:
    """Delete the records before an offset of each partition, as retention does."""

    async def delete() -> None:
        async with _admin(bootstrap) as admin:
            await admin.delete_records(
                {
                    TopicPartition(*partition): RecordsToDelete(before_offset=offset)
                    for partition, offset in before.items()
                }
            )

    asyncio.run(delete())


def add_partitions(bootstrap: str, topic: str, count: int) -> None:
    """Raise the partition count of a topic."""

    async def add() -> None:
        async with _admin(bootstrap) as admin:
            await admin.create_partitions({topic: NewPartitions(total_count=count)})

    asyncio.run(add())


def delete_topics(bootstrap: str, topics: Iterable[str]) -> None:
    """Delete topics, so that a cluster which many runs share stays small."""

    async def delete() -> None:
        async with _admin(bootstrap) as admin:
            await admin.delete_topics(list(topics))

    asyncio.run(delete())


def produce_transaction(bootstrap: str, topic: str, partition: int, keys: Iterable[bytes]) -> None:
    """Write tombstones in a committed transaction, whose end takes the offset after them."""

    async def write() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=f"{topic}-{partition}")
        await producer.start()
        try:
            async with producer.transaction():
                for key in keys:
                    await producer.send(topic, None, key=key, partition=partition)
        finally:
            await producer.stop()

    asyncio.run(write())
