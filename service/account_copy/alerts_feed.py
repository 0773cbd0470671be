"""Alerts of all accounts, newest first, page by page; a place is a time and the feed's `<seq>:<account>`.

Every alert is told with its `state`: what people did about it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import orjson
from msgspec import Struct

from service.account_copy.layout import ACCOUNT_ALERTS_MAX, Keys
from service.account_copy.listing import Place, passing, rank_after
from service.account_copy.marks import SNOOZE, alert_state, alert_states
from service.account_copy.reader import CopyReader, StoredView
from service.account_copy.rows import unpack
from service.adapters.redis_client import RedisClient

STEP: Final = 200
WALK_MAX: Final = 2_000


class FeedPage(NamedTuple):
    """The `data` of alerts with their states, and the place after which the next page begins; None at the end."""

    alerts: list[dict[str, Any]]
    next_place: Place | None


class _Numbered(Struct):
    seq: int


_read_seq = msgspec.json.Decoder(_Numbered).decode

Wanted = Callable[[dict[str, Any]], bool]


async def list_alerts(
    reader: CopyReader,
    wanted: Wanted,
    after: Place | None,
    size: int,
    *,
    since_ms: int | None = None,
    tiers: Sequence[str] = (),
) -> FeedPage:
    """Return the alerts after a place, down to a time, that are wanted; a long walk ends in a short page.

    `tiers` leaves the alerts of accounts that are in one of them now.
    """
    keys = (await reader.state()).keys
    feed = keys.of("feed")
    first = 0 if after is None else await rank_after(reader.client, feed, after)
    found: list[dict[str, Any]] = []
    last = after
    for rank in range(first, first + WALK_MAX, STEP):
        entries = await reader.client.zrevrange(feed, rank, rank + STEP - 1, withscores=True)
        places = [Place(time_ms, name.decode()) for name, time_ms in entries]
        for place, alert in zip(places, await _read(reader.client, keys, places, tiers), strict=True):
            if since_ms is not None and place.value < since_ms:
                return FeedPage(found, None)
            if alert is not None and wanted(alert):
                if len(found) == size:
                    return FeedPage(found, last)
                found.append(alert)
            last = place
        if len(places) < STEP:
            return FeedPage(found, None)
    return FeedPage(found, last)


async def list_alerts_of(
    reader: CopyReader, account: str, wanted: Wanted, *, tiers: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Return the last alerts of an account that are wanted, newest first; none when it is in none of the tiers."""
    keys = (await reader.state()).keys
    view = await reader.account(account, ACCOUNT_ALERTS_MAX)
    if not all(await passing(reader.client, [account], _filters(keys, tiers))):
        return []
    return [alert for alert in map(orjson.loads, told_alerts(view)) if wanted(alert)]


def told_alerts(view: StoredView) -> list[bytes]:
    """Write the JSON of an account's alerts with their states; it is not read, as those who ask most hand it on."""
    states = alert_states(view.marks, _now_ms())
    return [b'{"state":"%s",' % states.get(_read_seq(alert).seq, "new").encode() + alert[1:] for alert in view.alerts]


async def _read(
    client: RedisClient, keys: Keys, places: Sequence[Place], tiers: Sequence[str]
) -> list[dict[str, Any] | None]:
    named = [place.account.partition(":") for place in places]
    async with client.pipeline(transaction=False) as pipe:
        for seq, _, account in named:
            pipe.zrangebyscore(keys.alerts(account), seq, seq)
            pipe.hmget(keys.marks(account), seq, SNOOZE)
        found = await pipe.execute()
    passed = await passing(client, [account for _, _, account in named], _filters(keys, tiers))
    now_ms = _now_ms()
    return [
        {**orjson.loads(unpack(alert[0])), "state": alert_state(mark, snooze, now_ms)} if alert and ok else None
        for alert, (mark, snooze), ok in zip(found[::2], found[1::2], passed, strict=True)
    ]


def _filters(keys: Keys, tiers: Sequence[str]) -> list[list[str]]:
    return [[keys.members("tier", tier) for tier in tiers]] if tiers else []


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
