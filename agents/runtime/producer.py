"""How records leave the worker: idempotent, acknowledged by all replicas, errors raised to the caller.

Faust's `send` paths swallow failed sends and give up on slow flushes, so nothing here goes through them: records are
packed into batches for an explicit partition, and the caller awaits every broker acknowledgement.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder
from faust.transport.drivers import aiokafka as driver

from service.errors import DependencyError

Headers = Sequence[tuple[str, bytes]]

# Above the largest record that is ever forwarded unchanged (a dead letter of 4 MiB less its headers).
MAX_REQUEST_BYTES = 4 * 1024 * 1024


class OutRecord(NamedTuple):
    """One record on its way to a known partition."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    timestamp_ms: int | None = None


class DurableProducer(driver.Producer):
    """Faust's producer with idempotence on, and the raw client in reach."""

    def _settings_extra(self) -> Mapping[str, Any]:
        return {"acks": "all", "enable_idempotence": True}

    @property
    def client(self) -> AIOKafkaProducer:
        """The started aiokafka producer."""
        if self._producer is None:
            raise DependencyError("the producer is not started")
        return self._producer


async def send_records(producer: AIOKafkaProducer, records: Iterable[OutRecord]) -> None:
    """Send the records, in order per partition, and return when every one is acknowledged.

    Raises the broker's error when any of them failed; the others may then have been written.
    """
    by_partition: dict[tuple[str, int], list[OutRecord]] = {}
    for record in records:
        by_partition.setdefault((record.topic, record.partition), []).append(record)
    if by_partition:
        await asyncio.gather(*(_send_partition(producer, *tp, group) for tp, group in by_partition.items()))


async def _send_partition(producer: AIOKafkaProducer, topic: str, partition: int, records: list[OutRecord]) -> None:
    acks = [
        await producer.send_batch(batch, topic, partition=partition) for batch in pack(producer.create_batch, records)
    ]
    for ack in acks:
        await ack


def pack(new_batch: Callable[[], BatchBuilder], records: Iterable[OutRecord]) -> list[BatchBuilder]:
    """Pack records into as many batches as they need, in order."""
    batch = new_batch()
    batches = [batch]
    append = batch.append
    for _, _, key, value, given, timestamp_ms in records:
        headers = list(given)
        if append(timestamp=timestamp_ms, key=key, value=value, headers=headers) is None:
            batch = new_batch()
            batches.append(batch)
            append = batch.append
            if append(timestamp=timestamp_ms, key=key, value=value, headers=headers) is None:
                raise DependencyError("a record does not fit into a batch")
    return batches
