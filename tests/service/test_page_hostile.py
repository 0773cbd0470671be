"""Whatever customers, users and publishers call things, a page has the same elements, and says it as text.

Every template is rendered twice, with plain words and with hostile ones in every place that others fill; what a parser
makes of the two must not differ in any element or in the name of any attribute.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote

import pytest

from service.account_copy.layout import BANDS
from service.model.loader import load_model
from service.scoring.engine import step
from service.scoring.events import AccountUpdate, Event, Payment, Survey, Ticket
from service.scoring.state import AccountState
from tests.service.api_kit import Served, serving
from tests.service.copy_kit import ALERT, NOON_MS, SCORE, Copy, alert, score, stored, taken
from tests.service.test_api_reading import HOSTILE

CORPUS = [
    *HOSTILE,
    "<img src=x onerror=alert(1)>",
    '"><script src=//evil.example/x.js></script>',
    "' onmouseover='alert(1)",
    '" hx-get="//evil.example" hx-trigger="load" x="',
    "</title></head><body onload=alert(1)>",
    "javascript:alert(1)//",
    "{{ request.app.state.keys }}{% raw %}",
    "${alert(1)}`+alert(1)+`",
    "</bdi></table><form action=//evil.example><input name=key>",
    "<!--",
    "]]>&lt;b&gt;&#x3c;script&#x3e;",
    "<svg/onload=alert(1)>",
    "\u2028\u2029\ufeff\u200b\u202e\u2066<b>",
]
PLAIN = "plain"


class Shape(HTMLParser):
    """The elements of a page with the names of their attributes, and all its text."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, tuple[str, ...]]] = []
        self.text = ""
        self.links: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(name for name, _ in attrs)))
        self.links += [
            value or "" for name, value in attrs if name in {"href", "src", "action", "hx-get", "hx-post", "data-here"}
        ]

    def handle_endtag(self, tag: str) -> None:
        self.elements.append(("/" + tag, ()))

    def handle_comment(self, data: str) -> None:
        self.elements.append(("comment", ()))

    def handle_data(self, data: str) -> None:
        self.text += data


def named(word: str) -> dict[str, Any]:
    """Give every field of a message that holds a text of others this text."""
    label, text = word[:64].strip() or "x", word
    factors = [{**factor, "label": label, "name": label, "sentence": text} for factor in SCORE["data"]["factors"]]
    return {
        "name": text,
        "owner": text,
        "override_reason": text,
        "override_until": "2026-04-01T00:00:00.000Z",
        "computed_band": "healthy",
        "rules": [label],
        "factors": factors,
        "model_version": label,
    }


def told(word: str) -> dict[str, Any]:
    """Do the same for an alert."""
    factors = [{**factor, "label": word[:64], "sentence": word} for factor in ALERT["data"]["factors"]]
    return {"name": word, "owner": word, "sentence": word, "factors": factors, "rule": word[:64]}


def state_of(account: str, word: str) -> AccountState:
    """Make a state with a ticket, an invoice, a survey and a key user of that name."""
    events: list[Event] = [
        AccountUpdate(account, "1", NOON_MS, name=word, owner=word, key_users=(word,)),
        Ticket(account, "2", NOON_MS, "opened", word, "high", (word[:64],), None),
        Payment(account, "3", NOON_MS, "payment_failed", 100, "EUR", word),
        Survey(account, "4", NOON_MS, "nps", word, 2.0, 0.0, 10.0),
    ]
    state = AccountState(account)
    model = load_model()
    for event in events:
        step(state, event, NOON_MS, model)
    return state


@pytest.fixture(scope="module")
def served(redis_url: str) -> Iterator[Served]:
    """Serve the accounts of the corpus, each alone with its owner, and a plain one."""
    with serving(redis_url, f"t{uuid.uuid4().hex[:8]}:") as api:

        async def fill(copy: Copy) -> None:
            for word in [*CORPUS, PLAIN]:
                await copy.scores(score(word, 1, band=BANDS[3], **named(word)))
                await copy.alerts(alert(word, 1, **told(word)))
                await copy.states(stored(state_of(word, word)))
                said: dict[str, Any] = {
                    "actor": word,
                    "reason": word,
                    "band": "endangered",
                    "until": "2030-01-01T00:00:00.000Z",
                }
                await copy.actions(taken(word, 1, "override", **said))
            # Never said to be whole, so that the notice about it is the same however slow the machine.

        api.change(fill)
        yield api


def shape(served: Served, path: str, status: int = 200) -> Shape:
    """Read a page."""
    with served.client() as client:
        answer = client.get(path)
    assert answer.status_code == status, answer.text
    return Shape(answer.text)


@pytest.mark.parametrize("word", CORPUS)
@pytest.mark.parametrize("path", ["/account?id={}", "/?show=all&owner={}", "/?show=all&search={}"])
def test_a_hostile_name_is_text(served: Served, path: str, word: str) -> None:
    """The page of such an account, the list of its owner, the search for it: the same elements, the word as text."""
    sent = word[:64] if "search" in path else word
    found = shape(served, path.format(quote(sent, safe="")))
    same = shape(served, path.format(PLAIN))
    if "search" in path:  # it finds others as well, so only the field that repeats it is the same
        assert {tag for tag, _ in found.elements} <= {tag for tag, _ in same.elements} | {"q", "/q", "nav"}
    else:
        assert word in found.text
        assert found.elements == same.elements
    for link in found.links:
        assert re.match(r"^(/(?![/\\])|#)", link), link


@pytest.mark.parametrize("word", CORPUS)
def test_hostile_addresses_are_text(served: Served, word: str) -> None:
    """Of accounts that do not exist, of filters that are none, and of places to go to after the login."""
    there = quote(word, safe="")
    unknown = shape(served, f"/account?id=none{there}"[:256], 404)
    assert unknown.elements == shape(served, "/account?id=none", 404).elements
    kind = shape(served, f"/alerts?kind={quote(word[:64], safe='')}")
    assert kind.elements == shape(served, "/alerts?kind=x").elements
    assert word[:64].replace("_", " ").casefold() in kind.text.casefold()
    wrong = shape(served, f"/?show={there}", 422)
    assert wrong.elements == shape(served, "/?show=x", 422).elements


def test_alerts_of_hostile_accounts_are_rows_like_any_other(served: Served) -> None:
    """Each of the elements of the others, and all their words as text."""
    page = shape(served, "/alerts")
    start = page.elements.index(("tbody", ("id",)))
    rows = page.elements[start + 1 : page.elements.index(("/tbody", ()))]
    size = rows.index(("/tr", ())) + 1
    assert len(rows) == size * (len(CORPUS) + 1)
    assert rows == rows[:size] * (len(CORPUS) + 1)
    assert all(word in page.text for word in CORPUS)


def test_every_hostile_account_is_in_the_list_and_can_be_opened(served: Served) -> None:
    """By the link of its row, which needs no script."""
    listed = shape(served, "/?show=all&sort=risk")
    links = [link for link in listed.links if link.startswith("/account?id=")]
    assert len(set(links)) == len(CORPUS) + 1
    for link in sorted(set(links)):
        shape(served, link)
