"""How late the event loop wakes: what blocks it is felt by everything else in the process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Final

from service.metrics.buckets import Buckets
from service.metrics.catalogue import LOOP_LAG
from service.metrics.exposition import Sample

ASK_SECONDS: Final = 0.5


class LoopLag:
    """Asks twice a second."""

    def __init__(self) -> None:
        self._late = Buckets(LOOP_LAG.bounds)

    async def watch_forever(self) -> None:
        """Sleep, and count by how much it was too long, for ever."""
        now_seconds = asyncio.get_running_loop().time
        while True:
            until = now_seconds() + ASK_SECONDS
            await asyncio.sleep(ASK_SECONDS)
            self._late.add(now_seconds() - until)

    def samples(self) -> Iterator[Sample]:
        """Give what was counted."""
        yield Sample(LOOP_LAG, self._late)
