"""The forms of an account's page: who sees them, what they must carry, and what they say in place."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import httpx
import pytest

from service.api.keys import KeyRing, add_key
from service.api.page.acting import FORMS
from service.api.session import TOKEN_HEADER
from tests.service.api_kit import Served, serving
from tests.service.copy_kit import NOON_MS, Copy, alert, score, taken
from tests.service.test_page_hostile import CORPUS, Shape
from tests.service.test_page_login import log_in, token_of

PAGE = "/account?id=acme"
UNTIL = "2030-01-01T10:00"
GOOD = [
    {"form": "alert", "action": "acknowledge", "alert_seq": "3"},
    {"form": "alert", "action": "resolve", "alert_seq": "3", "note": "fixed"},
    {"form": "snooze", "until": UNTIL},
    {"form": "override", "band": "endangered", "reason": "champion left", "until": UNTIL},
    {"form": "lift", "band": "healthy", "reason": "she stays"},
    {"form": "sentiment", "sentiment": "-0.5"},
    {"form": "note", "note": "Größe"},
]
BAD = [
    ({"form": "alert", "action": "resolve"}, "alert_seq", "Choose an alert."),
    ({"form": "alert", "action": "resolve", "alert_seq": "last"}, "alert_seq", "Choose an alert."),
    ({"form": "alert", "alert_seq": "3"}, "action", "Choose what to do."),
    ({"form": "snooze"}, "until", "Choose a day and a time, in UTC."),
    ({"form": "snooze", "until": "2030-02-30T10:00"}, "until", "Choose a day and a time, in UTC."),
    ({"form": "override", "band": "healthy", "until": UNTIL}, "reason", "Say why, in up to 256 characters."),
    ({"form": "override", "band": "king", "reason": "x", "until": UNTIL}, "band", "Choose a band."),
    ({"form": "sentiment", "sentiment": "1.5"}, "sentiment", "Give a number from -1 to 1."),
    ({"form": "sentiment", "sentiment": "nan"}, "sentiment", "Give a number from -1 to 1."),
    ({"form": "note"}, "note", "Write one line of up to 2,000 characters."),
    ({"form": "note", "note": "a\nb"}, "note", "Write one line of up to 2,000 characters."),
]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """Make a key of each role."""
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    return path, {role: add_key(path, f"{role} key", role, None) for role in ("read", "act")}


@pytest.fixture(scope="module")
def served(redis_url: str, keys: tuple[Path, dict[str, str]]) -> Iterator[Served]:
    """Serve an account with four alerts; no broker answers."""
    with serving(redis_url, f"t{uuid.uuid4().hex[:8]}:", keys=KeyRing(keys[0])) as api:

        async def fill(copy: Copy) -> None:
            await copy.scores(score("acme", 1))
            await copy.alerts(*(alert("acme", seq, time_ms=NOON_MS + seq) for seq in range(1, 5)))
            await copy.actions(
                taken("acme", 1, "acknowledge", alert_seq=1, alert_state="acknowledged"),
                taken("acme", 2, "resolve", alert_seq=2, alert_state="resolved"),
                taken("acme", 3, "snooze", alert_seq=3, alert_state="snoozed", until="2099-01-01T00:00:00.000Z"),
            )

        api.change(fill)
        yield api


@pytest.fixture
def actor(served: Served, keys: tuple[Path, dict[str, str]]) -> Iterator[httpx.Client]:
    """Log in with a key that may act; requests carry the token."""
    with served.client() as client:
        log_in(client, keys[1]["act"])
        client.headers[TOKEN_HEADER] = token_of(client)
        yield client


def send(client: httpx.Client, fields: dict[str, str], key: str | None = None) -> httpx.Response:
    """Send a form with a key of its own."""
    return client.post(PAGE, data={"key": key or str(uuid.uuid4()), **fields})


def key_in(html: str) -> str:
    """Read the idempotency key of a form."""
    found = re.search(r'name="key" value="([^"]+)"', html)
    assert found
    return found[1]


def test_only_who_may_act_sees_forms(served: Served, keys: tuple[Path, dict[str, str]], actor: httpx.Client) -> None:
    """Each with a key of its own; a reader is told why there are none, and is refused."""
    page = actor.get(PAGE).text
    assert re.findall(r'<form class="act" id="act-(\w+)"', page) == list(FORMS)
    assert len(set(re.findall(r'name="key" value="([^"]+)"', page))) == len(FORMS)
    assert "may-not-act" not in page
    with served.client() as reader:
        log_in(reader, keys[1]["read"])
        reader.headers[TOKEN_HEADER] = token_of(reader)
        page = reader.get(PAGE).text
        assert "may-not-act" in page
        assert '<form class="act"' not in page
        assert "&amp;alert=" not in page
        assert [send(reader, fields).status_code for fields in GOOD] == [403] * len(GOOD)


def test_a_form_carries_the_sessions_token(actor: httpx.Client) -> None:
    """Without it, or from another site, nothing is taken."""
    token = actor.headers.pop(TOKEN_HEADER)
    assert send(actor, GOOD[0]).status_code == 403
    headers = {TOKEN_HEADER: token, "Origin": "https://evil.example"}
    assert actor.post(PAGE, data=GOOD[0], headers=headers).status_code == 403


@pytest.mark.parametrize("fields", GOOD)
def test_a_good_form_needs_the_brokers(actor: httpx.Client, fields: dict[str, str]) -> None:
    """Without them it says so in place, keeps what was typed, and its key, so that sending again acts once."""
    key = str(uuid.uuid4())
    answer = send(actor, fields, key)
    assert (answer.status_code, answer.headers["hx-reswap"]) == (503, "outerHTML")
    assert "the brokers do not answer" in answer.text
    assert "127.0.0.1" not in answer.text
    assert key_in(answer.text) == key
    assert all(value in unescape(answer.text) for value in fields.values())


@pytest.mark.parametrize(("fields", "place", "words"), BAD)
def test_what_is_wrong_is_said_at_its_field(
    actor: httpx.Client, fields: dict[str, str], place: str, words: str
) -> None:
    """In words, bound to the field for those who hear the page; before the brokers are needed."""
    answer = send(actor, fields)
    assert answer.status_code == 422
    fault = f"act-{fields['form']}-{place}-fault"
    assert f'role="alert" id="{fault}">{words}</span>' in answer.text
    assert answer.text.count('class="fault"') == 1
    assert (f'aria-describedby="{fault}"' in answer.text) == (place != "action")


@pytest.mark.parametrize("key", ["", "short", "x" * 36])
def test_a_form_without_its_key_gets_one(actor: httpx.Client, key: str) -> None:
    """It is not taken, as sending it twice would act twice."""
    answer = actor.post(PAGE, data={"form": "note", "note": "seen", "key": key})
    assert answer.status_code == 422
    assert "not whole" in answer.text
    assert str(uuid.UUID(key_in(answer.text))) != key


def test_a_body_that_is_too_long_is_not_read(actor: httpx.Client) -> None:
    """And an account that nobody has cannot be acted on."""
    assert "not whole" in send(actor, {"form": "note", "note": "x" * 40_000}).text
    unknown = actor.post("/account?id=nobody", data={"key": str(uuid.uuid4()), **GOOD[0]})
    assert unknown.status_code == 404
    assert "No account has this id" in unknown.text


@pytest.mark.parametrize("word", CORPUS)
def test_hostile_words_come_back_as_text(actor: httpx.Client, word: str) -> None:
    """In a note and in a reason: the same elements as with plain words."""
    for fields, name in ((GOOD[6], "note"), (GOOD[3], "reason")):
        shape = Shape(send(actor, {**fields, name: word}).text)
        assert shape.elements == Shape(send(actor, {**fields, name: "plain"}).text).elements
        assert set(shape.links) == {"/account?id=acme"}


def test_the_alerts_tell_what_people_did(actor: httpx.Client) -> None:
    """New, acknowledged, resolved, snoozed; a link leads to the form with its alert chosen, unless it is resolved."""
    page = actor.get(PAGE).text
    table = page[page.index('<table id="alerts">') : page.index("</table>", page.index('<table id="alerts">'))]
    states = re.findall(r'data-label="State"><span class="state \w+">(\w+)', table)
    assert states == ["New", "Snoozed", "Resolved", "Acknowledged"]
    links = re.findall(r'href="([^"]+)#act">', table)
    assert [link.rpartition("=")[2] for link in links] == ["4", "3", "1"]
    chosen = actor.get(unescape(links[2])).text
    assert re.findall(r'<option value="(\d+)" selected>', chosen) == ["1", "1"]
