"""What serves the page: a Redis, a projector and an API."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

from service.adapters.embedded_redis import EmbeddedRedis
from service.local.processes import Role

LOOK_SECONDS = 0.2


class Page:
    """What serves the page; whoever made the home ends its Redis."""

    def __init__(self, home: Path, port: int, variables: Mapping[str, str], *, api_keys: Path | None = None) -> None:
        self._port = port
        self._redis = EmbeddedRedis(home)
        keys = {} if api_keys is None else {"VITALS_API_KEYS": str(api_keys)}
        self._roles = [
            Role("projector", home, variables),
            Role("api", home, {**variables, **keys}, "--port", str(port)),
        ]

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self._port}/"

    async def start(self) -> None:
        """Start the processes; raises ConfigError or DependencyError when Redis cannot be."""
        self._redis.start()
        for role in self._roles:
            await role.start()

    async def run(self, ready: Callable[[], None]) -> None:
        """Tell when it can be opened, and raise RoleEndedError when a role ends."""
        ends = [asyncio.create_task(role.fail_at_end()) for role in self._roles]
        try:
            while not await _is_ready(self._port):
                _raise_first(ends)
                await asyncio.sleep(LOOK_SECONDS)
            ready()
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            _raise_first(ends)
        finally:
            for end in ends:
                end.cancel()

    async def stop(self, say: Callable[[str], None]) -> None:
        """Stop what was started, but for Redis."""
        await asyncio.gather(*(role.stop(say) for role in self._roles))


def _raise_first(ends: list[asyncio.Task[None]]) -> None:
    for end in ends:
        if end.done():
            end.result()


async def _is_ready(port: int) -> bool:
    """Ask whether there is something to show."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    try:
        writer.write(b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        return (await reader.readline()).split()[1:2] == [b"200"]
    except OSError:
        return False
    finally:
        writer.close()
