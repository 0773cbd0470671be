"""An erased account leaves the copy whole, and what began after it stays, in whatever order its topics are read."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from service.scoring.state import AccountState
from tests.service.copy_kit import Copy, alert, erasure, everything, score, stored, taken, with_copy

ORDERS = list(itertools.permutations(("scores", "alerts", "states", "actions")))
RESOLVED: dict[str, Any] = {"alert_seq": 1, "alert_state": "resolved"}


@pytest.mark.parametrize("order", ORDERS)
def test_an_erased_account_is_nowhere_in_redis(redis_url: str, order: tuple[str, ...]) -> None:
    """In whatever order its topics are read, and when a projector that was overtaken applies what came before again."""

    async def job(copy: Copy) -> None:
        await copy.live()
        state = AccountState("acme")
        messages: dict[str, list[tuple[bytes, Any]]] = {
            "scores": [score("acme", 7, name="Acme Holding", model_changed=True), (b"acme", None)],
            "alerts": [alert("acme", 1, name="Acme Holding"), (b"acme", None)],
            "states": [stored(state), (b"acme", None)],
            "actions": [taken("acme", 1, "resolve", **RESOLVED, reason="Acme Holding"), erasure("acme")],
        }
        for topic in order:
            await getattr(copy, topic)(messages[topic][0])
        assert b"Acme Holding" in await everything(copy.client, copy.key("*"))
        for topic in order:
            await getattr(copy, topic)(messages[topic][1])
        assert b"acme" not in await everything(copy.client, copy.key("*"))
        copy.next = dict.fromkeys(copy.places, 0)
        for topic in order:
            await getattr(copy, topic)(messages[topic][0])
        assert b"acme" not in await everything(copy.client, copy.key("*"))

    with_copy(redis_url, job)


@pytest.mark.parametrize("order", ORDERS)
def test_a_new_account_stays_whole_when_the_copy_is_made_anew(redis_url: str, order: tuple[str, ...]) -> None:
    """Each topic takes back what it told, so that none removes what another has told of the account since."""

    async def job(copy: Copy) -> None:
        state = AccountState("acme")
        messages: dict[str, list[tuple[bytes, Any]]] = {
            "scores": [score("acme", 7, name="Acme Holding"), (b"acme", None), score("acme", 1, name="New")],
            "alerts": [alert("acme", 1), alert("acme", 2), (b"acme", None), alert("acme", 1)],
            "states": [stored(state, epoch=2), (b"acme", None), stored(state)],
            "actions": [
                taken("acme", 2, "resolve", **RESOLVED, note="Holding"),
                erasure("acme"),
                taken("acme", 1, "note"),
            ],
        }
        for topic in order:
            await getattr(copy, topic)(*messages[topic])
        found = await copy.client.hgetall(copy.key("account:acme"))
        assert (found[b"seq"], found[b"version"][:2]) == (b"1", b"1:")
        assert await copy.client.ttl(copy.key("account:acme")) == -1
        assert await copy.client.zrange(copy.key("feed"), 0, -1) == [b"1:acme"]
        assert await copy.client.zcard(copy.key("alerts:acme")) == 1
        assert await copy.client.zcard(copy.key("actions:acme")) == 1
        assert await copy.client.ttl(copy.key("actions:acme")) == -1
        assert not await copy.client.exists(copy.key("marks:acme"))
        assert b"Holding" not in await everything(copy.client, copy.key("*"))

    with_copy(redis_url, job)
