"""What the API refuses of an action before it becomes a command, and what it says without brokers."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from service.api.actions import WAIT_MAX_SECONDS, _wait_seconds
from tests.service.api_kit import Served, serving
from tests.service.copy_kit import score

UNTIL = "2030-01-01T00:00:00Z"
KEY = {"Idempotency-Key": "0c5b9f6e-note"}
GOOD: list[dict[str, Any]] = [
    {"action": "acknowledge", "alert_seq": 1},
    {"action": "snooze", "until": UNTIL},
    {"action": "snooze", "until": UNTIL, "alert_seq": 2, "note": "on holiday"},
    {"action": "resolve", "alert_seq": 1, "note": "fixed"},
    {"action": "override", "band": "endangered", "reason": "champion left", "until": UNTIL},
    {"action": "sentiment", "sentiment": -0.5},
    {"action": "note", "note": "Größe"},
    {"action": "erase", "reason": "request 17"},
]
BAD: list[Any] = [
    {},
    [],
    {"action": "delete"},
    {"action": "acknowledge"},
    {"action": "acknowledge", "alert_seq": 0},
    {"action": "resolve", "alert_seq": "1"},
    {"action": "snooze", "until": "tomorrow"},
    {"action": "snooze", "until": "2030-02-30T00:00:00Z"},
    {"action": "snooze", "until": "2030-01-01T00:00:00"},
    {"action": "snooze", "until": 1_900_000_000_000},
    {"action": "override", "band": "unknown", "reason": "x", "until": UNTIL},
    {"action": "override", "band": "healthy", "until": UNTIL},
    {"action": "override", "band": "healthy", "reason": "", "until": UNTIL},
    {"action": "sentiment", "sentiment": 1.5},
    {"action": "note"},
    {"action": "erase"},
    {"action": "erase", "reason": "", "note": "x"},
    {"action": "note", "note": "a\nb"},
    {"action": "note", "note": "x" * 2_001},
    {"action": "note", "note": "x", "actor": "somebody else"},
]


@pytest.fixture(scope="module")
def served(redis_url: str) -> Iterator[Served]:
    """Serve one account, without brokers."""
    with serving(redis_url, f"t{uuid.uuid4().hex[:8]}:") as api:
        api.change(lambda copy: copy.scores(score("acme", 1)))
        yield api


@pytest.mark.parametrize("body", GOOD)
def test_a_good_action_needs_the_brokers(served: Served, body: dict[str, Any]) -> None:
    """Without them the answer tells that, and when to ask again; reading goes on."""
    with served.client() as client:
        answer = client.post("/v1/accounts/acme/actions", json=body, headers=KEY)
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:vitals:problem:acting-unavailable")
        assert int(answer.headers["retry-after"]) >= 1
        assert "127.0.0.1" not in answer.text
        assert client.get("/v1/accounts/acme").status_code == 200


@pytest.mark.parametrize("body", BAD)
def test_a_wrong_action_is_refused(served: Served, body: Any) -> None:
    """With the place that is wrong, and before the brokers are needed."""
    with served.client() as client:
        answer = client.post("/v1/accounts/acme/actions", json=body, headers=KEY)
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:vitals:problem:invalid-request")
    assert answer.json()["errors"][0]["place"].startswith("body")


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "short"}, {"Idempotency-Key": "x" * 257}])
def test_an_action_needs_a_key_of_its_own(served: Served, headers: dict[str, str]) -> None:
    """Else whoever hears no answer could not tell whether to send it again."""
    with served.client() as client:
        answer = client.post("/v1/accounts/acme/actions", json=GOOD[0], headers=headers)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["place"] == "header.idempotency-key"


def test_a_page_of_another_site_cannot_act(served: Served) -> None:
    """A browser sends a header of its own, which an action needs, only with leave, and none is given."""
    asking = {
        "Origin": "https://evil.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "idempotency-key",
    }
    with served.client() as client:
        answer = client.options("/v1/accounts/acme/actions", headers=asking)
        assert answer.status_code == 405
        assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_an_account_that_nobody_has_cannot_be_acted_on(served: Served) -> None:
    """A slip in an id would begin an account."""
    with served.client() as client:
        answer = client.post("/v1/accounts/nobody/actions", json=GOOD[0], headers=KEY)
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:vitals:problem:account-not-found")


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        ("", 0),
        ("wait=5", 5),
        ("respond-async, wait=10", 10),
        ("Wait = 7; x=1", 7),
        ("wait=100000", WAIT_MAX_SECONDS),
        ("wait=-1", 0),
        ("wait=soon", 0),
        ("await=5", 0),
    ],
)
def test_how_long_the_caller_waits(prefer: str, seconds: int) -> None:
    """What cannot be read is no wish."""
    assert _wait_seconds(prefer) == seconds
