"""What is asked about a partition that a rebalance has just taken away is answered, and ends nobody."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from aiokafka import AIOKafkaConsumer
from faust.types import TP

from agents.runtime.app import RuntimeApp, RuntimeOptions
from agents.runtime.transport import BatchConsumer
from tests.agents.test_table import CountHooks


def test_a_partition_that_is_not_assigned_any_more_is_unread() -> None:
    """The client refuses to tell its end; the worker, which asks between two rebalances, goes on."""

    async def ask() -> str:
        app = RuntimeApp(RuntimeOptions("test", "127.0.0.1:1", "changelog", 1.0, 10, 6.0), CountHooks())
        consumer = cast("BatchConsumer", app.consumer)
        thread: Any = consumer._thread
        thread._consumer = client = AIOKafkaConsumer()  # with nothing assigned
        try:
            return consumer.reading_state(TP("events", 3))
        finally:
            await client.stop()
            thread.thread_loop.close()

    assert asyncio.run(ask()) == "unread"
