"""What all clients of Kafka share: how long an answer may take, how partitions are named, and their errors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeAlias

from aiokafka.errors import KafkaConnectionError, KafkaError

from service.errors import DependencyError

REQUEST_TIMEOUT_MS = 10_000

Partition: TypeAlias = tuple[str, int]
"""A topic's name and a partition number."""


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
