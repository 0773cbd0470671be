"""What a recovery does when it is overtaken, and when nobody answers it: it never ends for good."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
from aiokafka.structs import ConsumerRecord
from faust.tables.recovery import RebalanceAgain
from faust.types import TP

from agents.runtime.app import RuntimeApp, RuntimeOptions
from agents.runtime.batch import RecordBatch
from agents.runtime.recovery import ChunkedRecovery
from agents.runtime.table import Partition
from agents.runtime.transport import BatchConsumer
from service.errors import DependencyError
from tests.agents.test_table import CountHooks

OPTIONS = RuntimeOptions("test", "127.0.0.1:1", "changelog", 1.0, 10, 6.0)


def with_recovery(check: Callable[[ChunkedRecovery], Awaitable[None]]) -> None:
    """Make an app that never starts, and check its recovery."""

    async def run() -> None:
        app = RuntimeApp(OPTIONS, CountHooks())
        try:
            await check(cast("Any", app.tables).recovery)
        finally:
            cast("Any", app.consumer)._thread.thread_loop.close()

    asyncio.run(run())


def test_a_revoke_ends_a_recovery_that_waits() -> None:
    """What was assigned is another worker's now, though nothing is assigned anew yet."""

    async def check(recovery: ChunkedRecovery) -> None:
        waiting = asyncio.ensure_future(recovery._wait(asyncio.Event().wait()))
        await asyncio.sleep(0.01)
        recovery.on_partitions_revoked(set())
        with pytest.raises(RebalanceAgain):
            await waiting
        with pytest.raises(RebalanceAgain):
            await recovery._wait(asyncio.sleep(0))
        await recovery.on_rebalance(set(), set(), set(), generation_id=-1)
        await recovery._wait(asyncio.sleep(0))

    with_recovery(check)


def test_no_answer_is_no_stop() -> None:
    """A wait that takes too long raises TimeoutError, not what ends the recovery service."""

    async def check(recovery: ChunkedRecovery) -> None:
        with pytest.raises(TimeoutError):
            await recovery._wait(asyncio.Event().wait(), timeout=0.01)

    with_recovery(check)


@pytest.mark.parametrize("error", [TimeoutError(), DependencyError("no Kafka answers")])
def test_a_recovery_that_nobody_answers_begins_again(error: Exception) -> None:
    """Until the brokers answer, and without an assignment in between."""

    async def check(recovery: ChunkedRecovery) -> None:
        tries = 0
        done = asyncio.Event()

        async def recover(_: int) -> None:
            nonlocal tries
            tries += 1
            if tries == 1:
                raise error
            done.set()

        cast("Any", recovery)._recover = recover
        recovery.signal_recovery_start.set()
        task = asyncio.ensure_future(ChunkedRecovery._restart_recovery.fun(recovery))
        async with asyncio.timeout(10):
            await done.wait()
        task.cancel()

    with_recovery(check)


def test_what_was_delivered_goes_with_its_state() -> None:
    """A batch of a state that was let go of commits nothing, though its agent still finishes it."""

    async def check(recovery: ChunkedRecovery) -> None:
        consumer = cast("BatchConsumer", recovery.app.consumer)
        tp = TP("events", 0)
        batch = RecordBatch(
            tp, [ConsumerRecord("events", 0, 5, 0, 1, b"acme", b"{}", None, 4, 2, ())], Partition(0, CountHooks())
        )
        consumer._delivered[tp] = deque([batch])
        consumer.forget_partitions()
        batch.ack()
        assert consumer.take_offsets() == {}

    with_recovery(check)


def test_every_session_timeout_that_is_allowed_makes_a_client() -> None:
    """The client waits for an answer longer than the group waits for a silent member."""

    async def run() -> None:
        app = RuntimeApp(dataclasses.replace(OPTIONS, session_timeout_seconds=300.0), CountHooks())
        thread = cast("Any", app.consumer)._thread
        try:
            await thread._create_consumer(asyncio.get_running_loop()).stop()
        finally:
            thread.thread_loop.close()

    asyncio.run(run())
