"""One reader of the copy's stream for all followers of this process; each has a bounded queue.

A follower that does not keep up is cut off rather than waited for; it comes back with the id of its last event. Ids
name the epoch of the copy, so one of an earlier copy, or one whose successors are gone, is answered with `reset`: read
the lists anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from schemas.times import time_text
from service.account_copy.layout import Keys
from service.account_copy.reader import CopyReader, NoCopy
from service.account_copy.rows import read_row
from service.adapters.redis_client import REDIS_FAILURES

QUEUE_MAX: Final = 1_000
READ_MAX: Final = 500
BLOCK_MS: Final = 1_000
RETRY_SECONDS: Final = 1.0
KEEP_ALIVE_SECONDS: Final = 15.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened, as followers are told it; `bands` are those of before and after."""

    id: str
    kind: str
    data: dict[str, Any]
    bands: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Filter:
    """What a follower wants to hear; an empty part wants all. A reset is for everybody."""

    kinds: frozenset[str] = frozenset()
    accounts: frozenset[str] = frozenset()
    owners: frozenset[str] = frozenset()
    bands: frozenset[str] = frozenset()

    def wants(self, event: Event) -> bool:
        """Tell whether an event passes; a score that leaves a band is heard by those who asked for that band."""
        if event.kind == "reset":
            return True
        return (
            (not self.kinds or event.kind in self.kinds)
            and (not self.accounts or event.data["account"] in self.accounts)
            and (not self.owners or event.data.get("owner") in self.owners)
            and (not self.bands or bool(event.bands & self.bands))
        )


@dataclass(eq=False, slots=True)
class Follower:
    """One open stream; `lost` when it did not keep up."""

    wanted: Filter
    queue: asyncio.Queue[Event] = field(default_factory=lambda: asyncio.Queue(QUEUE_MAX))
    lost: bool = False

    def tell(self, event: Event) -> None:
        """Queue an event that is wanted."""
        if self.lost or not self.wanted.wants(event):
            return
        try:
            self.queue.put_nowait(event)
        except asyncio.QueueFull:
            self.lost = True


class Hub:
    """Reads the stream while it runs and tells every follower."""

    def __init__(self, reader: CopyReader) -> None:
        self._reader = reader
        self._followers: set[Follower] = set()
        self._keys: Keys | None = None
        self._last = "0-0"

    def __len__(self) -> int:
        return len(self._followers)

    async def run(self) -> None:
        """Read until cancelled; a Redis that is away is waited for."""
        task = asyncio.current_task()
        while task is None or not task.cancelling():  # the client may have swallowed it
            try:
                keys = (await self._reader.state()).keys
                if keys != self._keys:
                    await self._begin(keys)
                await self._read(keys)
            except NoCopy:
                await asyncio.sleep(RETRY_SECONDS)
            except REDIS_FAILURES as error:
                log.warning("Redis fails: %s", error)
                await asyncio.sleep(RETRY_SECONDS)

    async def _begin(self, keys: Keys) -> None:
        newest = await self._reader.client.xrevrange(keys.of("stream"), count=1)
        self._last = newest[0][0].decode() if newest else "0-0"
        self._keys = keys
        # Those who came while there was no copy, or another, may have missed something.
        self._tell(_reset(keys, self._last))

    async def _read(self, keys: Keys) -> None:
        stream = keys.of("stream")
        for _, entries in await self._reader.client.xread({stream: self._last}, READ_MAX, BLOCK_MS) or ():
            for entry_id, fields in entries:
                self._last = entry_id.decode()
                self._tell(_event(keys, entry_id, fields))

    def _tell(self, event: Event) -> None:
        for follower in self._followers:
            follower.tell(event)

    @asynccontextmanager
    async def follow(self, wanted: Filter, last_event_id: str) -> AsyncIterator[AsyncIterator[Event | None]]:
        """Follow from after an event, or from now; yields None when nothing came for a while, ends when cut off."""
        follower = Follower(wanted)
        keys, here = self._keys, self._last  # events up to here are not queued, those after are
        self._followers.add(follower)
        try:
            yield self._events(follower, keys, here, last_event_id)
        finally:
            self._followers.discard(follower)

    async def _events(
        self, follower: Follower, keys: Keys | None, here: str, last_event_id: str
    ) -> AsyncIterator[Event | None]:
        if last_event_id and keys is not None:
            async for event in self._missed(keys, last_event_id, here):
                if follower.wanted.wants(event):
                    yield event
        while not follower.lost:
            try:
                yield await asyncio.wait_for(follower.queue.get(), KEEP_ALIVE_SECONDS)
            except TimeoutError:
                yield None

    async def _missed(self, keys: Keys, last_event_id: str, here: str) -> AsyncIterator[Event]:
        epoch, _, entry_id = last_event_id.partition(".")
        stream, client = keys.of("stream"), self._reader.client
        oldest = await client.xrange(stream, count=1)
        seen, first = _number(entry_id), _number(oldest[0][0].decode()) if oldest else None
        if epoch != keys.epoch or seen is None or first is None or first > seen:
            yield _reset(keys, here)
            return
        while True:
            entries = await client.xrange(stream, f"({entry_id}", here, count=READ_MAX)
            for found, fields in entries:
                entry_id = found.decode()
                yield _event(keys, found, fields)
            if len(entries) < READ_MAX:
                return


def _reset(keys: Keys, entry_id: str) -> Event:
    return Event(f"{keys.epoch}.{entry_id}", "reset", {})


def _number(entry_id: str) -> tuple[int, int] | None:
    first, dash, second = entry_id.partition("-")
    if not dash or not (first.isascii() and first.isdigit() and second.isascii() and second.isdigit()):
        return None
    number = int(first), int(second)
    return number if max(number) < 2**64 else None


def _event(keys: Keys, entry_id: bytes, fields: dict[bytes, bytes]) -> Event:
    kind = fields[b"kind"].decode()
    event_id = f"{keys.epoch}.{entry_id.decode()}"
    if kind == "reset":
        return Event(event_id, kind, {})
    row = read_row(fields[b"row"])
    if kind == "score":
        return _score(event_id, row, fields[b"before"].decode() or None)
    if kind == "action":
        return _action(event_id, row, read_row(fields[b"of"]) if fields[b"of"] else None)
    data = {"account": row["a"], "seq": row["q"], "as_of": time_text(row["t"]), "kind": row["k"]}
    data |= {"band": row["b"], "owner": row["u"]}
    return Event(event_id, kind, data, frozenset({row["b"]}))


def _action(event_id: str, row: dict[str, Any], of: dict[str, Any] | None) -> Event:
    data = {
        "account": row["a"],
        "seq": row["q"],
        "as_of": time_text(row["t"]),
        "action": row["k"],
        "alert_seq": row.get("l"),
        "alert_state": row.get("m"),
        "band": of["b"] if of else None,
        "owner": _value(of["i"], "owner:") if of else None,
    }
    return Event(event_id, "action", data, frozenset({of["b"]} if of else ()))


def _score(event_id: str, row: dict[str, Any], before: str | None) -> Event:
    data = {
        "account": row["a"],
        "seq": row["q"],
        "as_of": time_text(row["n"]),
        "score": row["s"],
        "band": row["b"],
        "previous_band": before,
        "owner": _value(row["i"], "owner:"),
        "churned": "z" in row,
    }
    return Event(event_id, "score", data, frozenset(filter(None, (row["b"], before))))


def _value(sets: Sequence[str], kind: str) -> str | None:
    return next((name.removeprefix(kind) for name in sets if name.startswith(kind)), None)
