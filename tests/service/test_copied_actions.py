"""The copy holds what people did: the last outcomes of an account, and what each of its alerts is since."""

from __future__ import annotations

import random
from typing import Any

import orjson
import pytest

from schemas.times import time_text
from service.account_copy.alerts_feed import list_alerts, told_alerts
from service.account_copy.layout import ACCOUNT_ACTIONS_MAX, ACCOUNT_ALERTS_MAX, ORPHAN_SECONDS
from service.account_copy.marks import alert_state
from service.account_copy.reader import CopyReader
from service.account_copy.rows import action_item
from tests.service.copy_kit import NOON_MS, Copy, alert, erasure, score, taken, with_copy

FAR = "2099-01-01T00:00:00.000Z"
ACTS: list[dict[str, Any]] = [
    {"action": "acknowledge", "alert_seq": 1, "alert_state": "acknowledged"},
    {"action": "snooze", "alert_seq": 2, "alert_state": "snoozed", "until": FAR},
    {"action": "resolve", "alert_seq": 1, "alert_state": "resolved"},
    {"action": "acknowledge", "alert_seq": 3, "refusal": "old_alert"},
    {"action": "override", "band": "endangered", "reason": "champion left", "until": FAR},
]


async def _states(copy: Copy) -> dict[int, str]:
    """Read the states of the alerts of acme, and see that the feed and the account say the same."""
    reader = CopyReader(copy.client, copy.base)
    fed = await list_alerts(reader, lambda _: True, None, 100)
    one = [orjson.loads(told) for told in told_alerts(await reader.account("acme", 100))]
    assert {told["seq"]: told["state"] for told in one} == {told["seq"]: told["state"] for told in fed.alerts}
    return {told["seq"]: told["state"] for told in one}


@pytest.mark.parametrize("seed", range(4))
def test_what_people_did_ends_as_the_last_outcomes_say(redis_url: str, seed: int) -> None:
    """However outcomes are shuffled and repeated: each alert is what its last one made of it; a refusal is no mark."""
    messages = [taken("acme", seq, time_ms=NOON_MS + seq, **fields) for seq, fields in enumerate(ACTS, 1)]
    mixed = messages * 3
    random.Random(seed).shuffle(mixed)

    async def job(copy: Copy) -> None:
        await copy.scores(score("acme", 1))
        await copy.alerts(*(alert("acme", seq, time_ms=NOON_MS + seq) for seq in range(1, 5)))
        assert set((await _states(copy)).values()) == {"new"}
        await copy.actions(*mixed)
        assert await _states(copy) == {1: "resolved", 2: "snoozed", 3: "new", 4: "new"}
        told = await CopyReader(copy.client, copy.base).actions("acme")
        assert [action["action"] for action in told] == [fields["action"] for fields in ACTS]
        assert told[-1]["reason"] == "champion left"

    with_copy(redis_url, job)


def test_a_snooze_is_over_when_its_time_comes_or_a_later_one_ends_it(redis_url: str) -> None:
    """Then its alerts are new again; one that a later word had overtaken never counted."""
    assert [alert_state(b"1:snoozed", b"1:1000", now_ms) for now_ms in (999, 1_000)] == ["snoozed", "new"]
    assert alert_state(b"1:acknowledged", b"1:1000", 2_000) == "acknowledged"
    assert alert_state(None, b"1:1000", 0) == "new"

    async def job(copy: Copy) -> None:
        snoozed: dict[str, Any] = {"alert_seq": 1, "alert_state": "snoozed"}
        await copy.alerts(alert("acme", 1))
        await copy.actions(taken("acme", 1, "snooze", until=FAR, **snoozed))
        assert await _states(copy) == {1: "snoozed"}
        await copy.actions(taken("acme", 2, "snooze", until=time_text(NOON_MS), refusal="superseded"))
        assert await _states(copy) == {1: "snoozed"}
        await copy.actions(taken("acme", 3, "snooze", until=time_text(NOON_MS)))
        assert await _states(copy) == {1: "new"}

    with_copy(redis_url, job)


def test_actions_and_marks_are_bounded_and_live_as_long_as_the_account(redis_url: str) -> None:
    """The last outcomes stay, marks as long as their alerts; of an account without a score both go in time."""

    async def job(copy: Copy) -> None:
        seqs = range(1, ACCOUNT_ALERTS_MAX + 11)
        await copy.alerts(*(alert("acme", seq, time_ms=NOON_MS + seq) for seq in seqs))
        acts: dict[str, Any] = {"action": "acknowledge", "alert_state": "acknowledged"}
        await copy.actions(*(taken("acme", seq, alert_seq=seq, **acts) for seq in seqs))
        assert await copy.client.zcard(copy.key("actions:acme")) == ACCOUNT_ACTIONS_MAX
        assert {int(seq) for seq in await copy.client.hkeys(copy.key("marks:acme"))} == set(seqs[10:])
        assert set((await _states(copy)).values()) == {"acknowledged"}
        for key in ("actions:acme", "marks:acme"):
            assert 0 < await copy.client.ttl(copy.key(key)) <= ORPHAN_SECONDS
        await copy.scores(score("acme", 1))
        for key in ("actions:acme", "marks:acme"):
            assert await copy.client.ttl(copy.key(key)) == -1

    with_copy(redis_url, job)


@pytest.mark.parametrize(
    "value", [b"", b"[]", alert("acme", 1)[1], taken("acme", 0, "note")[1], taken("b", 1, "x")[1], erasure("acme")[1]]
)
def test_what_is_no_outcome_of_ours_is_refused(value: bytes) -> None:
    """Another message, another account's, or one that names no action."""
    with pytest.raises(ValueError):  # noqa: PT011 - any of them, as the libraries have their own
        action_item(b"acme", value, 0)
