"""HTTP as uvicorn speaks it, with one write for an answer: the head and the body by themselves would be two.

Each write is a call of the system and wakes whoever reads; together they took a fifth of what reading an account takes.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class _Together:
    """A transport that writes what one turn of the event loop wants written when that turn is over."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write a part soon."""
        if not self._parts:
            self._loop.call_soon(self._write_all)
        self._parts.append(data)

    def close(self) -> None:
        """Close when everything is written."""
        self._write_all()
        self._transport.close()

    def _write_all(self) -> None:
        if self._parts:
            parts, self._parts = self._parts, []
            self._transport.write(b"".join(parts))


def together(transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> asyncio.Transport:
    """Put a transport's writes together."""
    return cast("asyncio.Transport", _Together(transport, loop))


class Http(HttpToolsProtocol):
    """One connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Serve a connection."""
        super().connection_made(together(transport, self.loop))
