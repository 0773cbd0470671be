"""The thread of the brokers' client: it serves until it is stopped, whatever else ends, and then leaves quietly."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaConnectionError, NodeNotReadyError

from agents.runtime.app import RuntimeApp, RuntimeOptions
from service.errors import TopicError
from tests.agents.test_table import CountHooks

# The thread looks around every second, so a crash is known to it after that.
NOTICED_SECONDS = 2.0
ANSWER_SECONDS = 20.0


class LeftClient(AIOKafkaConsumer):  # type: ignore[misc]  # aiokafka ships no annotations
    """A client whose brokers are gone when it wants to leave its group."""

    async def stop(self) -> None:
        """Fail as the real one does."""
        await super().stop()
        raise NodeNotReadyError("coordinator")


def make_thread(*, can_start: bool = True) -> Any:
    """Make the consumer's thread of an app, with a client that never connects."""
    app = RuntimeApp(RuntimeOptions("test", "127.0.0.1:1", "changelog", 1.0, 10, 6.0), CountHooks())
    thread: Any = app.consumer._thread  # type: ignore[attr-defined]  # a BatchConsumer

    async def on_start() -> None:
        if not can_start:
            raise KafkaConnectionError("no broker")
        thread._consumer = LeftClient()

    thread.on_start = on_start
    return thread


def test_the_last_commit_and_a_rebalance_find_the_thread_after_a_crash(capfd: pytest.CaptureFixture[str]) -> None:
    """What ends the app does not end the thread, or the commit of what is applied would wait for it for ever."""

    async def answer() -> str:
        return "done"

    async def crash_then_stop() -> list[Any]:
        thread = make_thread()
        calls = thread.app.consumer._method_queue
        await calls.start()
        await thread.start()
        thread.app.consumer._crash(TopicError("too many dead letters"))
        await asyncio.sleep(NOTICED_SECONDS)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                commit = await thread.call_thread(answer)
                revoke = await (await calls.call(asyncio.get_running_loop().create_future(), answer))
                return [commit, revoke]
        finally:
            await thread.stop()
            await calls.stop()

    assert asyncio.run(crash_then_stop()) == ["done", "done"]
    assert "Traceback" not in capfd.readouterr().err


def test_the_thread_serves_after_an_error_of_its_own() -> None:
    """A commit that the brokers refuse crashes the thread's service; what is left to do still goes through it."""

    async def answer() -> str:
        return "done"

    async def crash_then_stop() -> Any:
        thread = make_thread()
        await thread.start()
        thread._crash(TopicError("refused"))
        await asyncio.sleep(NOTICED_SECONDS)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await thread.call_thread(answer)
        finally:
            await thread.stop()

    assert asyncio.run(crash_then_stop()) == "done"


def test_a_thread_that_could_not_start_is_stopped_without_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    """Brokers that went away before the client began are told by the app; the thread prints nothing, and is gone."""

    async def start_then_stop() -> None:
        thread = make_thread(can_start=False)
        with suppress(KafkaConnectionError):  # when it ends before it is waited for, nobody is left to raise it to
            await thread.start()
        await asyncio.sleep(NOTICED_SECONDS)
        await thread.stop()
        assert not thread._thread.is_alive()
        assert [type(failure) for failure in thread.app.failures] == [KafkaConnectionError]

    asyncio.run(start_then_stop())
    assert "Traceback" not in capfd.readouterr().err
