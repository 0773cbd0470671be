"""The copy keeps days as they ended: of each account, and of the portfolio."""

from __future__ import annotations

import orjson

from service.account_copy.layout import HISTORY_DAYS
from service.account_copy.reader import CopyReader
from tests.service.copy_kit import DAY_MS, NOON_MS, Copy, score, with_copy


def test_a_day_on_which_another_model_took_over_stays_one(redis_url: str) -> None:
    """Whether the score says so or its version differs, and whatever scores follow on that day."""

    async def job(copy: Copy) -> None:
        days = [
            (0, "1+aaaa", False),
            (1, "1+aaaa", True),  # said by the worker: the account came from a model that the copy never saw
            (1, "1+aaaa", False),
            (2, "1+aaaa", False),
            (3, "2:b+bbbb", False),
            (3, "2:b+bbbb", False),
            (4, "2:b+bbbb", False),
        ]
        for seq, (day, version, changed) in enumerate(days, 1):
            time_ms = NOON_MS + day * DAY_MS
            await copy.scores(score("acme", seq, time_ms=time_ms, model_version=version, model_changed=changed))
        history = await CopyReader(copy.client, copy.base).history("acme")
        assert [day.new_model for day in history.days] == [None, "1+aaaa", None, "2:b+bbbb", None]

    with_copy(redis_url, job)


def test_days_are_kept_as_they_ended_and_for_ninety(redis_url: str) -> None:
    """Each day keeps its last score, of the portfolio what stood at its end; older days go; a catch-up is no day."""

    async def job(copy: Copy) -> None:
        await copy.scores(score("acme", 1, time_ms=NOON_MS - 200 * DAY_MS))  # still catching up
        assert not await copy.client.exists(copy.key("days"))
        await copy.live()
        today = NOON_MS // DAY_MS
        for seq, (days, band) in enumerate([(-95, "healthy"), (-2, "at_risk"), (-2, "endangered"), (0, "healthy")], 2):
            await copy.scores(score("acme", seq, time_ms=NOON_MS + days * DAY_MS + seq, band=band, score=50.0))
        days = await copy.client.hgetall(copy.key("history:acme"))
        assert days == {b"%d" % (today - 2): b"5000:3:", b"%d" % today: b"5000:1:"}
        kept = await copy.client.hgetall(copy.key("days"))
        assert set(kept) == set(days)
        ended = orjson.loads(kept[b"%d" % (today - 2)])
        assert ended[ended.index("endangered|high_touch|EUR|accounts") + 1] == "1"
        assert ended[ended.index("at_risk|high_touch|EUR|accounts") + 1] == "0"
        assert HISTORY_DAYS == 90

    with_copy(redis_url, job)
