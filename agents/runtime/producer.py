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
from aiokafka.protocol.produce import ProduceRequest
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

    async def on_start(self) -> None:
        """Start the client; it asks `app.before_write` before each request that writes."""
        await super().on_start()
        client = self.client.client
        send = client.send

        async def asking(node_id: int, request: Any, **options: Any) -> Any:
            if isinstance(request, ProduceRequest):
                await client.ready(node_id)  # a connection may take long; nothing is awaited after the question
                self.app.before_write()  # type: ignore[attr-defined]  # a RuntimeApp
            return await send(node_id, request, **options)

        client.send = asking

    @property
    def client(self) -> AIOKafkaProducer:
        """The started aiokafka producer."""
        if self._producer is None:
            raise DependencyError("the producer is not started")
        return self._producer


class Ack(NamedTuple):
    """Where records of one partition came to stand, next to each other."""

    topic: str
    offset: int
    records: int


async def send_records(producer: AIOKafkaProducer, records: Iterable[OutRecord]) -> list[Ack]:
    """Send the records, in order per partition, and return where they stand when every one is acknowledged.

    Raises the broker's error when any of them failed; the others may then have been written.
    """
    by_partition: dict[tuple[str, int], list[OutRecord]] = {}
    for record in records:
        by_partition.setdefault((record.topic, record.partition), []).append(record)
    if not by_partition:
        return []
    sent = await asyncio.gather(*(_send_partition(producer, *tp, group) for tp, group in by_partition.items()))
    return [ack for acks in sent for ack in acks]


async def _send_partition(
    producer: AIOKafkaProducer, topic: str, partition: int, records: list[OutRecord]
) -> list[Ack]:
    batches = pack(producer.create_batch, records)
    counts = [batch.record_count() for batch in batches]
    acks = [await producer.send_batch(batch, topic, partition=partition) for batch in batches]
    return [Ack(topic, (await ack).offset, count) for ack, count in zip(acks, counts, strict=True)]


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
