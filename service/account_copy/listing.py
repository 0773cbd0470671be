"""One page of accounts: filtered, sorted, from after a given place in the order.

A place is a sort value and an account id, so a page goes on rightly whatever moved meanwhile. When few accounts pass
the narrowest filter, they are fetched and sorted; otherwise the sorted index is walked from the place on. A walk ends
after so many accounts, so no question holds Redis or this process up: such a page is short, and says where to go on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from service.account_copy.layout import Keys
from service.account_copy.reader import CopyReader
from service.account_copy.rows import WORD_MAX
from service.adapters.redis_client import RedisClient

Sort = Literal["risk", "mrr_at_risk", "trend"]
FEW: Final = 2_000
WALK_STEP: Final = 500
WALK_MAX: Final = 20_000


class Place(NamedTuple):
    """Where an account stands in an order: highest value first, then greatest id."""

    value: float
    account: str


@dataclass(frozen=True, slots=True)
class Question:
    """Which accounts, in which order; of each kind (band, tier, owner, factor) one of the values must hold."""

    sort: Sort = "risk"
    values: Mapping[str, Sequence[str]] | None = None
    search: str = ""


class TooBroad(Exception):  # noqa: N818 - it tells what the question is
    """A search that more accounts match than can be sorted."""


class Page(NamedTuple):
    """Accounts in order, and where the next page begins; None at the end."""

    places: list[Place]
    next_place: Place | None


async def list_accounts(reader: CopyReader, question: Question, after: Place | None, size: int) -> Page:
    """Return the accounts after a place; raises TooBroad."""
    keys = (await reader.state()).keys
    filters = [
        [keys.members(kind, value) for value in values] for kind, values in (question.values or {}).items() if values
    ]
    few = await _few(reader.client, keys, question, filters)
    if few is None:
        return await _walk(reader.client, keys.sorted_by(question.sort), filters, after, size)
    places = await _placed(reader.client, keys.sorted_by(question.sort), few, filters)
    places.sort(key=order, reverse=True)
    if after is not None:
        places = [place for place in places if order(place) < order(after)]
    return Page(places[:size], places[size - 1] if len(places) > size else None)


def order(place: Place) -> tuple[float, bytes]:
    """Return what a place is compared by."""
    return place.value, place.account.encode()  # by bytes, as Redis does


async def _few(
    client: RedisClient, keys: Keys, question: Question, filters: Sequence[Sequence[str]]
) -> list[str] | None:
    """Return a small set of accounts that holds all of the answer, None when there is none."""
    if question.search:
        return await _found(client, keys.of("words"), question.search)
    if not filters:
        return None
    async with client.pipeline(transaction=False) as pipe:
        for names in filters:
            for name in names:
                pipe.scard(name)
        counts = iter(await pipe.execute())
    sizes = [sum(next(counts) for _ in names) for names in filters]
    if min(sizes) > FEW:
        return None
    members = await client.sunion(filters[sizes.index(min(sizes))])
    return [member.decode() for member in members]


async def _found(client: RedisClient, words: str, search: str) -> list[str]:
    start = search.casefold()[:WORD_MAX].encode()
    entries = await client.zrangebylex(words, b"[" + start, b"(" + start + b"\xff", start=0, num=FEW + 1)
    if len(entries) > FEW:
        raise TooBroad
    return list({entry.split(b"\0", 1)[1].decode() for entry in entries})


async def _placed(
    client: RedisClient, index: str, accounts: Sequence[str], filters: Sequence[Sequence[str]]
) -> list[Place]:
    """Return the places of those accounts that pass every filter."""
    if not accounts:
        return []
    async with client.pipeline(transaction=False) as pipe:
        pipe.zmscore(index, list(accounts))
        _ask_members(pipe, accounts, filters)
        values, *answers = await pipe.execute()
    passed = _passed(len(accounts), answers, filters)
    return [
        Place(value, account)
        for value, account, ok in zip(values, accounts, passed, strict=True)
        if ok and value is not None
    ]


def _ask_members(pipe: RedisClient, accounts: Sequence[str], filters: Sequence[Sequence[str]]) -> None:
    for names in filters:
        for name in names:
            pipe.smismember(name, list(accounts))


def _passed(count: int, answers: Sequence[Sequence[int]], filters: Sequence[Sequence[str]]) -> list[bool]:
    passed, rest = [True] * count, iter(answers)
    for names in filters:
        members = [next(rest) for _ in names]
        passed = [ok and any(member[index] for member in members) for index, ok in enumerate(passed)]
    return passed


async def _walk(
    client: RedisClient, index: str, filters: Sequence[Sequence[str]], after: Place | None, size: int
) -> Page:
    rank = 0 if after is None else await rank_after(client, index, after)
    found: list[Place] = []
    last, walked = after, 0
    step = WALK_STEP if filters else size + 1
    while walked < WALK_MAX:
        chunk = [
            Place(value, member.decode())
            for member, value in await client.zrevrange(index, rank, rank + step - 1, withscores=True)
        ]
        if not chunk:
            return Page(found, None)
        for place, ok in zip(chunk, await passing(client, [place.account for place in chunk], filters), strict=True):
            if ok and len(found) == size:
                return Page(found, last)
            if ok:
                found.append(place)
            last = place
        rank, walked = rank + len(chunk), walked + len(chunk)
    return Page(found, last)


async def passing(client: RedisClient, accounts: Sequence[str], filters: Sequence[Sequence[str]]) -> list[bool]:
    """Tell of each account whether one of the sets of every filter has it."""
    if not filters or not accounts:
        return [True] * len(accounts)
    async with client.pipeline(transaction=False) as pipe:
        _ask_members(pipe, accounts, filters)
        return _passed(len(accounts), await pipe.execute(), filters)


async def rank_after(client: RedisClient, index: str, after: Place) -> int:
    """Return the rank of the first account after a place, also when the account at the place has moved or gone."""
    async with client.pipeline(transaction=False) as pipe:
        pipe.zscore(index, after.account)
        pipe.zrevrank(index, after.account)
        pipe.zcount(index, f"({after.value!r}", "+inf")
        pipe.zcount(index, repr(after.value), "+inf")
        value, rank, low, high = await pipe.execute()
    if value == after.value:
        return int(rank) + 1
    wanted = after.account.encode()
    while low < high:  # among the accounts with the same value
        middle = (low + high) // 2
        (member,) = await client.zrevrange(index, middle, middle) or (b"",)
        low, high = (middle + 1, high) if member > wanted else (low, middle)
    return int(low)
