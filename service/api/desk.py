"""The API's way to the topic of actions: opened at the first action, and anew after brokers failed.

Reading does not need the brokers, so the API starts and answers without them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from typing import TypeAlias

from service.commands import Desk
from service.errors import DependencyError

OpenDesk: TypeAlias = Callable[[], AbstractAsyncContextManager[Desk]]


class DeskKeeper:
    """Keeps one desk open for all requests."""

    def __init__(self, open_desk: OpenDesk) -> None:
        self._open_desk = open_desk
        self._opening = asyncio.Lock()
        self._opened: tuple[Desk, AsyncExitStack] | None = None

    @asynccontextmanager
    async def desk(self) -> AsyncIterator[Desk]:
        """Give the desk; after a DependencyError of its use the next request gets a new one."""
        async with self._opening:
            if self._opened is None:
                stack = AsyncExitStack()
                self._opened = await stack.enter_async_context(self._open_desk()), stack
            desk, _ = self._opened
        try:
            yield desk
        except DependencyError:
            await self._close(desk)
            raise

    async def close(self) -> None:
        """Close what is open."""
        if self._opened is not None:
            await self._close(self._opened[0])

    async def _close(self, desk: Desk) -> None:
        """Close this desk, if it is still the one that is open; that it fails once more says nothing new."""
        if self._opened is not None and self._opened[0] is desk:
            _, stack = self._opened
            self._opened = None
            with suppress(DependencyError):
                await stack.aclose()
