"""What of an account's stored state is told besides its score: signals, tickets, invoices, surveys, and past days.

The state is read with the core's own decoder, so that a route tells what the worker knows and scoring pays nothing for
it. A state of a release that this one does not read is told as missing: the score is still right.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from schemas.times import time_text
from service.account_copy.reader import HistoryDay
from service.errors import StateError
from service.scoring.model import Model
from service.scoring.records import NEVER, NO_SEVERITY, SEVERITIES, Attributes
from service.scoring.signals import SIGNALS
from service.scoring.state import NO_SCORE, SCORE_DAYS, AccountState, More
from service.scoring.state_codec import decode


def read_details(account: str, stored: bytes | None, model: Model) -> dict[str, Any] | None:
    """Tell what a stored state holds, its signals as the model reads them; None without one that can be read."""
    state = _read(account, stored)
    if state is None:
        return None
    facts, more = state.attributes or Attributes(), state.more or More()
    state.key_features = model.plan_for(state.attributes).key_features
    return {
        "as_of": time_text(state.clock_ms),
        "score_seq": state.score_seq,
        "signals": {name: signal.read(state) for name, signal in SIGNALS.items()},
        "tickets": _tickets(more),
        "invoices": _invoices(more),
        "surveys": [
            {"kind": answer.kind, "percent": answer.percent, "answered_at": time_text(answer.time_ms)}
            for answer in sorted(more.surveys.values(), reverse=True)
        ],
        "renewal_at": None if facts.renewal_ms is None else time_text(facts.renewal_ms),
        "csm_sentiment": facts.csm_sentiment,
        "key_users": list(facts.key_users or ()),
    }


def with_stored_days(account: str, stored: bytes | None, seen: Iterable[HistoryDay]) -> list[HistoryDay]:
    """Add to the days that the copy has seen those that only the state knows, oldest first."""
    state = _read(account, stored)
    days = {day.day: day for day in seen}
    if state is not None and state.scores is not None:
        for day in range(state.day - SCORE_DAYS, state.day):
            points = state.scores[day % SCORE_DAYS]
            if points != NO_SCORE and day not in days:
                days[day] = HistoryDay(day, points / 100, None)
    return [days[day] for day in sorted(days)]


def _read(account: str, stored: bytes | None) -> AccountState | None:
    try:
        return None if stored is None else decode(account, stored)
    except StateError:
        return None


def _tickets(more: More) -> list[dict[str, Any]]:
    still_open = [(name, ticket) for name, ticket in more.tickets.items() if ticket.is_open]
    still_open.sort(key=lambda entry: (-entry[1].severity, entry[1].first_ms, entry[0]))
    return [
        {
            "ticket": name,
            "severity": None if ticket.severity == NO_SEVERITY else SEVERITIES[ticket.severity],
            "tags": list(ticket.tags),
            "sentiment": ticket.sentiment,
            "opened_at": time_text(ticket.first_ms) if ticket.is_opening_known else None,
            "updated_at": time_text(ticket.last_ms),
        }
        for name, ticket in still_open
    ]


def _invoices(more: More) -> list[dict[str, Any]]:
    unpaid = [
        (
            invoice.since_ms if invoice.is_overdue else NEVER,
            invoice.failed_ms if invoice.is_failing else NEVER,
            name,
        )
        for name, invoice in more.invoices.items()
        if invoice.is_overdue or invoice.is_failing
    ]
    unpaid.sort(key=lambda entry: (min(time_ms for time_ms in entry[:2] if time_ms != NEVER), entry[2]))
    return [
        {"invoice": name, "overdue_since": _time(since_ms), "failed_at": _time(failed_ms)}
        for since_ms, failed_ms, name in unpaid
    ]


def _time(time_ms: int) -> str | None:
    return None if time_ms == NEVER else time_text(time_ms)
