"""What asks the API in benchmarks: a figure must be what was measured, and an answer that is none must be noticed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest

from benchmarks.asking import Follower, ask_by_plan, ask_in_turns, request
from benchmarks.worker_process import BenchmarkError

BODY: Final = b"x" * 50_000
ANSWER: Final = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(BODY), BODY)
REFUSAL: Final = b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\nno"


class Slow:
    """A server that answers one question after the other, each after some seconds, in two pieces."""

    def __init__(self, seconds: float, answer: bytes) -> None:
        self._seconds = seconds
        self._answer = answer
        self._turn = asyncio.Lock()
        self.asked: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection until it is closed."""
        try:
            while question := await reader.readuntil(b"\r\n\r\n"):
                self.asked.append(question)
                async with self._turn:
                    await asyncio.sleep(self._seconds)
                writer.write(self._answer[:60])
                await asyncio.sleep(0.001)
                writer.write(self._answer[60:])
        except asyncio.IncompleteReadError:
            writer.close()


@contextmanager
def slow_server(seconds: float, answer: bytes = ANSWER) -> Iterator[tuple[int, Slow]]:
    """Run it on a free port, in a thread."""
    loop = asyncio.new_event_loop()
    slow = Slow(seconds, answer)
    server = loop.run_until_complete(asyncio.start_server(slow.serve, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1], slow
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        loop.run_until_complete(asyncio.sleep(0))
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


def test_in_turns_each_question_is_asked_once_and_timed_by_itself() -> None:
    """With one connection nothing waits for another question, and the run takes as long as all of them."""
    with slow_server(0.02) as (port, slow):
        asked = ask_in_turns(port, [request(f"/{number}", "key") for number in range(10)], 1)
    assert [question.split()[1] for question in slow.asked] == [b"/%d" % number for number in range(10)]
    assert len(asked.taken) == 10
    assert all(seconds >= 0.02 for seconds in asked.taken)
    assert asked.seconds == pytest.approx(sum(asked.taken), rel=0.2)
    assert 0 < asked.cpu_seconds < asked.seconds


def test_by_plan_time_counts_from_the_plan() -> None:
    """A server that takes 20 ms for each of 100 a second is told to be later and later, however many connections."""
    with slow_server(0.02) as (port, _):
        asked = ask_by_plan(port, [request("/", "key")] * 40, 4, 100)
    assert asked.taken[-1] > 0.3
    assert asked.taken[0] < 0.2
    assert asked.seconds > 0.7


def test_an_answer_that_is_an_error_ends_the_run() -> None:
    """No figure is made of refusals."""
    with slow_server(0, REFUSAL) as (port, _), pytest.raises(BenchmarkError, match="401"):
        ask_in_turns(port, [request("/", "key")] * 5, 1)


def test_a_follower_counts_scores_across_pieces() -> None:
    """However the stream is cut, each score counts once; other events do not."""
    stream = b"HTTP/1.1 200 OK\r\n\r\n" + b"id: 1\nevent: score\ndata: {}\n\nid: 2\nevent: alert\ndata: {}\n\n" * 5
    for size in (1, 7, 1_000):
        follower = Follower(b"")
        follower.data_received(stream[:20])
        for first in range(20, len(stream), size):
            follower.data_received(stream[first : first + size])
        assert (follower.is_open, follower.scores) == (True, 5)


def test_a_key_goes_with_each_question() -> None:
    """As a product's service would send it."""
    with slow_server(0) as (port, slow):
        ask_in_turns(port, [request("/v1/accounts/a", "secret")], 1)
    assert b"Authorization: Bearer secret\r\n" in slow.asked[0]
