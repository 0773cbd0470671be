"""Reads the copy, and says of every answer how old it can be.

The copy is as old as the partition that was read to its end longest ago; it is stale when that is too long ago, or when
a partition was never read to its end, because then accounts may be missing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import orjson

from schemas.times import time_text
from service.account_copy.gathering import Gathering
from service.account_copy.layout import BANDS, CURRENT_SECONDS, DAY_MS, Keys
from service.account_copy.rows import unpack
from service.adapters.redis_client import RedisClient

STATE_SECONDS: Final = 0.25  # for so long the state of the copy is taken as read


class NoCopy(Exception):  # noqa: N818 - it tells what is found, and is always caught
    """Redis answers, but holds no copy: no projector has begun one."""


@dataclass(frozen=True, slots=True)
class CopyState:
    """What is known of the copy as a whole; `as_of_ms` is None while a partition was never read to its end."""

    keys: Keys
    as_of_ms: int | None
    stale: bool
    model_version: str | None

    @property
    def as_of(self) -> str | None:
        """Up to when the copy is complete, as messages write times."""
        return None if self.as_of_ms is None else time_text(self.as_of_ms)


@dataclass(frozen=True, slots=True)
class HistoryDay:
    """The last score of a day, counted from the epoch; `band` is None when only the score is known.

    `new_model` is the version of a model that took over on that day.
    """

    day: int
    score: float | None
    band: str | None
    new_model: str | None = None


class StoredView(NamedTuple):
    """An account: the JSON of its score and of its last alerts, newest first, and its state as the worker stored it.

    `marks` are what people did about its alerts, as `alert_state` reads them.
    """

    score: bytes | None
    state: bytes | None
    alerts: list[bytes]
    marks: Mapping[bytes, bytes]


class StoredHistory(NamedTuple):
    """An account's score and stored state, and its days."""

    score: dict[str, Any] | None
    state: bytes | None
    days: list[HistoryDay]


class CopyReader:
    """Reads one deployment's copy, whichever epoch it is in."""

    def __init__(self, client: RedisClient, base: str) -> None:
        self.client = client
        self._base = base
        self._gathering = Gathering(client)
        self._state: CopyState | None = None
        self._read_at = -STATE_SECONDS
        self._reading = asyncio.Lock()

    async def state(self) -> CopyState:
        """Look at the copy, at most four times a second; raises NoCopy."""
        if (known := self._known_state()) is not None:
            return known
        async with self._reading:  # one looks, for all who need it at this moment
            if (known := self._known_state()) is not None:
                return known
            self._state = state = await self._read_state()
            self._read_at = time.monotonic()
            return state

    def _known_state(self) -> CopyState | None:
        return self._state if time.monotonic() - self._read_at <= STATE_SECONDS else None

    async def _read_state(self) -> CopyState:
        copy = await self.client.hgetall(self._base + "copy")
        if b"epoch" not in copy:
            raise NoCopy
        keys = Keys(self._base, copy[b"epoch"].decode())
        current = [int(value) for value in await self.client.hvals(keys.of("current"))]
        seconds, micros = await self.client.time()
        whole = len(current) >= int(copy[b"partitions"])
        as_of_ms = min(current) if whole else None
        too_old = as_of_ms is None or as_of_ms < seconds * 1000 + micros // 1000 - CURRENT_SECONDS * 1000
        model_version = copy.get(b"model_version", b"").decode() or None
        return CopyState(keys, as_of_ms, too_old, model_version)

    async def scores(self, accounts: Sequence[str]) -> list[dict[str, Any] | None]:
        """Read the scores of accounts, as published; None for one that the copy does not have."""
        keys = (await self.state()).keys
        if len(accounts) == 1:
            found = [await self.client.hget(keys.account(accounts[0]), "data")]
        else:
            async with self.client.pipeline(transaction=False) as pipe:
                for account in accounts:
                    pipe.hget(keys.account(account), "data")
                found = await pipe.execute()
        return [None if data is None else orjson.loads(unpack(data)) for data in found]

    async def account(self, account: str, alerts_max: int) -> StoredView:
        """Read all that the copy has of an account now."""
        keys = (await self.state()).keys
        (data, state), alerts, marks = await self._gathering.ask(
            ("HMGET", keys.account(account), "data", "state"),
            ("ZREVRANGE", keys.alerts(account), 0, alerts_max - 1),
            ("HGETALL", keys.marks(account)),
        )
        told = [unpack(alert) for alert in alerts]
        return StoredView(None if data is None else unpack(data), state, told, _pairs(marks))

    async def actions(self, account: str) -> list[dict[str, Any]]:
        """Read what became of the last actions on an account, oldest first."""
        keys = (await self.state()).keys
        (found,) = await self._gathering.ask(("ZRANGE", keys.actions(account), 0, -1))
        return [orjson.loads(unpack(action)) for action in found]

    async def history(self, account: str) -> StoredHistory:
        """Read the days that the copy has seen of an account, oldest first."""
        keys = (await self.state()).keys
        (data, state), found = await self._gathering.ask(
            ("HMGET", keys.account(account), "data", "state"), ("HGETALL", keys.history(account))
        )
        return StoredHistory(None if data is None else orjson.loads(unpack(data)), state, _days(_pairs(found)))

    async def histories(self, accounts: Sequence[str]) -> list[list[HistoryDay]]:
        """Read the days of several accounts, oldest first; none of one that the copy does not have."""
        keys = (await self.state()).keys
        async with self.client.pipeline(transaction=False) as pipe:
            for account in accounts:
                pipe.hgetall(keys.history(account))
            return [_days(found) for found in await pipe.execute()]

    async def counts(self) -> dict[str, int]:
        """Read the counts now: `band|tier|currency|what` to its sum."""
        return _sums(await self.client.hgetall((await self.state()).keys.of("portfolio")))

    async def portfolio(self) -> tuple[dict[str, int], dict[int, dict[str, int]]]:
        """Read the counts now and at the end of each kept day: `band|tier|currency|what` to its sum."""
        keys = (await self.state()).keys
        async with self.client.pipeline(transaction=False) as pipe:
            pipe.hgetall(keys.of("portfolio"))
            pipe.hgetall(keys.of("days"))
            now, days = await pipe.execute()
        return _sums(now), {int(day): _sums(_pairs(_texts(counts))) for day, counts in sorted(days.items())}


def day_text(day: int) -> str:
    """Write a day counted from the epoch as a date."""
    return time.strftime("%Y-%m-%d", time.gmtime(day * DAY_MS // 1000))


def _days(found: Mapping[bytes, bytes]) -> list[HistoryDay]:
    days = []
    for day, value in sorted((int(day), value.decode()) for day, value in found.items()):
        points, band, model = value.split(":", 2)
        days.append(HistoryDay(day, int(points) / 100 if points else None, BANDS[int(band)], model or None))
    return days


def _texts(stored: bytes) -> list[bytes]:
    return [text.encode() for text in orjson.loads(stored)]


def _pairs(flat: Sequence[bytes]) -> Mapping[bytes, bytes]:
    # A script gives a hash as fields and values in turn, and one without a field as an empty list or an empty object.
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _sums(counts: Mapping[bytes, bytes] | Iterable[tuple[bytes, bytes]]) -> dict[str, int]:
    return {field.decode(): int(value) for field, value in dict(counts).items() if value != b"0"}
