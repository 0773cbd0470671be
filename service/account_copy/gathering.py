"""Questions that are asked while Redis answers others go to it together: a round trip costs more than what it carries.

One round trip is under way at a time, so a lone question waits for nobody, and of many each pays a share.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from service.adapters.redis_client import REDIS_FAILURES, RedisClient

TOGETHER_MAX: Final = 100  # questions of one round trip

Command: TypeAlias = tuple[str | int, ...]


class Gathering:
    """Asks Redis for whoever needs an answer now."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client
        self._waiting: list[tuple[Sequence[Command], asyncio.Future[list[Any]]]] = []
        self._asking: asyncio.Task[None] | None = None

    async def ask(self, *commands: Command) -> list[Any]:
        """Return the answers to commands that only read; raises what Redis fails with."""
        answer: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append((commands, answer))
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask_all())
        return await answer

    async def _ask_all(self) -> None:
        try:
            while self._waiting:
                questions, self._waiting = self._waiting[:TOGETHER_MAX], self._waiting[TOGETHER_MAX:]
                await self._ask_together(questions)
        finally:
            self._asking = None

    async def _ask_together(self, questions: Sequence[tuple[Sequence[Command], asyncio.Future[list[Any]]]]) -> None:
        try:
            async with self._client.pipeline(transaction=False) as pipe:
                for commands, _ in questions:
                    for command in commands:
                        pipe.execute_command(*command)
                answers = iter(await pipe.execute())
        except (*REDIS_FAILURES, asyncio.CancelledError) as error:
            for _, waiting in questions:
                if not waiting.done():
                    waiting.set_exception(error)
            return
        for commands, waiting in questions:
            found = [next(answers) for _ in commands]
            if not waiting.done():  # whoever asked may be gone
                waiting.set_result(found)
