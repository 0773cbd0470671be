"""Writes the copy. Every batch names the epoch and the offsets it believes in; the scripts refuse it when they differ.

So a Redis that was wiped, or that fell back to a replica which was behind, is noticed by the first write after it, and
a writer that was overtaken changes nothing: a score is only ever replaced by one with a greater `seq`, a stored state
by one with a higher revision.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Final, Literal

from service.account_copy.layout import FORMAT, Keys, script
from service.account_copy.rows import Item
from service.adapters.redis_client import RedisClient

BATCH_MAX: Final = 100  # items in one call of a script: Redis serves nobody else meanwhile
SWEEP_SLICE: Final = 1_000
EPOCH_LENGTH: Final = 8
AT_END: Final = 0

Kind = Literal["scores", "alerts", "states", "actions"]


class CopyLost(Exception):  # noqa: N818 - it tells what happened, and is always caught
    """The copy is not what the writer believes; it must look at it again."""


class CopyWriter:
    """Writes one copy, found or begun by `begin`."""

    def __init__(self, client: RedisClient, base: str) -> None:
        self._client = client
        self._base = base
        self._scripts = {
            name: client.register_script(script(name))
            for name in ("begin", "apply_scores", "apply_alerts", "apply_states", "apply_actions", "beat")
        }
        self.keys = Keys(base, "")

    async def begin(self, partitions: int, *, instead_of: str = "") -> bool:
        """Find the copy, or begin an empty one; True when it is another than before. `instead_of` ends an epoch."""
        before = self.keys.epoch
        arguments = [uuid.uuid4().hex[:EPOCH_LENGTH], FORMAT, partitions, instead_of]
        epoch = (await self._scripts["begin"](keys=[self._base], args=arguments)).decode()
        self.keys = Keys(self._base, epoch)
        return bool(epoch != before)

    async def offsets(self, starts: Mapping[str, int]) -> dict[str, int]:
        """Return the next offset of each place; one that the copy does not know begins at its start."""
        key = self.keys.of("offsets")
        async with self._client.pipeline(transaction=True) as pipe:
            for place, start in starts.items():
                pipe.hsetnx(key, place, start)
            pipe.hmget(key, list(starts))
            *_, found = await pipe.execute()
        return {place: int(offset) for place, offset in zip(starts, found, strict=True)}

    async def apply(self, kind: Kind, place: str, start: int, end: int, items: Sequence[Item]) -> int:
        """Apply what was read of a place from `start` to before `end`; return how many changed the copy.

        Raises CopyLost when the copy is another than this writer believes.
        """
        applied = self._scripts["apply_" + kind]
        changed = 0
        for first in range(0, len(items) or 1, BATCH_MAX):
            # Only the last slice moves the offset: what comes before it is applied again if that is lost.
            head = [self.keys.epoch, place, start, end if first + BATCH_MAX >= len(items) else start]
            texts = [text for item in items[first : first + BATCH_MAX] for text in item[:2]]
            answer = await applied(keys=[self._base], args=head + texts)
            if isinstance(answer, bytes):
                raise CopyLost(answer.decode())
            changed += answer
        return changed

    async def beat(self, applied_ms: Mapping[str, int], model_version: str) -> bool:
        """Note up to when each place is applied; True when all are up to date. Raises CopyLost.

        A time is that of the place's last applied record, or AT_END when there is nothing after it.
        """
        pairs = [part for place, time_ms in applied_ms.items() for part in (place, time_ms)]
        answer = await self._scripts["beat"](keys=[self._base], args=[self.keys.epoch, model_version, *pairs])
        if answer == b"epoch":
            raise CopyLost("epoch")
        return bool(answer == b"1")

    async def sweep(self) -> int:
        """Remove what earlier epochs left, in slices; return how many keys."""
        ours = self.keys.of("").encode()
        old_epoch = re.compile(re.escape(self._base.encode()) + rb"[0-9a-f]{%d}:" % EPOCH_LENGTH)
        pattern = _literal(self._base) + "?" * EPOCH_LENGTH + ":*"
        removed, cursor = 0, 0
        while True:
            cursor, found = await self._client.scan(cursor, match=pattern, count=SWEEP_SLICE)
            old = [key for key in found if old_epoch.match(key) and not key.startswith(ours)]
            removed += await self._client.unlink(*old) if old else 0
            if cursor == 0:
                return removed


def _literal(prefix: str) -> str:
    """Write a prefix so that SCAN takes every character for itself."""
    return "".join(f"\\{char}" if char in "*?[]\\^-" else char for char in prefix)
