"""One account's last score, its alerts and what people did, read from the output topics without a consumer group.

An account's messages stand in one partition, which follows from its id; nothing else is read. The scores' topic is
compacted, so it is read whole; of the others only what was written in the last 90 days.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from aiokafka.partitioner import murmur2

from service.adapters.topic_admin import existing_partitions
from service.adapters.topic_reader import ConsumedRecord, TopicReader, open_reader
from service.topic_catalogue import TopicNames

TOLD_DAYS: Final = 90
DAY_MS: Final = 86_400_000


@dataclass(slots=True)
class AccountMessages:
    """What the topics hold of one account since it was last erased; alerts and outcomes of actions oldest first."""

    score: bytes | None = None
    alerts: list[bytes] = field(default_factory=list)
    actions: list[bytes] = field(default_factory=list)


async def read_account(bootstrap: str, names: TopicNames, account: str) -> AccountMessages:
    """Read the account's last score (nothing, when it was taken back) and what was told of it in the last 90 days.

    Raises DependencyError for a topic that does not exist and for brokers that do not answer.
    """
    counts = await existing_partitions(bootstrap, [names.scores, names.alerts, names.audit])
    key = account_key(account)
    since_ms = time.time_ns() // 1_000_000 - TOLD_DAYS * DAY_MS
    messages = AccountMessages()
    async with open_reader(bootstrap) as reader:
        number = partition_of(key, counts[names.scores])
        start, end = await reader.bounds(names.scores, number)
        async for records in reader.read(names.scores, number, start, end):
            for record in records:
                if record.key == key:
                    messages.score = record.value
        for topic, found in ((names.alerts, messages.alerts), (names.audit, messages.actions)):
            recent = records_since(reader, topic, partition_of(key, counts[topic]), key, since_ms)
            async for record in recent:
                if record.value is None or record.key != key:
                    found.clear()  # the account was erased: what follows is that of a new one
                else:
                    found.append(record.value)
    return messages


async def records_since(
    reader: TopicReader, topic: str, partition: int, key: bytes, since_ms: int
) -> AsyncGenerator[ConsumedRecord, None]:
    """Yield the records of an account that a partition was given since a time, up to its end of now.

    Those of its erasures, which stand under a digest, are among them.
    """
    end = (await reader.bounds(topic, partition)).end
    start = await reader.offset_since(topic, partition, since_ms)
    keys = {key, sha256(key).hexdigest().encode()}
    async for records in reader.read(topic, partition, end if start is None else start, end):
        for record in records:
            if record.key in keys:
                yield record


def account_key(account: str) -> bytes:
    """Return the key of an account's records."""
    return account.encode("utf-8", "surrogatepass")


def digest_key(account: str) -> bytes:
    """Return the key of the records that tell of an account's erasure."""
    return sha256(account_key(account)).hexdigest().encode()


def partition_of(key: bytes, count: int) -> int:
    """Return the partition that a key hashes to."""
    return int(murmur2(key) & 0x7FFFFFFF) % count
