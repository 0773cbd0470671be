"""Opens and closes a consumer without a group, here and nowhere else: nothing is committed, so it disturbs nobody.

aiokafka's stop raises the cancellation of its own tasks when they have not begun, which is the case when nothing was
awaited since its start. Nobody asked for that CancelledError, and it would end a command without a word.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer

from service.adapters.clients import client_options, stop_consumer


@asynccontextmanager
async def open_consumer(bootstrap: str, **options: Any) -> AsyncIterator[Any]:
    """Open a consumer without a group and close it, also right away; the client's errors are left as they are."""
    consumer = AIOKafkaConsumer(**client_options(bootstrap), enable_auto_commit=False, **options)
    try:
        await consumer.start()
        await asyncio.sleep(0)  # its tasks begin
        yield consumer
    finally:
        await stop_consumer(consumer)
