"""What all clients of Kafka share: how long an answer may take, how partitions are named, and their errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeAlias

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaConnectionError, KafkaError

from service.errors import DependencyError

REQUEST_TIMEOUT_MS = 10_000

Partition: TypeAlias = tuple[str, int]
"""A topic's name and a partition number."""


async def stop_consumer(consumer: AIOKafkaConsumer) -> None:
    """Stop a consumer, whatever its fetches are at; raises the client's own errors only."""
    await end_fetches(consumer)
    await consumer.stop()


async def end_fetches(consumer: AIOKafkaConsumer) -> None:
    """End what a consumer fetches, before it is stopped.

    aiokafka's stop raises the cancellation of a fetch that waits after brokers did not answer. Nobody asked for that
    CancelledError; it would end its caller without a word, and leave the client open.
    """
    fetcher = consumer._fetcher  # noqa: SLF001 - nothing public ends them
    if fetcher is not None:
        fetches = [fetcher._fetch_task, *fetcher._pending_tasks]  # noqa: SLF001
        for task in fetches:
            task.cancel()
        await asyncio.gather(*fetches, return_exceptions=True)
        fetcher._pending_tasks.clear()  # noqa: SLF001


@asynccontextmanager
async def errors_named(bootstrap: str) -> AsyncIterator[None]:
    """Turn errors of the client into a DependencyError that names the cluster."""
    try:
        yield
    except KafkaConnectionError as error:
        raise DependencyError(
            f"no Kafka answers at {bootstrap}: correct VITALS_BROKER, or see `vitals kafka status` for the embedded one"
        ) from error
    except (KafkaError, OSError, TimeoutError) as error:
        reason = str(error) or type(error).__name__
        raise DependencyError(f"Kafka at {bootstrap} failed: {reason}; see its log") from error
