"""Produces the log of a run beside its faults, from a thread of its own, and knows what is acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterable
from typing import Any

from aiokafka import AIOKafkaProducer

from service.adapters.clients import Partition
from service.topic_catalogue import TopicNames
from tests.chaos.logs import LogRecord


class Producing(threading.Thread):
    """Produces a log beside the faults, in order, at a rate; every record is acknowledged at the end."""

    def __init__(self, bootstrap: str, topics: TopicNames, log: Iterable[LogRecord], rate: float) -> None:
        super().__init__(name="producing", daemon=True)
        self.rate = rate
        self.sent = 0
        self.acknowledged: dict[Partition, int] = {}
        """By partition the offset after the last acknowledged record."""
        self._brokers = bootstrap
        self._topics = topics
        self._log = log
        self._stop_asked = threading.Event()

    def run(self) -> None:
        """Produce everything."""
        asyncio.run(self._produce())

    def stop(self) -> None:
        """Produce no more."""
        self._stop_asked.set()
        if self.is_alive():
            self.join(30)

    async def _produce(self) -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._brokers,
            acks="all",
            enable_idempotence=True,
            linger_ms=5,
            request_timeout_ms=300_000,
            max_request_size=4 * 1024 * 1024,
        )
        await producer.start()
        try:
            began = time.monotonic()
            acks = []
            for record in self._log:
                if self._stop_asked.is_set():
                    break
                ahead = self.sent / self.rate - (time.monotonic() - began)
                if ahead > 0:
                    await asyncio.sleep(ahead)
                ack = await producer.send(
                    self._topics.input(record.kind),
                    record.value,
                    key=record.key,
                    partition=record.partition,
                    headers=list(record.headers),
                )
                ack.add_done_callback(self._note_acknowledged)
                acks.append(ack)
                self.sent += 1
            for ack in acks:
                await ack
        finally:
            with contextlib.suppress(Exception):
                await producer.stop()

    def _note_acknowledged(self, ack: asyncio.Future[Any]) -> None:
        if not ack.cancelled() and ack.exception() is None:
            told = ack.result()
            self.acknowledged[told.topic, told.partition] = told.offset + 1
