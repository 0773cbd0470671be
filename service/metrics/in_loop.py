"""Reading what belongs to an event loop from the thread that serves metrics and probes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

READ_SECONDS_MAX: Final = 5.0

Read = TypeVar("Read")


def read_in_loop(loop: asyncio.AbstractEventLoop, read: Callable[[], Read]) -> Read:
    """Return what `read` gives when the loop gets to it; raises TimeoutError when it does not."""

    async def reading_in_loop() -> Read:
        return read()

    reading = asyncio.run_coroutine_threadsafe(reading_in_loop(), loop)
    try:
        return reading.result(READ_SECONDS_MAX)
    finally:
        reading.cancel()  # of a loop that stands still, not each scrape may leave one behind
