"""The copy holds of each account its greatest `seq`, whoever writes in whatever order, and follows a lost Redis."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import orjson
import pytest

from agents.runtime.table import FORMAT, HEADER, MARKER_KEY
from agents.stored_account import read_stored_state
from service.account_copy.layout import ACCOUNT_ALERTS_MAX, ORPHAN_SECONDS
from service.account_copy.reader import CopyReader
from service.account_copy.rows import score_item, state_item, unpack, words_of
from service.account_copy.writer import AT_END, CopyLost, CopyWriter
from service.errors import StateError
from service.scoring.state import AccountState
from service.scoring.state_codec import decode
from tests.service.copy_kit import (
    DEPARTED_SECONDS,
    NOON_MS,
    PLACE,
    Copy,
    alert,
    copy_on,
    erasure,
    score,
    stored,
    taken,
    with_copy,
)


async def stored_seq(copy: Copy, account: str) -> int | None:
    found = await copy.client.hget(copy.key(f"account:{account}"), "seq")
    return None if found is None else int(found)


def test_a_newer_seq_replaces_and_an_older_never(redis_url: str) -> None:
    """A zombie's old score after the newer one changes neither view, index nor count; a repeat changes nothing."""

    async def job(copy: Copy) -> None:
        assert await copy.scores(score("acme", 5, band="at_risk"), score("acme", 6, band="endangered")) == 2
        before = await copy.dump()
        assert await copy.scores(score("acme", 5, band="at_risk"), score("acme", 6, band="healthy")) == 0
        assert await copy.dump() == before
        assert await stored_seq(copy, "acme") == 6
        zombie = Copy(copy.client, copy.base)  # it took the same partition and read from where it was
        await zombie.begin()
        zombie.next[PLACE] = 0
        assert await zombie.scores(score("acme", 3), score("acme", 4)) == 0
        assert await copy.dump() == before
        assert await copy.client.hget(copy.key("offsets"), PLACE) == b"4"

    with_copy(redis_url, job)


BANDS = ("unknown", "healthy", "at_risk", "endangered")


def random_score(rng: random.Random, account: str, seq: int) -> tuple[bytes, bytes]:
    factors = [
        {"name": name, "label": name, "value": 0, "output": 0, "weight": 1, "contribution": 0, "sentence": "s"}
        | {"points_lost": rng.choice([0, 10])}
        for name in ("logins", "payments", "support")
    ]
    changes: dict[str, Any] = {
        "band": rng.choice(BANDS),
        "score": rng.choice([None, rng.uniform(0, 100)]),
        "tier": rng.choice([None, "high_touch", "low_touch"]),
        "owner": rng.choice([None, "dana", "lee"]),
        "mrr_minor": rng.choice([None, 0, 2**53 - 1, rng.randrange(10**6)]),
        "currency": rng.choice([None, "EUR", "USD"]),
        "stage": rng.choice(["active", "active", "churned", None]),
        "name": rng.choice([None, "Acme Ltd", "Big Blue Corp Inc", "ümläut GmbH"]),
        "trend_7": rng.choice([None, -3.5, 4.0]),
        "coverage": rng.random(),
        "factors": factors,
    }
    return score(account, seq, **changes)


@pytest.mark.parametrize("seed", range(6))
def test_any_order_with_repeats_ends_as_the_last_scores_alone(redis_url: str, seed: int) -> None:
    """However scores are shuffled and repeated by several writers, the copy is that of each account's last score."""
    rng = random.Random(seed)
    histories = {name: [random_score(rng, name, seq) for seq in range(1, 9)] for name in ("a", "b", "c:1", "d/é")}
    mixed = [message for history in histories.values() for message in history * 2]
    rng.shuffle(mixed)

    async def run() -> None:
        async with copy_on(redis_url) as shuffled, copy_on(redis_url) as plain:
            while mixed:
                count = rng.randrange(1, 8)
                await shuffled.scores(*mixed[:count])
                del mixed[:count]
            await plain.scores(*(history[-1] for history in histories.values()))
            assert await shuffled.dump() == await plain.dump()

    asyncio.run(run())


def test_a_wiped_redis_is_noticed_and_begun_anew(redis_url: str) -> None:
    """The first write after a wipe is refused, and the new copy asks for everything from the start."""

    async def job(copy: Copy) -> None:
        await copy.scores(score("acme", 1), score("bolt", 1))
        before = await copy.dump()
        async for key in copy.client.scan_iter(match=copy.base + "*"):
            await copy.client.delete(key)
        with pytest.raises(CopyLost, match="epoch"):
            await copy.scores(score("acme", 2))
        with pytest.raises(CopyLost, match="epoch"):
            await copy.writer.beat({PLACE: AT_END}, "")
        await copy.begin()
        assert copy.next[PLACE] == 0
        await copy.scores(score("acme", 1), score("bolt", 1))
        assert await copy.dump() == before

    with_copy(redis_url, job)


def test_a_replica_that_was_behind_is_noticed(redis_url: str) -> None:
    """After a failover to a Redis that misses the last batches, nothing is applied over the gap."""

    async def job(copy: Copy) -> None:
        await copy.scores(score("acme", 1))
        await copy.scores(score("acme", 2))
        await copy.client.hset(copy.key("offsets"), PLACE, 1)  # as the replica has it
        with pytest.raises(CopyLost, match="gap"):
            await copy.scores(score("acme", 3))
        assert await stored_seq(copy, "acme") == 2
        await copy.begin()
        assert copy.next[PLACE] == 1

    with_copy(redis_url, job)


def test_what_an_epoch_left_is_swept_and_nothing_else(redis_url: str) -> None:
    """Another copy's keys and another deployment's stay; those of the epoch before go."""

    async def job(copy: Copy) -> None:
        await copy.scores(score("acme", 1))
        old = copy.key("")
        other = Copy(copy.client, f"{copy.base}eu:")
        await other.begin()
        await other.scores(score("acme", 1))
        kept = await other.dump()
        await copy.writer.begin(2, instead_of=copy.writer.keys.epoch)
        await copy.begin()
        await copy.scores(score("bolt", 1))
        assert await copy.writer.sweep() > 5
        assert [key async for key in copy.client.scan_iter(match=old + "*")] == []
        assert await other.dump() == kept
        assert await stored_seq(copy, "bolt") == 1

    with_copy(redis_url, job)


def test_a_tombstone_erases_and_an_older_one_does_not(redis_url: str) -> None:
    """After a tombstone nothing of the account is left; one that was read before the account came back does nothing."""

    async def job(copy: Copy) -> None:
        empty = await copy.dump()
        await copy.scores(score("acme", 7))
        await copy.alerts(alert("acme", 1))
        await copy.actions(taken("acme", 1, "resolve", alert_seq=1, alert_state="resolved"))
        await copy.scores((b"acme", None))
        await copy.alerts((b"acme", None))
        await copy.actions(erasure("acme"))
        assert await copy.dump() == {**empty, "portfolio": ({}, {})}
        for kind in ("alerts", "history", "actions", "marks"):
            assert not await copy.client.exists(copy.key(f"{kind}:acme"))
        await copy.scores(score("acme", 1))
        copy.next[PLACE] = 0
        late = [score_item(b"acme", None, 0, DEPARTED_SECONDS)]
        assert await copy.writer.apply("scores", PLACE, 0, 1, late) == 0
        assert await stored_seq(copy, "acme") == 1

    with_copy(redis_url, job)


def test_a_churned_account_leaves_lists_and_counts_and_may_return(redis_url: str) -> None:
    """It stays readable for a time, outside every index; when it is active again it lives on."""

    async def job(copy: Copy) -> None:
        await copy.scores(score("acme", 1, mrr_minor=700))
        listed = await copy.dump()
        await copy.scores(score("acme", 2, mrr_minor=700, stage="churned"))
        found = await copy.dump()
        assert found.keys() == {"account:acme", "portfolio"}
        assert found["portfolio"] == ({}, {})
        for key in ("account:acme", "history:acme"):
            assert 0 < await copy.client.ttl(copy.key(key)) <= DEPARTED_SECONDS
        await copy.scores(score("acme", 3, mrr_minor=700))
        assert await copy.client.ttl(copy.key("account:acme")) == -1
        assert (await copy.dump()).keys() == listed.keys()
        assert (await copy.dump())["portfolio"] == listed["portfolio"]

    with_copy(redis_url, job)


def _state(account: str, revision: int) -> AccountState:
    state = AccountState(account)
    state.revision = revision
    return state


async def _stored_revision(copy: Copy, account: str) -> int | None:
    found = await copy.client.hget(copy.key(f"account:{account}"), "state")
    return None if found is None else decode(account, found).revision


def test_of_stored_states_the_highest_epoch_and_revision_stays(redis_url: str) -> None:
    """However records are ordered and repeated: a zombie of an earlier epoch wins over nothing."""
    records = [stored(_state("acme", revision), epoch=epoch) for epoch, revision in ((1, 7), (1, 9), (2, 3), (2, 4))]

    async def job(copy: Copy) -> None:
        for seed in range(8):
            shuffled = [*records, *records]
            random.Random(seed).shuffle(shuffled)
            await copy.states(*shuffled, (MARKER_KEY, HEADER.pack(FORMAT, 1, 1) + b"{}"))
            assert await _stored_revision(copy, "acme") == 4
            assert await copy.states(*records) == 0
            await copy.states((b"acme", None))
            assert await _stored_revision(copy, "acme") is None
        assert not [key async for key in copy.client.scan_iter(match=copy.key("account:*") + "marker*")]

    with_copy(redis_url, job)


def test_a_state_waits_for_its_score_for_a_time(redis_url: str) -> None:
    """A state without a score goes away by itself; with one it lives as long, and neither touches the other."""

    async def job(copy: Copy) -> None:
        key = copy.key("account:acme")
        await copy.states(stored(_state("acme", 1)))
        assert 0 < await copy.client.ttl(key) <= ORPHAN_SECONDS
        await copy.scores(score("acme", 1))
        assert await copy.client.ttl(key) == -1
        await copy.states(stored(_state("acme", 2)))
        assert await copy.client.ttl(key) == -1
        assert (await stored_seq(copy, "acme"), await _stored_revision(copy, "acme")) == (1, 2)
        await copy.states((b"acme", None))
        assert await stored_seq(copy, "acme") == 1
        await copy.scores(score("acme", 2, stage="churned"))
        await copy.states(stored(_state("acme", 3)))
        assert 0 < await copy.client.ttl(key) <= DEPARTED_SECONDS
        await copy.scores((b"acme", None))
        assert await stored_seq(copy, "acme") is None
        await copy.states((b"acme", None))
        assert not await copy.client.exists(key)

    with_copy(redis_url, job)


@pytest.mark.parametrize("value", [b"", b"\x02", b"\x09" + bytes(40)])
def test_a_stored_state_of_another_format_is_refused(value: bytes) -> None:
    """What this release does not read it does not copy either."""
    with pytest.raises(StateError):
        state_item(b"acme", value, 0, read_stored_state)


def test_alerts_are_kept_once_in_order_and_bounded(redis_url: str) -> None:
    """A repeat takes the place of the first; the last ones stay, also when the account's score comes after them."""

    async def job(copy: Copy) -> None:
        await copy.alerts(*(alert("acme", seq, time_ms=NOON_MS + seq) for seq in range(1, ACCOUNT_ALERTS_MAX + 11)))
        assert await copy.alerts(alert("acme", 60, sentence="told again", time_ms=NOON_MS + 60)) == 0
        found = await copy.client.zrange(copy.key("alerts:acme"), 0, -1)
        told = [orjson.loads(unpack(value)) for value in found]
        assert [value["seq"] for value in told] == list(range(11, ACCOUNT_ALERTS_MAX + 11))
        assert told[-1]["sentence"] == "told again"
        assert await copy.client.zcard(copy.key("feed")) == ACCOUNT_ALERTS_MAX + 10
        assert await copy.client.ttl(copy.key("alerts:acme")) > 0
        await copy.scores(score("acme", 1))
        assert await copy.client.ttl(copy.key("alerts:acme")) == -1

    with_copy(redis_url, job)


def test_followers_hear_only_news(redis_url: str) -> None:
    """What is read while catching up is not announced; from then on each change is, with the band before."""

    async def job(copy: Copy) -> None:
        await copy.scores(score("acme", 1, band="healthy"))
        assert not await copy.client.exists(copy.key("stream"))
        await copy.live()
        await copy.scores(score("acme", 2, band="at_risk"), score("acme", 2, band="at_risk"))
        await copy.alerts(alert("acme", 1), alert("acme", 1))
        await copy.actions(taken("acme", 1, "note"), taken("acme", 1, "note"))
        entries = [fields for _, fields in await copy.client.xrange(copy.key("stream"))]
        assert [fields[b"kind"] for fields in entries] == [b"reset", b"score", b"alert", b"action"]
        assert entries[1][b"before"] == b"healthy"
        await copy.scores((b"acme", None))
        await copy.alerts((b"acme", None))
        await copy.actions(erasure("acme"))
        entries = [fields for _, fields in await copy.client.xrange(copy.key("stream"))]
        assert [fields[b"kind"] for fields in entries] == [b"reset"] * 4, "nothing names the account any more"

    with_copy(redis_url, job)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"acme", b""),
        (b"acme", b"not json"),
        (b"acme", b"\xff\xfe"),
        (b"acme", b"[]"),
        (b"other", score("acme", 1)[1]),
        (b"acme", alert("acme", 1)[1]),
        (b"acme", score("acme", -1)[1]),
        (b"acme", score("acme", 1, band="great")[1]),
        (b"acme", score("acme", 1, score=101)[1]),
        (b"acme", score("acme", 1, currency="EUR|x")[1]),
        (b"acme", score("acme", 1, owner="a\nb")[1]),
        (b"acme", score("acme", 1, as_of="yesterday")[1]),
        (b"", None),
        (b"\xff", None),
        (None, None),
    ],
)
def test_what_is_no_score_of_ours_is_refused(key: bytes | None, value: bytes | None) -> None:
    """Whatever else is written to the topic is a ValueError, which the projector leaves out."""
    with pytest.raises(ValueError):  # noqa: PT011 - any of them, as the libraries have their own
        score_item(key, value, 0, 1)


def test_an_account_is_found_by_its_id_and_the_words_of_its_name() -> None:
    """Case does not matter; each of the first words begins an entry."""
    assert words_of("ACME-1", "Big Blue Corp Inc") == ["acme-1", "big blue corp", "blue corp", "corp"]
    assert words_of("x", None) == ["x"]


def test_a_redis_that_was_restarted_knows_the_scripts_again(redis_url: str) -> None:
    """Scripts that the server has forgotten are loaded again without a word."""

    async def job(copy: Copy) -> None:
        await copy.scores(score("acme", 1))
        await copy.client.script_flush()
        await copy.scores(score("acme", 2))
        await copy.client.script_flush()
        assert await copy.writer.beat({}, "m") is False
        assert isinstance(copy.writer, CopyWriter)

    with_copy(redis_url, job)


def test_a_place_that_never_rests_is_as_old_as_its_last_record(redis_url: str) -> None:
    """Under a steady flow the age is that of what was applied last, but only once the place was read to its end."""

    async def job(copy: Copy) -> None:
        reader = CopyReader(copy.client, copy.base)
        seconds, _ = await copy.client.time()
        now_ms = seconds * 1000
        flowing = dict.fromkeys(copy.places, now_ms - 5_000)
        assert not await copy.writer.beat(flowing, "")
        state = await reader.state()
        assert (state.as_of_ms, state.stale) == (None, True)
        await copy.live()
        await copy.client.hset(copy.key("current"), PLACE, now_ms - 60_000)
        assert await copy.writer.beat(flowing, "")
        reader = CopyReader(copy.client, copy.base)
        state = await reader.state()
        assert (state.as_of_ms, state.stale) == (now_ms - 5_000, False)
        await copy.client.hset(copy.key("current"), PLACE, now_ms - 60_000)
        reader = CopyReader(copy.client, copy.base)
        assert (await reader.state()).stale

    with_copy(redis_url, job)
