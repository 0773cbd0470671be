"""What the tests of the copy share: messages of any account, and a writer on a real Redis."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import orjson

from agents.runtime.table import EPOCH_SHIFT, FORMAT, HEADER
from agents.stored_account import read_stored_state
from schemas.times import time_text
from service.account_copy.rows import action_item, alert_item, read_row, score_item, state_item, unpack
from service.account_copy.writer import AT_END, CopyWriter
from service.account_topics import digest_key
from service.adapters.redis_client import RedisClient, open_redis
from service.scoring.state import AccountState
from service.scoring.state_codec import encode

GOLDEN = Path(__file__).resolve().parents[2] / "schemas" / "golden"
DAY_MS = 86_400_000
NOON_MS = 1_774_008_000_000  # 2026-03-20T12:00Z
DEPARTED_SECONDS = 1_000
PLACE = "health-scores:0"
ALERTS_PLACE = "health-alerts:0"
STATES_PLACE = "vitals-state-changelog:0"
ACTIONS_PLACE = "account-audit:0"

Result = TypeVar("Result")


def _example(name: str) -> dict[str, Any]:
    example: dict[str, Any] = orjson.loads((GOLDEN / f"{name}.v1.examples.json").read_bytes())[0]
    return example


SCORE, ALERT, TAKEN, ERASED = map(_example, ("score", "alert", "action_taken", "erasure_completed"))


def score(account: str, seq: int, *, time_ms: int = NOON_MS, **changes: Any) -> tuple[bytes, bytes]:
    """Make a score's key and value: the golden example with these fields."""
    data = {**SCORE["data"], "account": account, "seq": seq, "as_of": time_text(time_ms), **changes}
    return account.encode(), orjson.dumps({**SCORE, "subject": account, "data": data})


def alert(account: str, seq: int, *, time_ms: int = NOON_MS, **changes: Any) -> tuple[bytes, bytes]:
    """Make an alert's key and value in the same way."""
    data = {
        **ALERT["data"],
        "account": account,
        "seq": seq,
        "id": f"{account[:200]}:{seq}",
        "as_of": time_text(time_ms),
    }
    return account.encode(), orjson.dumps({**ALERT, "subject": account, "data": {**data, **changes}})


def taken(account: str, seq: int, action: str, *, time_ms: int = NOON_MS, **changes: Any) -> tuple[bytes, bytes]:
    """Make the key and value of what became of an action, applied unless a refusal is told."""
    as_of = time_text(time_ms)
    nothing = dict.fromkeys(("alert_seq", "alert_state", "until", "band", "reason", "sentiment", "note"))
    told = {"account": account, "seq": seq, "action": action, "acted_at": as_of, "as_of": as_of, "actor": "dana"}
    return account.encode(), orjson.dumps(
        {**TAKEN, "subject": account, "data": {**TAKEN["data"], **nothing, **told, **changes}}
    )


def erasure(account: str) -> tuple[bytes, bytes]:
    """Make the key and value of an account's completed erasure, which do not name it."""
    digest = digest_key(account)
    return digest, orjson.dumps({**ERASED, "data": {**ERASED["data"], "account_sha256": digest.decode()}})


def stored(state: AccountState, *, epoch: int = 1) -> tuple[bytes, bytes]:
    """Make the changelog's record of a state, as a worker writes it."""
    return state.account.encode(), HEADER.pack(FORMAT, 1, epoch << EPOCH_SHIFT | state.revision) + encode(state)


class Copy:
    """A copy under test, with a prefix of its own: what is applied follows what was applied before."""

    def __init__(self, client: RedisClient, base: str | None = None) -> None:
        self.client = client
        self.base = base or f"t{uuid.uuid4().hex[:10]}:"
        self.writer = CopyWriter(client, self.base)
        self.places = [PLACE, ALERTS_PLACE, STATES_PLACE, ACTIONS_PLACE]
        self.next = dict.fromkeys(self.places, 0)

    async def begin(self) -> None:
        """Find or begin the copy, and read on where it says."""
        await self.writer.begin(len(self.places))
        self.next = await self.writer.offsets(dict.fromkeys(self.places, 0))

    async def live(self) -> None:
        """Say that everything was read."""
        assert await self.writer.beat(dict.fromkeys(self.places, AT_END), "")

    async def scores(self, *messages: tuple[bytes, bytes | None]) -> int:
        """Apply scores, one offset after the other."""
        start = self.next[PLACE]
        items = [score_item(*message, start + number, DEPARTED_SECONDS) for number, message in enumerate(messages)]
        applied = await self.writer.apply("scores", PLACE, start, start + len(items), items)
        self.next[PLACE] += len(items)
        return applied

    async def alerts(self, *messages: tuple[bytes, bytes | None]) -> int:
        """Apply alerts, one offset after the other."""
        start = self.next[ALERTS_PLACE]
        items = [alert_item(*message, start + number) for number, message in enumerate(messages)]
        applied = await self.writer.apply("alerts", ALERTS_PLACE, start, start + len(items), items)
        self.next[ALERTS_PLACE] += len(items)
        return applied

    async def actions(self, *messages: tuple[bytes, bytes]) -> int:
        """Apply what became of actions, one offset after the other."""
        start = self.next[ACTIONS_PLACE]
        items = [action_item(*message, start + number) for number, message in enumerate(messages)]
        applied = await self.writer.apply("actions", ACTIONS_PLACE, start, start + len(items), items)
        self.next[ACTIONS_PLACE] += len(items)
        return applied

    async def states(self, *messages: tuple[bytes, bytes | None]) -> int:
        """Apply stored states, one offset after the other."""
        start = self.next[STATES_PLACE]
        found = [state_item(*message, start + number, read_stored_state) for number, message in enumerate(messages)]
        items = [item for item in found if item is not None]
        applied = await self.writer.apply("states", STATES_PLACE, start, start + len(messages), items)
        self.next[STATES_PLACE] += len(messages)
        return applied

    def key(self, name: str) -> str:
        """Name a key of the copy."""
        return self.writer.keys.of(name)

    async def dump(self) -> dict[str, Any]:
        """Read all that follows from the scores, as it stands: indexes, counts and views."""
        found: dict[str, Any] = {}
        ours = self.key("")
        left_out = {"offsets", "current", "stream", "days", "digests"}
        async for key in self.client.scan_iter(match=ours + "*", count=1000):
            name = key.decode().removeprefix(ours)
            if name in left_out or name.startswith(("history:", "alerts:", "actions:", "marks:")):
                continue
            kind = (await self.client.type(key)).decode()
            if kind == "zset":
                found[name] = dict(await self.client.zrange(key, 0, -1, withscores=True))
            elif kind == "set":
                found[name] = set(await self.client.smembers(key))
            else:
                values = await self.client.hgetall(key)
                row = read_row(values[b"row"]) if b"row" in values else {}
                values = {field: value for field, value in values.items() if field not in {b"row", b"off"}}
                values = {field: value for field, value in values.items() if name != "portfolio" or value != b"0"}
                found[name] = (values, {name: value for name, value in row.items() if name != "o"})
        return found


@asynccontextmanager
async def copy_on(url: str) -> AsyncIterator[Copy]:
    """Begin a copy of this test's own."""
    async with open_redis(url) as client:
        copy = Copy(client)
        await copy.begin()
        yield copy


def with_copy(url: str, job: Callable[[Copy], Awaitable[Result]]) -> Result:
    """Run a job on a copy of its own."""

    async def run() -> Result:
        async with copy_on(url) as copy:
            return await job(copy)

    return asyncio.run(run())


def many(accounts: Iterable[str], **changes: Any) -> list[tuple[bytes, bytes]]:
    """Make a first score of each account."""
    return [score(account, 1, **changes) for account in accounts]


async def everything(client: RedisClient, match: str) -> bytes:
    """Return every key of a pattern and every value under one, packed ones unpacked too."""
    parts: list[bytes] = []
    async for key in client.scan_iter(match=match, count=1000):
        parts.append(key)
        kind = (await client.type(key)).decode()
        if kind == "hash":
            parts += [part for pair in (await client.hgetall(key)).items() for part in pair]
        elif kind == "zset":
            parts += await client.zrange(key, 0, -1)
        elif kind == "set":
            parts += await client.smembers(key)
        elif kind == "stream":
            entries = await client.xrange(key)
            parts += [part for _, fields in entries for pair in fields.items() for part in pair]
        else:
            raise AssertionError(f"a key of a kind that is not looked into: {kind}")
    for part in list(parts):
        with contextlib.suppress(Exception):
            parts.append(unpack(part))
    return b"|".join(parts)
