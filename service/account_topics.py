"""One account's last score and its alerts, read from the output topics without a consumer group.

An account's messages stand in one partition, which follows from its id; nothing else is read. The scores' topic is
compacted, so it is read whole; of the alerts only those written in the last 90 days.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.partitioner import murmur2

from service.adapters.topic_admin import describe_partitions
from service.errors import DependencyError
from service.topic_catalogue import TopicNames

ALERT_DAYS: Final = 90
POLL_MS: Final = 1_000
SILENT_SECONDS: Final = 30
DAY_MS: Final = 86_400_000


@dataclass(slots=True)
class AccountMessages:
    """What the topics hold of one account; alerts oldest first."""

    score: bytes | None = None
    alerts: list[bytes] = field(default_factory=list)


async def read_account(bootstrap: str, names: TopicNames, account: str) -> AccountMessages:
    """Read the account's last score and its alerts of the last 90 days.

    Raises DependencyError for a topic that does not exist and for brokers that do not answer.
    """
    counts = await describe_partitions(bootstrap, [names.scores, names.alerts])
    if missing := [name for name, count in counts.items() if not count]:
        raise DependencyError(f"no such topic: {', '.join(missing)}; create it with `vitals topics apply`")
    key = account.encode("utf-8", "surrogatepass")
    places = {name: TopicPartition(name, _partition(key, count or 1)) for name, count in counts.items()}
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    try:
        await consumer.start()
        consumer.assign(list(places.values()))
        await consumer.seek_to_beginning(places[names.scores])
        await _seek_recent(consumer, places[names.alerts])
        return await _read_to_end(consumer, places[names.scores], places[names.alerts], key)
    except KafkaError as error:
        raise DependencyError(f"Kafka at {bootstrap}: {error}; see `vitals kafka status`") from error
    finally:
        await consumer.stop()


def _partition(key: bytes, count: int) -> int:
    return int(murmur2(key) & 0x7FFFFFFF) % count


async def _seek_recent(consumer: AIOKafkaConsumer, place: TopicPartition) -> None:
    since_ms = time.time_ns() // 1_000_000 - ALERT_DAYS * DAY_MS
    found = (await consumer.offsets_for_times({place: since_ms}))[place]
    if found is None:
        await consumer.seek_to_end(place)
    else:
        consumer.seek(place, found.offset)


async def _read_to_end(
    consumer: AIOKafkaConsumer, scores: TopicPartition, alerts: TopicPartition, key: bytes
) -> AccountMessages:
    """Read both partitions up to where they ended at the start; of a score that was taken back nothing is left."""
    ends = await consumer.end_offsets([scores, alerts])
    messages = AccountMessages()
    heard = time.monotonic()
    while any([await consumer.position(place) < end for place, end in ends.items()]):
        batches = await consumer.getmany(timeout_ms=POLL_MS)
        if batches:
            heard = time.monotonic()
        elif time.monotonic() - heard > SILENT_SECONDS:
            raise DependencyError(
                f"{scores.topic} and {alerts.topic} stopped giving records; see `vitals kafka status`"
            )
        for place, records in batches.items():
            for record in records:
                if record.key != key:
                    continue
                if place == scores:
                    messages.score = record.value
                elif record.value is not None:
                    messages.alerts.append(record.value)
    return messages
