"""One write for an answer: nothing is lost, reordered or kept back by putting parts together."""

from __future__ import annotations

import asyncio
import re
import socket
import uuid

import pytest

from service.api.http import together
from service.api.requests_seen import RequestsSeen
from tests.service.api_kit import serving
from tests.service.copy_kit import score


class Recorder(asyncio.Transport):
    """A transport that notes what is done with it."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self.done: list[bytes | str] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Note a write."""
        self.done.append(bytes(data))

    def close(self) -> None:
        """Note the end."""
        self.done.append("closed")


def test_parts_of_one_turn_are_one_write() -> None:
    """What a later turn writes is another; both come in order, and nothing of a turn waits for a later one."""

    async def run() -> Recorder:
        inner = Recorder()
        transport = together(inner, asyncio.get_running_loop())
        assert transport.get_extra_info("peername") == ("127.0.0.1", 1)
        transport.write(b"head ")
        transport.write(b"body")
        assert inner.done == []
        await asyncio.sleep(0)
        assert inner.done == [b"head body"]
        transport.write(b"more")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return inner

    assert asyncio.run(run()).done == [b"head body", b"more"]


def test_closing_writes_what_waits() -> None:
    """The end never overtakes an answer, and nothing is written after it."""

    async def run() -> Recorder:
        inner = Recorder()
        transport = together(inner, asyncio.get_running_loop())
        transport.write(b"last ")
        transport.write(b"words")
        transport.close()
        await asyncio.sleep(0)
        return inner

    assert asyncio.run(run()).done == [b"last words", "closed"]


@pytest.mark.parametrize("size", [1, 1_000])
def test_questions_sent_at_once_are_answered_in_order(redis_url: str, size: int) -> None:
    """Several in one piece, or cut anywhere: each has its whole answer, the last one ends the connection."""
    paths = ["/livez", "/v1/nothing", "/livez"]
    ends = ["", "", "Connection: close\r\n"]
    asked = "".join(
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{end}\r\n" for path, end in zip(paths, ends, strict=True)
    )
    with serving(redis_url, f"t{uuid.uuid4().hex[:8]}:") as served:
        host, _, port = served.url.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            for first in range(0, len(asked), size):
                connection.sendall(asked[first : first + size].encode())
            told = b""
            while piece := connection.recv(65_536):
                told += piece
    assert re.findall(rb"HTTP/1\.1 (\d+)", told) == [b"200", b"404", b"200"]
    assert told.endswith(b'{"live":true}')


def test_the_route_that_is_asked_most_is_like_any_other(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who counts is told its template, never an account, and methods that the document does not have are refused."""
    noted: list[tuple[str, str, int]] = []
    monkeypatch.setattr(RequestsSeen, "note", lambda _, *request: noted.append(request[:3]))
    asked = [("GET", "acme", 200), ("GET", "nobody", 404), ("HEAD", "acme", 405), ("POST", "acme", 405)]
    with serving(redis_url, f"t{uuid.uuid4().hex[:8]}:") as served, served.client() as client:
        served.change(lambda copy: copy.scores(score("acme", 1)))
        for method, account, status in asked:
            answer = client.request(method, f"/v1/accounts/{account}")
            assert (answer.status_code, answer.headers.get("allow", "GET")) == (status, "GET")
    assert noted == [("/v1/accounts/{account}", method, status) for method, _, status in asked]
