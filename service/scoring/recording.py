"""How one event changes the aggregates of an account, whatever order events arrive in.

No score, band or alert is decided here. Every function expects the ring to stand at the day of the account's clock
and an event inside the ring, and returns which parts of the state it touched (PART_* bits), so that only the signals
that read them are computed anew.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection
from itertools import pairwise
from typing import Final

from service.scoring.events import AccountUpdate, Event, Payment, Survey, Ticket, Usage
from service.scoring.people import MAX_KEY_USERS, first_login, note_user
from service.scoring.records import NEVER, Attributes, Invoice, SurveyAnswer, TicketRecord
from service.scoring.state import (
    DAY_MS,
    PURCHASE_DAYS,
    RING_DAYS,
    RING_MASK,
    WINDOW_DAYS,
    AccountState,
    More,
    Purchases,
)

PART_LOGINS: Final = 1
PART_USAGE: Final = 2
PART_USERS: Final = 4
PART_KEY_USERS: Final = 8
PART_FEATURES: Final = 16
PART_PAYMENTS: Final = 32
PART_TICKETS: Final = 64
PART_SURVEYS: Final = 128
PART_PURCHASES: Final = 256
PART_FACTS: Final = 512  # facts about the account that signals read
PART_TENURE: Final = 1024
PART_ATTRIBUTES: Final = 2048  # the published facts; no signal reads them
ALL_SIGNAL_PARTS: Final = 2047

MAX_TICKETS: Final = 64  # the ticket load is past the end of any sensible curve long before
MAX_INVOICES: Final = 32  # about ten a month over the ring
MAX_SURVEYS: Final = 16  # five a month over the ring
MAX_MRR_FACTS: Final = 16
MAX_PURCHASE_DAYS: Final = 96
_BYTE_MAX: Final = 255


def record(state: AccountState, event: Event, key_features: Collection[str]) -> int:
    """Add one event to the aggregates; returns the PART_* bits it touched."""
    if isinstance(event, Usage):
        return _record_usage(state, event, key_features)
    touched = 0 if state.is_churned else note_seen(state, event.time_ms)
    if isinstance(event, Payment):
        return touched | _record_payment(state, event)
    if isinstance(event, Ticket):
        return touched | _record_ticket(state, event)
    if isinstance(event, Survey):
        return touched | _record_survey(state, event)
    if isinstance(event, AccountUpdate):
        return touched | _record_account(state, event)
    raise TypeError("an action is not counted; the engine applies it")


def note_seen(state: AccountState, time_ms: int) -> int:
    """Take the day of an event as the first one known, when it is."""
    day = time_ms // DAY_MS
    if state.first_seen_day != NEVER and day >= state.first_seen_day:
        return 0
    if time_ms < state.returned_ms:
        day = state.returned_ms // DAY_MS
        if state.first_seen_day == day:
            return 0
    state.first_seen_day = day
    return PART_TENURE


def _more(state: AccountState) -> More:
    if state.more is None:
        state.more = More()
    return state.more


# -- usage -----------------------------------------------------------------------------------------------


def _record_usage(state: AccountState, event: Usage, key_features: Collection[str]) -> int:
    """Mark the day as active, note the user, and count a login in its own day."""
    time_ms = event.time_ms
    day = time_ms // DAY_MS
    touched = 0
    if day != state.last_usage_ms // DAY_MS:
        touched = _mark_active(state, day)
    if time_ms > state.last_usage_ms:  # noqa: PLR1730  # a call of max() on the hottest path costs more
        state.last_usage_ms = time_ms
    users = note_user(state.users, event.user, day, state.day - RING_DAYS + 1)
    if users is not state.users:
        state.users = users
        touched |= PART_USERS
    if event.action != "login":
        if event.feature is not None:
            touched |= _record_feature(state, event.feature, day, key_features)
        return touched
    age_days = state.day - day
    logins = state.logins
    index = day % RING_DAYS
    if logins[index] == _BYTE_MAX and logins.typecode == "B":
        state.logins = logins = array("I", logins)
    logins[index] += 1
    if age_days < WINDOW_DAYS:
        state.recent_logins += 1
    elif age_days < 2 * WINDOW_DAYS:
        state.previous_logins += 1
    if day != state.last_login_day:
        touched |= _note_login_day(state, day)
    if state.more is not None and event.user in state.more.key_users:
        _count_key_user(state.more, event.user, day)
        touched |= PART_KEY_USERS
    return touched | PART_LOGINS


def _mark_active(state: AccountState, day: int) -> int:
    """Set the day's bit; the mask is counted from the day of the latest usage."""
    last_ms = state.last_usage_ms
    touched = 0
    if last_ms == NEVER:
        state.active_mask = 1
        touched = PART_USAGE
    else:
        age = last_ms // DAY_MS - day
        mask = state.active_mask
        if age < 0:
            state.active_mask = (mask << -age | 1) & RING_MASK if -age < RING_DAYS else 1
        elif age < RING_DAYS:
            state.active_mask = mask | 1 << age
        touched = PART_USAGE if state.active_mask != mask or age < 0 else 0
    if state.first_usage_day == NEVER or day < state.first_usage_day:
        state.first_usage_day = day
        touched = PART_USAGE | PART_USERS | PART_FEATURES
    if state.first_seen_day == NEVER or day < state.first_seen_day:
        state.first_seen_day = day
        touched |= PART_TENURE
    return touched


def _note_login_day(state: AccountState, day: int) -> int:
    if day < state.first_login_day or state.first_login_day == NEVER:
        state.first_login_day = day
    if day < state.last_login_day:
        return 0
    state.last_login_day = day
    return PART_USAGE


def _count_key_user(more: More, user: str, day: int) -> None:
    known = more.key_users[user]
    more.key_users = {**more.key_users, user: first_login(day) if known is None else known.with_login(day)}


def _record_feature(state: AccountState, feature: str, day: int, key_features: Collection[str]) -> int:
    more = _more(state)
    touched = 0 if more.has_features else PART_FEATURES
    more.has_features = True
    if feature in key_features and day > more.features.get(feature, NEVER):
        kept = {name: last for name, last in more.features.items() if name in key_features}
        more.features = {**kept, feature: day}
        touched = PART_FEATURES
    return touched


# -- payments and purchases ------------------------------------------------------------------------------


def _record_payment(state: AccountState, event: Payment) -> int:
    more = _more(state)
    if event.action == "purchase":
        return _record_purchase(more, event)
    more.has_payments = True
    touched = PART_PAYMENTS
    if event.action == "subscription_changed":
        facts = AccountUpdate(
            event.account, event.event_id, event.time_ms, mrr_minor=event.mrr_minor, currency=event.currency
        )
        return touched | _record_account(state, facts)
    key = event.invoice or ""  # a source that does not number its invoices has one of them
    known = more.invoices.get(key, Invoice())
    time_ms = event.time_ms
    if event.action == "payment_failed":
        day = time_ms // DAY_MS
        more.failures = {**more.failures, day: more.failures.get(day, 0) + 1}
        news = known.failed(time_ms)
    elif event.action == "invoice_paid":
        news = known.paid(time_ms)
    else:
        news = known.overdue(time_ms, min(time_ms, event.due_ms or time_ms))
    invoices = {**more.invoices, key: news}
    if len(invoices) > MAX_INVOICES:
        del invoices[min(invoices, key=lambda name: _invoice_need(name, invoices[name]))]
    more.invoices = invoices
    return touched


def _invoice_need(name: str, invoice: Invoice) -> tuple[bool, int, str]:
    """Order invoices, least needed first: settled ones by their latest news, then the open one that began last."""
    if invoice.is_overdue:
        return (True, -invoice.since_ms, name)
    return (True, -invoice.failed_ms, name) if invoice.is_failing else (False, invoice.last_ms, name)


def _record_purchase(more: More, event: Payment) -> int:
    if more.purchases is None:
        more.purchases = Purchases()
    purchases, day = more.purchases, event.time_ms // DAY_MS
    count, amounts = purchases.days.get(day, (0, {}))
    if event.amount_minor is not None and event.currency is not None:
        amounts = {**amounts, event.currency: amounts.get(event.currency, 0) + event.amount_minor}
    days = {**purchases.days, day: (count + 1, amounts)}
    oldest_day = max(days) - PURCHASE_DAYS + 1
    days = {known: entry for known, entry in days.items() if known >= oldest_day}
    if len(days) > MAX_PURCHASE_DAYS:
        del days[min(days)]
    purchases.days = days
    if purchases.first_day == NEVER or day < purchases.first_day:
        purchases.first_day = day
    return PART_PURCHASES


# -- tickets, surveys, facts -----------------------------------------------------------------------------


def _record_ticket(state: AccountState, event: Ticket) -> int:
    more = _more(state)
    more.has_tickets = True
    tickets = dict(more.tickets)
    tickets.setdefault(event.ticket, TicketRecord()).merge(event)
    if len(tickets) > MAX_TICKETS:
        # Least needed first: solved ones, then the one without news for the longest time.
        del tickets[min(tickets, key=lambda name: (tickets[name].is_open, tickets[name].last_ms, name))]
    more.tickets = tickets
    return PART_TICKETS


def _record_survey(state: AccountState, event: Survey) -> int:
    more = _more(state)
    span = event.scale_max - event.scale_min
    percent = min(100.0, max(0.0, 100.0 * (event.score - event.scale_min) / span))
    known = more.surveys.get(event.response)
    answer = SurveyAnswer(event.time_ms, percent, event.kind)
    if known is not None and known.news >= answer.news:
        return 0
    surveys = {**more.surveys, event.response: answer}
    if len(surveys) > MAX_SURVEYS:
        del surveys[min(surveys, key=lambda name: (surveys[name].time_ms, name))]
    more.surveys = surveys
    return PART_SURVEYS


def _record_account(state: AccountState, event: AccountUpdate) -> int:
    if state.attributes is None:
        state.attributes = Attributes()
    changed = state.attributes.merge(event)
    touched = PART_ATTRIBUTES if changed & Attributes.PUBLISHED else 0
    if state.is_churned:
        return touched
    if "key_users" in changed:
        _list_key_users(state, state.attributes.key_users or ())
        touched |= PART_KEY_USERS
    if event.mrr_minor is not None:
        _note_mrr(state, event.time_ms, event.mrr_minor)
        touched |= PART_FACTS
    if "currency" in changed:
        touched |= PART_PURCHASES
    is_said = event.csm_sentiment is not None  # the same word again counts for another 90 days
    return touched | (PART_FACTS if is_said or changed & {"renewal_ms", "stage"} else 0)


def relist_facts(state: AccountState, event: AccountUpdate) -> None:
    """Take up again what a returned account's facts say; `event` is the one that brought it back."""
    facts = state.attributes
    if facts is not None and facts.key_users:
        _list_key_users(state, facts.key_users)
    if event.mrr_minor is not None:
        _note_mrr(state, event.time_ms, event.mrr_minor)
    state.first_seen_day = state.returned_ms // DAY_MS


def _list_key_users(state: AccountState, names: tuple[str, ...]) -> None:
    known = state.more.key_users if state.more is not None else {}
    _more(state).key_users = {name: known.get(name) for name in names[:MAX_KEY_USERS]}


def _note_mrr(state: AccountState, time_ms: int, mrr_minor: int) -> None:
    more = _more(state)
    facts = dict(more.mrr_facts)
    facts[time_ms] = min(mrr_minor, facts.get(time_ms, mrr_minor))
    times = sorted(facts)
    before_ring = [known for known in times if known // DAY_MS <= state.day - RING_DAYS]
    times = times[max(0, len(before_ring) - 1) :]
    if len(times) > MAX_MRR_FACTS:
        repeated = next((b for a, b in pairwise(times) if facts[a] == facts[b]), times[0])
        times.remove(repeated)
    more.mrr_facts = tuple((known, facts[known]) for known in times)
