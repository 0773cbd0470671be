"""Asks an HTTP API over raw sockets that stay open, as cheaply as Python can: what asks shares the processors.

Two ways. As fast as answers come: every connection asks again when it was answered. By a plan: each question has its
instant before the run begins, so a slow answer delays no other question, and time counts from the plan.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, Final, cast

import uvloop

from benchmarks.worker_process import BenchmarkError

ANSWER_SECONDS_MAX: Final = 60.0
LENGTH: Final = b"content-length: "
END: Final = b"\r\n\r\n"
TOLD_MAX: Final = 500
SCORE: Final = b"\nevent: score\n"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a run took: every question's seconds, the whole run's, and the processor time of who asked."""

    taken: list[float]
    seconds: float
    cpu_seconds: float


def request(path: str, key: str) -> bytes:
    """Write a question."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n\r\n".encode()


def ask_in_turns(port: int, questions: Sequence[bytes], connections: int) -> Asked:
    """Ask as fast as answers come, over so many connections, in a process of its own."""
    return _in_own_process(port, questions, connections, None)


def ask_by_plan(port: int, questions: Sequence[bytes], connections: int, rate: int) -> Asked:
    """Ask so many a second, each at its instant, in a process of its own."""
    return _in_own_process(port, questions, connections, rate)


def _in_own_process(*arguments: Any) -> Asked:
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_ask_all, arguments)


def _ask_all(port: int, questions: Sequence[bytes], connections: int, rate: int | None) -> Asked:
    return uvloop.run(_ask(port, questions, connections, rate))


async def _ask(port: int, questions: Sequence[bytes], connections: int, rate: int | None) -> Asked:
    run = _Run(questions)
    loop = asyncio.get_running_loop()
    opened = [await loop.create_connection(lambda: _Connection(run), "127.0.0.1", port) for _ in range(connections)]
    begin, cpu = time.perf_counter(), time.process_time()
    if rate is None:
        run.due(begin, len(questions))
    else:
        for number in range(len(questions)):
            loop.call_later(number / rate, run.due, begin + number / rate, 1)
    try:
        await asyncio.wait_for(run.done, ANSWER_SECONDS_MAX)
    except TimeoutError:
        raise BenchmarkError(f"{run.left} of {len(questions)} questions have no answer") from None
    seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    for transport, _ in opened:
        transport.close()
    return Asked(run.taken, seconds, cpu)


class _Run:
    """The questions that are left, and the connections that are free to ask them."""

    def __init__(self, questions: Sequence[bytes]) -> None:
        self._questions = iter(questions)
        self._waiting: deque[float] = deque()  # since when, for each question that is due
        self._in_turns = 0
        self._free: deque[_Connection] = deque()
        self.left = len(questions)
        self.taken: list[float] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def due(self, at: float, count: int) -> None:
        """Ask as soon as a connection is free; many at once are timed from their own begin."""
        if count > 1:
            self._in_turns = count
        else:
            self._waiting.append(at)
        while self._free and (self._waiting or self._in_turns):
            self._ask(self._free.popleft())

    def free(self, connection: _Connection) -> None:
        """Take a connection that has nothing to do."""
        if self._waiting or self._in_turns:
            self._ask(connection)
        else:
            self._free.append(connection)

    def _ask(self, connection: _Connection) -> None:
        if self._waiting:
            since = self._waiting.popleft()
        else:
            self._in_turns -= 1
            since = time.perf_counter()
        connection.ask(next(self._questions), since)

    def answered(self, seconds: float) -> None:
        """Count an answer."""
        self.taken.append(seconds)
        self.left -= 1
        if not self.left and not self.done.done():
            self.done.set_result(None)

    def failed(self, why: str) -> None:
        """End the run."""
        if not self.done.done():
            self.done.set_exception(BenchmarkError(why))


class _Connection(asyncio.Protocol):
    """One connection with one question at a time."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._transport: asyncio.Transport
        self._parts = b""
        self._size = 0
        self._since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be ready to ask."""
        self._transport = cast("asyncio.Transport", transport)
        self._run.free(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the run if it goes on."""
        self._run.failed(f"the API closed a connection: {exc}")

    def ask(self, question: bytes, since: float) -> None:
        """Send a question; time counts from an instant."""
        self._since, self._parts, self._size = since, b"", 0
        self._transport.write(question)

    def data_received(self, data: bytes) -> None:
        """Gather an answer, and go on when it is whole."""
        self._parts = parts = self._parts + data if self._parts else data
        if not self._size:
            head = parts.find(END)
            if head < 0:
                return
            if not parts.startswith(b"HTTP/1.1 200"):
                self._run.failed(parts[:TOLD_MAX].decode(errors="replace"))
                return
            at = parts.index(LENGTH) + len(LENGTH)
            self._size = head + len(END) + int(parts[at : parts.index(b"\r", at)])
        if len(parts) >= self._size:
            self._run.answered(time.perf_counter() - self._since)
            self._run.free(self)


class Follower(asyncio.Protocol):
    """One open stream that counts what it is told of scores."""

    def __init__(self, question: bytes) -> None:
        self._question = question
        self._transport: asyncio.Transport
        self._tail = b""
        self.is_open = False
        self.refusal = ""
        self.scores = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the stream."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._question)

    def data_received(self, data: bytes) -> None:
        """Count, also what stands across two pieces."""
        if not self.is_open and not data.startswith(b"HTTP/1.1 200"):
            self.refusal = self.refusal or data[:TOLD_MAX].decode(errors="replace")
            return
        self.is_open = True
        seen = self._tail + data
        self.scores += seen.count(SCORE)
        self._tail = seen[1 - len(SCORE) :]

    def close(self) -> None:
        """Leave."""
        self._transport.close()
