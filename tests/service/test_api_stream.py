"""The live stream: what happened comes once and in order, also after a cut; who does not read is cut off."""

from __future__ import annotations

import re
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from service.api.hub import Event, Filter, Follower
from service.api.keys import KeyRing, add_key, remove_key
from tests.service.api_kit import Served, serving
from tests.service.copy_kit import Copy, alert, erasure, score, taken


@pytest.fixture
def served(redis_url: str) -> Iterator[Served]:
    """Serve a live copy of one account."""
    with serving(redis_url, f"t{uuid.uuid4().hex[:8]}:") as api:
        api.change(_first)
        yield api


async def _first(copy: Copy) -> None:
    await copy.scores(score("acme", 1, band="healthy"))
    await copy.live()


class Events:
    """Server-sent events as a browser reads them."""

    def __init__(self, answer: httpx.Response) -> None:
        self._lines = answer.iter_lines()
        self.last_id = ""

    def next(self) -> tuple[str, Any]:
        """Wait for the next event; return its kind and data."""
        kind, data = "", None
        for line in self._lines:
            name, _, value = line.partition(": ")
            if name == "id":
                self.last_id = value
            elif name == "event":
                kind = value
            elif name == "data":
                data = orjson.loads(value)
            elif not line and kind:
                return kind, data
        raise EOFError

    def news(self) -> tuple[str, Any]:
        """Wait for the next event that is not about the age of the data."""
        for _ in range(30):
            if (found := self.next())[0] != "state":
                return found
        raise AssertionError("nothing was heard for long")


def wait_for_hub(served: Served) -> None:
    """Wait until the one reader of the process has begun: its beginning is told to those who came before."""
    while served.api.state.hub._keys is None:
        time.sleep(0.02)


@contextmanager
def following(served: Served, last_id: str = "", **parameters: Any) -> Iterator[Events]:
    """Open a stream; what happens afterwards is heard."""
    wait_for_hub(served)
    headers = {"Last-Event-ID": last_id} if last_id else {}
    with served.client() as client, client.stream("GET", "/v1/stream", params=parameters, headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = Events(answer)
        assert events.next()[0] == "state"
        yield events


def test_scores_and_alerts_are_heard_as_they_come(served: Served) -> None:
    """With the band before; repeats are not heard again."""
    with following(served) as events:

        async def change(copy: Copy) -> None:
            await copy.scores(score("acme", 2, band="at_risk"), score("acme", 2, band="at_risk"))
            await copy.alerts(alert("acme", 1, kind="at_risk"), alert("acme", 1, kind="at_risk"))
            await copy.scores((b"acme", None))

        served.change(change)
        kind, data = events.news()
        assert (kind, data["account"], data["band"], data["previous_band"]) == ("score", "acme", "at_risk", "healthy")
        kind, data = events.news()
        assert (kind, data["kind"], data["seq"]) == ("alert", "at_risk", 1)
        assert events.news() == ("reset", {})


@pytest.mark.parametrize("page", ["/", "/alerts", "/system", "/account?id=acme"])
def test_every_page_hears_that_an_account_is_erased(served: Served, page: str) -> None:
    """The stream that a page opens is answered, and its next news of an erasure is a reset; no event has the id."""
    wait_for_hub(served)
    with served.client() as client:
        found = re.search(r'data-stream="([^"]+)"', client.get(page).text)
        assert found
        with client.stream("GET", unescape(found[1])) as answer:
            assert answer.status_code == 200
            events = Events(answer)
            assert events.next()[0] == "state"
            served.change(lambda copy: copy.scores((b"acme", None)))
            assert events.news() == ("reset", {})


def test_who_asks_for_resets_alone_hears_nothing_else(served: Served) -> None:
    """A page that shows no account is not woken by each score."""
    with following(served, kind="reset") as events:

        async def change(copy: Copy) -> None:
            await copy.scores(score("acme", 2, band="at_risk"))
            await copy.alerts(alert("acme", 1))
            await copy.actions(taken("acme", 1, "note"), erasure("acme"))

        served.change(change)
        assert events.news() == ("reset", {})


@pytest.mark.parametrize("wanted", [{"owner": "dana"}, {"band": "at_risk"}, {"account": "acme"}])
def test_what_people_do_is_heard_by_those_whom_it_concerns(served: Served, wanted: dict[str, str]) -> None:
    """An applied or refused action once, with the alert's new state; filters are those of the account as it stands."""

    async def act(copy: Copy) -> None:
        await copy.scores(score("acme", 2, band="at_risk", owner="dana"), score("bolt", 1, owner="lee", band="healthy"))
        resolved: dict[str, Any] = {"alert_seq": 4, "alert_state": "resolved"}
        await copy.actions(taken("bolt", 1, "note"))
        await copy.actions(taken("acme", 1, "resolve", **resolved), taken("acme", 1, "resolve", **resolved))
        await copy.actions(taken("nobody", 1, "note", refusal="superseded"))

    with following(served, kind="action") as events, following(served, kind="action", **wanted) as mine:
        served.change(act)
        assert [events.news()[1]["account"] for _ in range(3)] == ["bolt", "acme", "nobody"]
        kind, data = mine.news()
        told = {name: data[name] for name in ("account", "seq", "action", "alert_seq", "alert_state", "band", "owner")}
        assert (kind, told) == (
            "action",
            {
                "account": "acme",
                "seq": 1,
                "action": "resolve",
                "alert_seq": 4,
                "alert_state": "resolved",
                "band": "at_risk",
                "owner": "dana",
            },
        )


def test_a_cut_loses_and_repeats_nothing(served: Served) -> None:
    """With the id of the last event a client hears everything after it, then what is new."""
    with following(served) as events:
        served.change(lambda copy: copy.scores(score("acme", 2)))
        assert events.news()[1]["seq"] == 2
        last_id = events.last_id
    served.change(lambda copy: copy.scores(*(score(f"a-{number}", 1) for number in range(1_200))))
    with following(served, last_id) as events:
        served.change(lambda copy: copy.scores(score("late", 1)))
        heard = [events.news()[1]["account"] for _ in range(1_201)]
    assert heard == [f"a-{number}" for number in range(1_200)] + ["late"]


@pytest.mark.parametrize("last_id", ["x", "00000000.1-1", "1-1", "0", "%.%", "9" * 90])
def test_an_id_that_is_not_known_is_answered_with_a_reset(served: Served, last_id: str) -> None:
    """The client is told to read the lists anew, and then hears what is new."""
    with following(served, last_id) as events:
        assert events.news() == ("reset", {})
        served.change(lambda copy: copy.scores(score("acme", 2)))
        assert events.news()[1]["seq"] == 2


def test_an_id_whose_successors_are_gone_is_answered_with_a_reset(served: Served) -> None:
    """When the stream no longer reaches back so far, nothing is passed over in silence."""
    with following(served) as events:
        served.change(lambda copy: copy.scores(score("acme", 2)))
        events.news()
        last_id = events.last_id

    async def trim(copy: Copy) -> None:
        await copy.scores(score("acme", 3))
        await copy.client.xtrim(copy.key("stream"), maxlen=1, approximate=False)

    served.change(trim)
    with following(served, last_id) as events:
        assert events.news() == ("reset", {})


def test_a_copy_begun_anew_is_a_reset(served: Served) -> None:
    """Those who follow are told when Redis was wiped and the copy is another."""
    with following(served) as events:

        async def wipe(copy: Copy) -> None:
            async for key in copy.client.scan_iter(match=copy.base + "*"):
                await copy.client.delete(key)
            await copy.begin()
            await _first(copy)

        served.change(wipe)
        assert events.news()[0] == "reset"


def test_who_comes_before_the_reader_has_begun_hears_it(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that is opened while the process does not know the copy yet begins with a reset."""
    monkeypatch.setattr("service.api.hub.KEEP_ALIVE_SECONDS", 2)
    with serving(redis_url, f"t{uuid.uuid4().hex[:8]}:") as served:
        served.change(_first)
        with served.client() as client, client.stream("GET", "/v1/stream") as answer:
            assert Events(answer).news() == ("reset", {})


def test_filters_let_through_what_was_asked_for(served: Served) -> None:
    """By account, owner, kind and band, where a band is heard when it is entered and when it is left."""

    async def change(copy: Copy) -> None:
        await copy.scores(score("a", 1, band="healthy", owner="lee"), score("b", 1, band="at_risk", owner="dana"))
        await copy.scores(score("b", 2, band="healthy", owner="dana"), score("b", 3, band="healthy", owner="dana"))
        await copy.alerts(alert("a", 1), alert("b", 1))

    with (
        following(served, band="at_risk", kind="score") as of_band,
        following(served, account="a", kind=["alert"]) as of_account,
        following(served, owner="lee") as of_owner,
    ):
        served.change(change)
        assert [of_band.news()[1]["seq"] for _ in range(2)] == [1, 2]
        assert of_account.news()[1]["account"] == "a"
        assert of_owner.news()[1]["account"] == "a"


def test_a_filter_judges_events() -> None:
    """An empty filter wants all, a reset is for everybody."""
    reset = Event("2", "reset", {})
    moved = Event("3", "score", {"account": "a", "owner": "lee"}, frozenset({"healthy", "at_risk"}))
    assert all(Filter().wants(event) for event in (reset, moved))
    assert Filter(accounts=frozenset("b")).wants(reset)
    assert not Filter(accounts=frozenset("b")).wants(moved)
    assert not Filter(bands=frozenset({"endangered"})).wants(moved)
    assert not Filter(owners=frozenset({"x"})).wants(moved)


def test_a_full_queue_ends_its_follower_only() -> None:
    """Nobody waits for one that does not keep up."""
    slow = Follower(Filter())
    for number in range(1_001):
        slow.tell(Event(str(number), "reset", {}))
    assert slow.lost
    assert slow.queue.qsize() == 1_000


def test_a_client_that_does_not_read_is_cut_off(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection is closed and its place freed, while another hears everything."""
    monkeypatch.setattr("service.api.stream.SEND_SECONDS", 0.5)
    host, port = served.url.removeprefix("http://").split(":")
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect((host, int(port)))
        slow.sendall(b"GET /v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with following(served) as events:
            assert len(served.api.state.hub) == 2
            total = 30_000
            for first in range(0, total, 1_000):
                served.change(partial(_thousand, first))
                for _ in range(1_000):
                    events.news()
            deadline = time.monotonic() + 10
            while len(served.api.state.hub) > 1:
                assert time.monotonic() < deadline
                time.sleep(0.1)


async def _thousand(first: int, copy: Copy) -> None:
    await copy.live()  # a busy machine takes longer for all of them than a copy counts as live without a beat
    await copy.scores(*(score(f"{'x' * 150}{number}", 1) for number in range(first, first + 1_000)))


def _ends(events: Events) -> bool:
    try:
        for _ in range(20):
            events.next()
    except EOFError:
        return True
    return False


def test_silence_is_kept_alive_and_a_removed_key_ends_it(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without news the age of the data comes again and again, until the key is taken back."""
    monkeypatch.setattr("service.api.hub.KEEP_ALIVE_SECONDS", 0.2)
    path = tmp_path / "keys.json"
    token = add_key(path, "page", "read", None)
    with serving(redis_url, f"t{uuid.uuid4().hex[:8]}:", keys=KeyRing(path)) as served:
        served.change(_first)
        wait_for_hub(served)
        with served.client(token) as client, client.stream("GET", "/v1/stream") as answer:
            events = Events(answer)
            for _ in range(4):
                kind, data = events.next()
                assert (kind, data["stale"]) == ("state", False)
            remove_key(path, token.split("_")[1])
            assert _ends(events)
