"""Alerts of all accounts, newest first, page by page; a place is a time and the feed's `<seq>:<account>`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import orjson

from service.account_copy.layout import Keys
from service.account_copy.listing import Place, rank_after
from service.account_copy.reader import CopyReader
from service.account_copy.rows import unpack
from service.adapters.redis_client import RedisClient

STEP: Final = 200
WALK_MAX: Final = 2_000


class FeedPage(NamedTuple):
    """The `data` of alerts, and the place after which the next page begins; None at the end."""

    alerts: list[dict[str, Any]]
    next_place: Place | None


Wanted = Callable[[dict[str, Any]], bool]


async def list_alerts(
    reader: CopyReader, wanted: Wanted, after: Place | None, size: int, *, since_ms: int | None = None
) -> FeedPage:
    """Return the alerts after a place, down to a time, that are wanted; a long walk ends in a short page."""
    keys = (await reader.state()).keys
    feed = keys.of("feed")
    first = 0 if after is None else await rank_after(reader.client, feed, after)
    found: list[dict[str, Any]] = []
    last = after
    for rank in range(first, first + WALK_MAX, STEP):
        entries = await reader.client.zrevrange(feed, rank, rank + STEP - 1, withscores=True)
        places = [Place(time_ms, name.decode()) for name, time_ms in entries]
        for place, alert in zip(places, await _read(reader.client, keys, places), strict=True):
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


async def _read(client: RedisClient, keys: Keys, places: Sequence[Place]) -> list[dict[str, Any] | None]:
    async with client.pipeline(transaction=False) as pipe:
        for place in places:
            seq, _, account = place.account.partition(":")
            pipe.zrangebyscore(keys.alerts(account), seq, seq)
        found = await pipe.execute()
    return [orjson.loads(unpack(alert[0])) if alert else None for alert in found]
