"""One operation each at a broker, so that it is seen who may: all raise DependencyError for what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.errors import for_code

from service.adapters.clients import SecuredBrokers, client_options, errors_named
from service.adapters.incremental_configs import IncrementalAlterConfigsRequest
from service.adapters.topic_admin import committed_offsets, open_admin
from service.topic_catalogue import TopicNames
from service.watch import follow
from tests.security.acl_requests import ALLOW, ANY_HOST, LITERAL, OPERATIONS, TOPIC, create_acls

NAMES = TopicNames(app_id="eu-health", prefix="eu-")
ANSWER_SECONDS = 20.0
Operation = Callable[[str, str], Awaitable[Any]]


async def write(bootstrap: str, topic: str) -> None:
    producer = AIOKafkaProducer(**client_options(bootstrap), acks="all")
    try:
        await producer.start()
        await producer.send_and_wait(topic, b"x", key=b"x", partition=0)
    finally:
        await producer.stop()


async def read(bootstrap: str, topic: str) -> None:
    consumer = AIOKafkaConsumer(**client_options(bootstrap), enable_auto_commit=False, auto_offset_reset="earliest")
    try:
        await consumer.start()
        await consumer._client._wait_on_metadata(topic)
        consumer.assign([TopicPartition(topic, 0)])
        await consumer.getmany(timeout_ms=2_000)
    finally:
        await consumer.stop()


async def join(bootstrap: str, group: str) -> None:
    """Join a group, with a topic that may be read whoever it is, so that only the group can be refused."""
    is_api = isinstance(bootstrap, SecuredBrokers) and bootstrap.settings.kafka_username == "vitals-api"
    topic = NAMES.audit if is_api else NAMES.changelog
    consumer = AIOKafkaConsumer(topic, **client_options(bootstrap), group_id=group, enable_auto_commit=False)
    try:
        await consumer.start()
        await consumer.getmany(timeout_ms=2_000)
    finally:
        await consumer.stop()


async def create(bootstrap: str, topic: str) -> None:
    async with open_admin(bootstrap) as admin:
        for _, error_code, _ in (await admin.create_topics([NewTopic(topic, 1, 1)])).topic_errors:
            refuse(error_code)


async def delete(bootstrap: str, topic: str) -> None:
    async with open_admin(bootstrap) as admin:
        for _, error_code in (await admin.delete_topics([topic])).topic_error_codes:
            refuse(error_code)


async def alter(bootstrap: str, topic: str) -> None:
    async with open_admin(bootstrap) as admin:
        request = IncrementalAlterConfigsRequest({topic: {"max.message.bytes": "4194304"}})
        for error_code, *_ in (await admin._send_request(request)).resources:
            refuse(error_code)


async def grant(bootstrap: str, topic: str) -> None:
    rule = (TOPIC, topic, LITERAL, "User:vitals-publisher", ANY_HOST, OPERATIONS["Describe"], ALLOW)
    await create_acls(bootstrap, [rule])


async def watch(bootstrap: str, topic: str) -> None:
    """Do what `vitals watch` does, for a moment."""
    async for _ in follow(bootstrap, [topic], from_start=True, stop=asyncio.Event(), seconds=2):
        return


async def look_at_group(bootstrap: str, group: str) -> None:
    await committed_offsets(bootstrap, group)


def refuse(error_code: int) -> None:
    if error_code:
        raise for_code(error_code)


def run(operation: Operation, bootstrap: str, what: str) -> None:
    async def named() -> None:
        async with errors_named(bootstrap), asyncio.timeout(ANSWER_SECONDS):
            await operation(bootstrap, what)

    asyncio.run(named())
