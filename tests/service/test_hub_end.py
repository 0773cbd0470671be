"""The reader of the stream ends when it is told to, also when the client of Redis loses that word."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, NoReturn, cast

from service.account_copy.reader import NoCopy
from service.api.hub import Hub


class Deaf:
    """A reader whose first question takes the cancellation for an answer."""

    def __init__(self) -> None:
        self._deaf = True

    async def state(self) -> NoReturn:
        """Wait, and say that there is no copy."""
        if self._deaf:
            self._deaf = False
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(60)
        raise NoCopy


def test_a_cancellation_that_was_swallowed_still_ends_it() -> None:
    """The API stops within moments instead of following for ever."""

    async def run() -> bool:
        following = asyncio.create_task(Hub(cast("Any", Deaf())).run())
        await asyncio.sleep(0.01)
        following.cancel()
        await asyncio.wait([following], timeout=5)
        return following.done()

    assert asyncio.run(run())
