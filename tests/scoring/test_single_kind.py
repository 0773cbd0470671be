"""Accounts of which one kind of event is known: the default model still ranks them, and gives a band where it may.

What may have a band, and why, is decided in docs/decisions/0011-one-kind-of-event.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Final, TypeAlias

import pytest

from service.scoring.engine import step, tick
from service.scoring.events import Event
from service.scoring.state import AccountState
from service.scoring.views import Band
from tests.scoring.logs import DAY, HOUR, T0, Clock
from tests.scoring.models import DEFAULT

DAYS: Final = 235
TURN: Final = 200  # the day from which a deteriorating account does badly

History: TypeAlias = Callable[[Clock, int, float], Iterator[Event]]
"""The events of one day of an account at `level`: 1 = all is well, 0 = all is lost."""


def usage(clock: Clock, day: int, level: float) -> Iterator[Event]:
    if day % 7 < 4 * level:
        yield clock.login(T0 + day * DAY + 9 * HOUR)


def payments(clock: Clock, day: int, level: float) -> Iterator[Event]:
    time_ms, invoice = T0 + day * DAY + 9 * HOUR, f"i{day // 30}"
    if day % 30 == 0:
        yield clock.payment(time_ms, "invoice_paid" if level == 1 else "payment_failed", invoice=invoice)
    elif day % 30 == 8 and level < 0.5:
        yield clock.payment(time_ms, "invoice_overdue", invoice=invoice, due_ms=time_ms)


def billing(clock: Clock, day: int, level: float) -> Iterator[Event]:
    yield from payments(clock, day, level)
    if day in {0, TURN}:
        mrr = {"mrr_minor": int(50_000 * (0.5 + level / 2)), "currency": "EUR"}
        yield clock.payment(T0 + day * DAY + 10 * HOUR, "subscription_changed", **mrr)


def tickets(clock: Clock, day: int, level: float) -> Iterator[Event]:
    time_ms, name = T0 + day * DAY + 9 * HOUR, f"t{day // 20}"
    if day % 20 == 0:
        severity = "normal" if level == 1 else "high" if level > 0 else "urgent"
        yield clock.ticket(time_ms, "opened", name, severity, sentiment=1.6 * level - 0.8)
    elif day % 20 == 2 and level == 1:
        yield clock.ticket(time_ms, "solved", name)


def surveys(clock: Clock, day: int, level: float) -> Iterator[Event]:
    if day % 30 == 0:
        yield clock.survey(T0 + day * DAY + 9 * HOUR, 9 * level, f"r{day}")


def purchases(clock: Clock, day: int, level: float) -> Iterator[Event]:
    if day % 15 == 0 and (level == 1 or (level > 0 and day % 30 == 0)):
        yield clock.payment(T0 + day * DAY + 9 * HOUR, "purchase", amount_minor=9_900, currency="EUR")


def opinions(clock: Clock, day: int, level: float) -> Iterator[Event]:
    if day % 30 == 0:
        yield clock.update(T0 + day * DAY + 9 * HOUR, csm_sentiment=1.6 * level - 0.8)


@cache
def account(history: History, level: float) -> AccountState:
    """Live through all days, from `TURN` on at `level`."""
    state, clock = AccountState("acme"), Clock()
    for day in range(DAYS):
        for event in history(clock, day, 1.0 if day < TURN else level):
            step(state, event, event.time_ms, DEFAULT)
    while state.next_due_ms is not None and state.next_due_ms <= T0 + DAYS * DAY:
        tick(state, state.next_due_ms, DEFAULT)
    return state


KINDS: Final[dict[History, tuple[Band, Band]]] = {  # the bands of a steady and of a lost account
    usage: ("healthy", "endangered"),
    billing: ("healthy", "endangered"),
    payments: ("unknown", "unknown"),
    tickets: ("unknown", "unknown"),
    surveys: ("unknown", "unknown"),
    purchases: ("unknown", "unknown"),
    opinions: ("unknown", "unknown"),
}


@pytest.mark.parametrize("history", KINDS, ids=lambda history: history.__name__)
def test_one_kind_of_event_ranks_risk(history: History) -> None:
    """A steady account scores above one that does worse, and that one above one that is lost."""
    steady, worse, lost = (account(history, level).score for level in (1.0, 0.5, 0.0))
    assert steady is not None
    assert worse is not None
    assert lost is not None
    assert steady > worse + 5
    assert worse > lost + 5
    assert steady >= 90
    assert lost < steady - 30


@pytest.mark.parametrize("history", KINDS, ids=lambda history: history.__name__)
def test_one_kind_of_event_gives_a_band_where_coverage_allows(history: History) -> None:
    """Usage and billing with revenue have a band; other kinds alone are too little for one, and tell nothing."""
    for level, band in zip((1.0, 0.0), KINDS[history], strict=True):
        state = account(history, level)
        assert state.band == band
        assert (state.coverage >= DEFAULT.min_coverage) is (band != "unknown")
        assert bool(state.unsent) is (band == "endangered")


@pytest.mark.parametrize(
    ("history", "other"), [(tickets, surveys), (payments, purchases)], ids=lambda history: history.__name__
)
def test_two_small_kinds_together_give_a_band(history: History, other: History) -> None:
    """What each is too little for alone, tickets and surveys, or payments and purchases, have together."""

    def both(clock: Clock, day: int, level: float) -> Iterator[Event]:
        yield from history(clock, day, level)
        yield from other(clock, day, level)

    assert account(both, 1.0).band == "healthy"
    assert account(both, 0.0).band in {"at_risk", "endangered"}
