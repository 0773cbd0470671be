"""Questions that are asked while Redis answers others go to it together: a round trip costs more than what it carries.

They go as one call of a script, because the client takes longer to read an answer to a command than Redis to make it.
One call is under way at a time, so a lone question waits for nobody, and of many each pays a share.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import msgspec

from service.adapters.redis_client import REDIS_FAILURES, RedisClient

TOGETHER_MAX: Final = 100  # questions of one call: Redis serves nobody else meanwhile

Command: TypeAlias = tuple[str | int, ...]

_write = msgspec.msgpack.Encoder().encode
_READ: Final = """
local answers = {}
for number, command in ipairs(cmsgpack.unpack(ARGV[1])) do answers[number] = redis.call(unpack(command)) end
return answers
"""


class Gathering:
    """Asks Redis for whoever needs an answer now."""

    def __init__(self, client: RedisClient) -> None:
        self._read = client.register_script(_READ)
        self._waiting: list[tuple[Sequence[Command], asyncio.Future[list[Any]]]] = []
        self._asking: asyncio.Task[None] | None = None

    async def ask(self, *commands: Command) -> list[Any]:
        """Return the answers to commands that only read, as scripts get them; raises what Redis fails with."""
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
        asked = _write([command for commands, _ in questions for command in commands])
        try:
            answers = iter(await self._read(args=[asked]))
        except (*REDIS_FAILURES, asyncio.CancelledError) as error:
            for _, waiting in questions:
                if not waiting.done():
                    waiting.set_exception(error)
            return
        for commands, waiting in questions:
            found = [next(answers) for _ in commands]
            if not waiting.done():  # whoever asked may be gone
                waiting.set_result(found)
