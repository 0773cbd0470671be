"""A loopback TCP proxy in front of every broker, whose links can be cut, delayed, throttled and chopped.

Clients know the brokers by the proxies' ports (`cluster` advertises them), brokers know each other directly, so a cut
separates workers from brokers and never brokers from each other. It runs in a thread of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass

CHUNK_BYTES = 64 * 1024


@dataclass
class Weather:
    """What a link does to what passes it."""

    cut: bool = False
    """Nothing passes, and connections stay open, as when a cable is pulled."""
    reset: bool = False
    """Connections are refused and broken."""
    delay_seconds: float = 0.0
    jitter_seconds: float = 0.0
    """The delay differs by so much, both ways."""
    bytes_per_second: float = 0.0
    """0: as fast as it goes."""
    slice_bytes: int = CHUNK_BYTES


class Link:
    """One proxied port."""

    def __init__(self, port: int, target: int) -> None:
        self.port = port
        self.target = target
        self.weather = Weather()
        self.passed_bytes = 0
        self._open: set[asyncio.StreamWriter] = set()

    async def serve(self) -> asyncio.Server:
        """Listen."""
        return await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self.weather.reset:
                raise ConnectionResetError
            there, back = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:  # a client must learn as fast as from a dead broker itself that nobody is there
            writer.transport.abort()
            return
        self._open |= {writer, back}
        try:
            pumps = [asyncio.ensure_future(self._pump(reader, back)), asyncio.ensure_future(self._pump(there, writer))]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in pumps:
                pump.cancel()
        finally:
            for end in (writer, back):
                self._open.discard(end)
                end.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(self.weather.slice_bytes):
                await self._hold_up(len(data))
                self.passed_bytes += len(data)
                writer.write(data)
                await writer.drain()

    async def _hold_up(self, size: int) -> None:
        if self.weather.delay_seconds:
            jitter = self.weather.jitter_seconds
            await asyncio.sleep(self.weather.delay_seconds + random.uniform(-jitter, jitter))
        if self.weather.bytes_per_second:
            await asyncio.sleep(size / self.weather.bytes_per_second)
        while self.weather.cut:  # noqa: ASYNC110 - rare, and the weather is set from another thread
            await asyncio.sleep(0.05)

    def break_all(self) -> None:
        """Close every connection that is open now."""
        for writer in list(self._open):
            writer.transport.abort()


class Proxies:
    """All links of a cluster, in one thread."""

    def __init__(self, ports: Sequence[tuple[int, int]]) -> None:
        """Take (own port, broker's port) of each link."""
        self.links = [Link(*pair) for pair in ports]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True)
        self._servers: list[asyncio.Server] = []

    def start(self) -> None:
        """Listen on all ports."""
        self._thread.start()
        for link in self.links:
            self._servers.append(asyncio.run_coroutine_threadsafe(link.serve(), self._loop).result(10))

    def stop(self) -> None:
        """Break every connection and end the thread."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _end(self) -> None:
        for server in self._servers:
            server.close()
        for link in self.links:
            link.break_all()
        await asyncio.sleep(0.1)  # until the pumps have seen it

    def set(self, weather: Weather, number: int) -> None:
        """Set the weather of a link; `reset` also breaks what is open."""
        link = self.links[number]
        link.weather = weather
        if weather.reset:
            self._loop.call_soon_threadsafe(link.break_all)
