"""How one event changes the aggregates of an account, whatever order events arrive in.

No score, band or alert is decided here. Every function expects the ring to stand at the day of the account's clock
and an event inside the ring, and returns which parts of the state it touched (PART_* bits), so that only the factors
that read them are computed anew.
"""

from __future__ import annotations

from array import array
from typing import Final

from service.scoring.events import AccountUpdate, Event, Payment, Survey, Ticket, Usage
from service.scoring.records import NEVER, Attributes, Invoice, SurveyAnswer, TicketRecord
from service.scoring.state import DAY_MS, RING_DAYS, WINDOW_DAYS, AccountState

PART_LOGINS: Final = 1
PART_USAGE: Final = 2
PART_PAYMENTS: Final = 4
PART_TICKETS: Final = 8
PART_SURVEYS: Final = 16
PART_OPINION: Final = 32  # what the account's CSM thinks
PART_ATTRIBUTES: Final = 64  # the published ones; no signal reads them
ALL_SIGNAL_PARTS: Final = 63

MAX_TICKETS: Final = 64  # the ticket load is past the end of any sensible curve long before
MAX_INVOICES: Final = 32  # about ten a month over the ring; the longest overdue ones are kept
MAX_SURVEYS: Final = 16  # only the latest answers are read
_BYTE_MAX: Final = 255


def record(state: AccountState, event: Event) -> int:
    """Add one event to the aggregates; returns the PART_* bits it touched."""
    if isinstance(event, Usage):
        return _record_usage(state, event)
    if isinstance(event, Payment):
        return _record_payment(state, event)
    if isinstance(event, Ticket):
        return _record_ticket(state, event)
    if isinstance(event, Survey):
        return _record_survey(state, event)
    return _record_account(state, event)


def _record_usage(state: AccountState, event: Usage) -> int:
    """Count a login in its own day and mark that day as active."""
    time_ms = event.time_ms
    day = time_ms // DAY_MS
    age_days = state.day - day
    touched = 0
    if time_ms > state.last_usage_ms:  # noqa: PLR1730  # a call of max() on the hottest path costs more
        state.last_usage_ms = time_ms
    if not state.active_mask >> age_days & 1:  # else the day is known, and signals of usage read whole days
        state.active_mask |= 1 << age_days
        if state.first_usage_day == NEVER or day < state.first_usage_day:
            state.first_usage_day = day
        touched = PART_USAGE
    if event.action != "login":
        return touched
    logins = state.logins
    index = day % RING_DAYS
    if logins[index] == _BYTE_MAX and logins.typecode == "B":
        state.logins = logins = array("I", logins)
    logins[index] += 1
    if age_days < WINDOW_DAYS:
        state.recent_logins += 1
    elif age_days < 2 * WINDOW_DAYS:
        state.previous_logins += 1
    if day < state.first_login_day or state.first_login_day == NEVER:
        state.first_login_day = day
    return touched | PART_LOGINS


def _record_payment(state: AccountState, event: Payment) -> int:
    state.last_payment_ms = max(state.last_payment_ms, event.time_ms)
    touched = PART_PAYMENTS
    if event.action == "payment_failed":
        day = event.time_ms // DAY_MS
        state.failures = {**state.failures, day: state.failures.get(day, 0) + 1}
    elif event.action in {"invoice_overdue", "invoice_paid"}:
        _record_invoice(state, event)
    elif event.action == "subscription_changed":
        facts = AccountUpdate(
            event.account, event.event_id, event.time_ms, mrr_minor=event.mrr_minor, currency=event.currency
        )
        touched |= _record_account(state, facts)
    return touched


def _record_invoice(state: AccountState, event: Payment) -> None:
    key = event.invoice or ""  # a source that does not number its invoices has one of them
    paid = event.action == "invoice_paid"
    since_ms = NEVER if paid else min(event.time_ms, event.due_ms or event.time_ms)
    known = state.invoices.get(key)
    news = Invoice(event.time_ms, paid, since_ms)
    if known is not None and (known.last_ms, known.paid, -known.since_ms) >= (news.last_ms, paid, -since_ms):
        return
    invoices = {**state.invoices, key: news}
    if len(invoices) > MAX_INVOICES:
        # Least needed first: payments, oldest first, then the invoice that is overdue for the shortest time.
        del invoices[min(invoices, key=lambda name: _invoice_need(name, invoices[name]))]
    state.invoices = invoices


def _invoice_need(name: str, invoice: Invoice) -> tuple[bool, int, str]:
    return (not invoice.paid, invoice.last_ms if invoice.paid else -invoice.since_ms, name)


def _record_ticket(state: AccountState, event: Ticket) -> int:
    state.last_ticket_ms = max(state.last_ticket_ms, event.time_ms)
    tickets = dict(state.tickets)
    tickets.setdefault(event.ticket, TicketRecord()).merge(event)
    if len(tickets) > MAX_TICKETS:
        # Least needed first: solved ones, then the one without news for the longest time.
        del tickets[min(tickets, key=lambda name: (tickets[name].is_open, tickets[name].last_ms, name))]
    state.tickets = tickets
    return PART_TICKETS


def _record_survey(state: AccountState, event: Survey) -> int:
    span = event.scale_max - event.scale_min
    percent = min(100.0, max(0.0, 100.0 * (event.score - event.scale_min) / span))
    known = state.surveys.get(event.response)
    if known is not None and (known.time_ms, -known.percent) >= (event.time_ms, -percent):
        return 0
    surveys = {**state.surveys, event.response: SurveyAnswer(event.time_ms, percent, event.kind)}
    if len(surveys) > MAX_SURVEYS:
        del surveys[min(surveys, key=lambda name: (surveys[name].time_ms, name))]
    state.surveys = surveys
    return PART_SURVEYS


def _record_account(state: AccountState, event: AccountUpdate) -> int:
    if state.attributes is None:
        state.attributes = Attributes()
    changed = state.attributes.merge(event)
    touched = PART_OPINION if "csm_sentiment" in changed else 0
    return touched | (PART_ATTRIBUTES if changed & Attributes.PUBLISHED else 0)
