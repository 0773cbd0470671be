"""Events and generated logs for the tests of the core: short builders, and strategies over instants that matter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from service.scoring.events import AccountUpdate, Event, Payment, Survey, Ticket, Usage

DAY = 86_400_000
HOUR = 3_600_000
DAY_0 = 19_000
T0 = DAY_0 * DAY  # midnight, UTC


@dataclass
class Clock:
    """Numbers events, so that every one has its own id."""

    account: str = "acme"
    count: int = field(default=0)

    def _next(self) -> str:
        self.count += 1
        return f"test\x1f{self.count}"

    def login(self, time_ms: int, user: str = "ann") -> Usage:
        return Usage(self.account, self._next(), time_ms, "login", user)

    def usage(self, time_ms: int, action: Any, user: str = "ann", feature: str | None = None) -> Usage:
        return Usage(self.account, self._next(), time_ms, action, user, feature=feature)

    def payment(self, time_ms: int, action: Any, **facts: Any) -> Payment:
        return Payment(self.account, self._next(), time_ms, action, **facts)

    def ticket(self, time_ms: int, action: Any, ticket: str = "t1", severity: Any = None, **facts: Any) -> Ticket:
        return Ticket(self.account, self._next(), time_ms, action, ticket, severity, **facts)

    def survey(self, time_ms: int, score: float, response: str = "r1", high: float = 10.0) -> Survey:
        return Survey(self.account, self._next(), time_ms, "nps", response, score, 0.0, high)

    def update(self, time_ms: int, **facts: Any) -> AccountUpdate:
        return AccountUpdate(self.account, self._next(), time_ms, **facts)


_SEVERITY = st.sampled_from([None, "low", "normal", "high", "urgent"])
_SENTIMENT = st.sampled_from([None, -1.0, -0.25, 0.5, 1.0])
_TAGS = st.sampled_from([(), ("bug",), ("billing", "bug")])

_Make = Callable[[Clock, int], Event]


def _ticket(action: str, number: int, severity: str | None, tags: tuple[str, ...], mood: float | None) -> _Make:
    return lambda clock, t: clock.ticket(t, action, f"t{number}", severity, tags=tags, sentiment=mood)


def _payment(action: str, number: int, late_days: int) -> _Make:
    facts = {"invoice": f"i{number}", "due_ms": late_days * DAY, "mrr_minor": 1000 * number, "currency": "EUR"}
    return lambda clock, t: clock.payment(t, action, **{**facts, "due_ms": t - late_days * DAY})


def _survey(number: int, score: float) -> _Make:
    return lambda clock, t: clock.survey(t, score, f"r{number}")


def _login(user: str) -> _Make:
    return lambda clock, t: clock.login(t, user)


def _feature(user: str, feature: str) -> _Make:
    return lambda clock, t: clock.usage(t, "feature_used", user, feature)


def _purchase(amount: int | None, currency: str) -> _Make:
    facts = {} if amount is None else {"amount_minor": amount, "currency": currency}
    return lambda clock, t: clock.payment(t, "purchase", **facts)


def _override(band: str, days: float) -> _Make:
    def make(clock: Clock, t: int) -> Event:
        facts = {"override_band": band, "override_reason": "by hand", "override_until_ms": t + round(days * DAY)}
        return clock.update(t, **facts)

    return make


def _renewal(days: int) -> _Make:
    return lambda clock, t: clock.update(t, renewal_ms=t + days * DAY)


def _update(facts: dict[str, Any]) -> _Make:
    return lambda clock, t: clock.update(t, **facts)


_users = st.sampled_from(["ann", "ann", "bob", "cy"])
_logins = st.builds(_login, _users)
_others = st.one_of(
    st.sampled_from([lambda clock, t: clock.usage(t, "session")]),
    st.builds(_feature, _users, st.sampled_from(["reports", "export", "something else"])),
)
_purchases = st.builds(_purchase, st.sampled_from([None, 500, 90_000]), st.sampled_from(["EUR", "EUR", "USD"]))
_overrides = st.builds(_override, st.sampled_from(["healthy", "at_risk", "endangered"]), st.sampled_from([0, 0.7, 9]))
_renewals = st.builds(_renewal, st.sampled_from([-1, 30, 61, 200]))
_payments = st.builds(
    _payment,
    st.sampled_from(["invoice_paid", "payment_failed", "invoice_overdue", "subscription_changed", "purchase"]),
    st.integers(1, 3),
    st.sampled_from([-3, 0, 1, 12]),
)
_tickets = st.builds(
    _ticket, st.sampled_from(["opened", "updated", "solved"]), st.integers(1, 3), _SEVERITY, _TAGS, _SENTIMENT
)
_surveys = st.builds(_survey, st.integers(1, 3), st.sampled_from([0.0, 3.0, 6.0, 9.0, 10.0]))
_updates = st.builds(
    _update,
    st.fixed_dictionaries(
        {},
        optional={
            "name": st.sampled_from(["Acme", "Acme AG"]),
            "tier": st.sampled_from(["high_touch", "low_touch"]),
            "mrr_minor": st.sampled_from([0, 99_00, 250_00]),
            "owner": st.sampled_from(["eve", "bob"]),
            "stage": st.sampled_from(["onboarding", "active", "renewal"]),
            "key_users": st.sampled_from([(), ("ann",), ("ann", "bob")]),
            "csm_sentiment": st.sampled_from([-1.0, 0.0, 0.75]),
        },
    ),
)
_churns = st.builds(_update, st.sampled_from([{"stage": "churned"}, {"stage": "active"}]))

_GAPS = st.sampled_from([0, 0, 1, HOUR, 7 * HOUR, DAY, DAY, 2 * DAY, 5 * DAY, 17 * DAY, 31 * DAY])
_SNAPS = st.sampled_from(["keep", "keep", "midnight", "before midnight"])
_facts = st.one_of(_updates, _updates, _overrides, _renewals)
_anything = st.one_of(_logins, _logins, _logins, _others, _payments, _purchases, _tickets, _surveys, _facts)


def _timeline(steps: list[tuple[int, str, _Make]], span_days: int | None) -> list[Event]:
    clock, time_ms, events = Clock(), T0, []
    for gap_ms, snap, make in steps:
        time_ms += gap_ms
        if snap == "midnight":
            time_ms += -time_ms % DAY
        elif snap == "before midnight":
            time_ms += (DAY - 1) - time_ms % DAY
        if span_days is not None and time_ms >= T0 + span_days * DAY:
            break
        events.append(make(clock, time_ms))
    return events


def logs(*, span_days: int | None = None, churn: bool = False, max_size: int = 40) -> st.SearchStrategy[list[Event]]:
    """Generate logs of one account in event-time order, of less than `span_days` when given."""
    kinds = st.one_of(_anything, _churns) if churn else _anything
    steps = st.lists(st.tuples(_GAPS, _SNAPS, kinds), min_size=1, max_size=max_size)
    return steps.map(lambda drawn: _timeline(drawn, span_days)).filter(bool)
