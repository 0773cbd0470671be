"""What one account shows beyond its score: what its stored state holds, and days that the copy did not see."""

from __future__ import annotations

import uuid

import pytest

from agents.runtime.table import FORMAT, HEADER
from schemas.times import time_text
from service.model.loader import load_model
from service.scoring.engine import step
from service.scoring.events import AccountUpdate, Event, Payment, Survey, Ticket, Usage
from service.scoring.signals import SIGNALS
from service.scoring.state import AccountState, score_before
from tests.service.api_kit import serving
from tests.service.copy_kit import DAY_MS, NOON_MS, Copy, score, stored

NO_MODEL = {"model_changed": False, "new_model_version": None}


async def _known_account(copy: Copy) -> AccountState:
    """Have the copy hold the state of an account of 40 days, with everything that an account may have."""
    state, model = AccountState("acme"), load_model()
    start_ms = NOON_MS - 40 * DAY_MS
    events: list[Event] = [
        AccountUpdate("acme", "a", start_ms, renewal_ms=NOON_MS + DAY_MS, key_users=("ann",), csm_sentiment=-0.5),
        *(Usage("acme", f"u{day}", start_ms + day * DAY_MS, "login", "ann") for day in range(40)),
        Ticket("acme", "t1", NOON_MS - 9, "opened", "low-1", "low", ("ui",)),
        Ticket("acme", "t2", NOON_MS - 8, "updated", "urgent-1", "urgent", ("bug", "api"), -0.25),
        Ticket("acme", "t3", NOON_MS - 7, "opened", "done", "high"),
        Ticket("acme", "t4", NOON_MS - 6, "solved", "done", None),
        Payment("acme", "p1", NOON_MS - 5, "payment_failed", 100, "EUR", "i-failed"),
        Payment("acme", "p2", NOON_MS - 4, "invoice_overdue", 100, "EUR", "i-late", due_ms=NOON_MS - 3 * DAY_MS),
        Payment("acme", "p3", NOON_MS - 3, "invoice_paid", 100, "EUR", "i-paid"),
        Survey("acme", "s1", NOON_MS - 2, "nps", "r1", 9, 0, 10),
        Survey("acme", "s2", NOON_MS - 1, "csat", "r2", 2, 1, 5),
    ]
    for event in events:
        step(state, event, event.time_ms, model)
    await copy.states(stored(state))
    await copy.scores(score("acme", 1))
    await copy.live()
    return state


def test_an_account_shows_what_its_state_holds(redis_url: str) -> None:
    """Signals, open tickets, unpaid invoices and surveys of the stored state, each in its order."""
    with serving(redis_url, f"t{uuid.uuid4().hex[:8]}:") as served, served.client() as client:
        state = served.change(_known_account)
        details = client.get("/v1/accounts/acme").json()["details"]
        ids = {name: entry.read(state) for name, entry in SIGNALS.items()}
        assert details.pop("signals") == ids
        assert ids["negative_surveys"] == 1
        assert details == {
            "as_of": time_text(NOON_MS - 1),
            "score_seq": state.score_seq,
            "tickets": [
                {
                    "ticket": "urgent-1",
                    "severity": "urgent",
                    "tags": ["api", "bug"],
                    "sentiment": -0.25,
                    "opened_at": None,
                    "updated_at": time_text(NOON_MS - 8),
                },
                {
                    "ticket": "low-1",
                    "severity": "low",
                    "tags": ["ui"],
                    "sentiment": None,
                    "opened_at": time_text(NOON_MS - 9),
                    "updated_at": time_text(NOON_MS - 9),
                },
            ],
            "invoices": [
                {"invoice": "i-late", "overdue_since": time_text(NOON_MS - 3 * DAY_MS), "failed_at": None},
                {"invoice": "i-failed", "overdue_since": None, "failed_at": time_text(NOON_MS - 5)},
            ],
            "surveys": [
                {"kind": "csat", "percent": 25.0, "answered_at": time_text(NOON_MS - 1)},
                {"kind": "nps", "percent": 90.0, "answered_at": time_text(NOON_MS - 2)},
            ],
            "renewal_at": time_text(NOON_MS + DAY_MS),
            "csm_sentiment": -0.5,
            "key_users": ["ann"],
        }


def test_days_that_the_copy_did_not_see_are_those_of_the_state(redis_url: str) -> None:
    """After a wipe an account has the days that the worker knows, without bands, and today's with one."""
    with serving(redis_url, f"t{uuid.uuid4().hex[:8]}:") as served, served.client() as client:
        state = served.change(_known_account)
        days = client.get("/v1/accounts/acme/history").json()["days"]
        known = [score_before(state, age) for age in range(31, 0, -1)]
        assert [round(day["score"] * 100) for day in days[:-1]] == [points for points in known if points is not None]
        assert len(days) > 20
        assert {day["band"] for day in days[:-1]} == {None}
        assert days[-2]["day"] == "2026-03-19"
        assert days[-1] == {"day": "2026-03-20", "score": 48.5, "band": "at_risk", **NO_MODEL}


@pytest.mark.parametrize("damaged", [b"", b"\xff" * 300])
def test_a_state_that_cannot_be_read_leaves_the_score(redis_url: str, damaged: bytes) -> None:
    """A worker of another release hides the details and nothing else."""
    with serving(redis_url, f"t{uuid.uuid4().hex[:8]}:") as served, served.client() as client:

        async def fill(copy: Copy) -> None:
            await copy.states((b"acme", HEADER.pack(FORMAT, 1, 1) + damaged))
            await copy.scores(score("acme", 1))

        served.change(fill)
        view = client.get("/v1/accounts/acme").json()
        assert (view["details"], view["score"]["score"]) == (None, 48.5)
        assert [day["score"] for day in client.get("/v1/accounts/acme/history").json()["days"]] == [48.5]
