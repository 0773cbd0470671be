"""Each signal at the boundaries of its windows."""

from __future__ import annotations

import pytest

from service.scoring import engine
from service.scoring.events import Event
from service.scoring.signals import SIGNALS
from service.scoring.state import AccountState
from tests.scoring.laws import MODEL
from tests.scoring.logs import DAY, HOUR, T0, Clock


def after(*events: Event, day: float | None = None) -> AccountState:
    """Apply the events at their own times, then let time pass to `day` days after T0."""
    state = AccountState("acme")
    for event in events:
        engine.step(state, event, event.time_ms, MODEL)
    if day is not None:
        engine.tick(state, T0 + round(day * DAY), MODEL)
    return state


def read(name: str, state: AccountState) -> float | None:
    return SIGNALS[name].read(state)


@pytest.mark.parametrize("name", sorted(SIGNALS))
def test_unknown_account_has_no_signals(name: str) -> None:
    """Without events every signal is left out, none is neutral."""
    assert read(name, AccountState("acme")) is None


@pytest.mark.parametrize(("day", "trend"), [(58, None), (59, 0.0), (400, 0.0)])
def test_trend_waits_for_two_full_windows(day: int, trend: float | None) -> None:
    """A single login gives no trend until 60 days are known, and then 0 for good: silence is not missing data."""
    clock = Clock()
    assert read("login_trend", after(clock.login(T0 + 5 * HOUR), day=day)) == trend


def test_trend_compares_the_windows() -> None:
    """Four logins in the 30 days before and three in the last 30 give 0.75."""
    clock = Clock()
    logins = [clock.login(T0 + day * DAY) for day in (0, 1, 2, 29, 30, 31, 59)]
    assert read("login_trend", after(*logins)) == 0.75


def test_trend_is_capped() -> None:
    """More than twice the logins, or the first ones after a silent window, give 2."""
    clock = Clock()
    assert read("login_trend", after(clock.login(T0), *(clock.login(T0 + 59 * DAY) for _ in range(3)))) == 2.0
    assert read("login_trend", after(clock.login(T0), clock.login(T0 + 200 * DAY))) == 2.0


def test_recency_counts_utc_days_of_any_usage() -> None:
    """One millisecond before midnight is a day away one millisecond later, and a session counts like a login."""
    clock = Clock()
    assert read("recency_days", after(clock.usage(T0 + DAY - 1, "session"), day=1)) == 1.0
    assert read("recency_days", after(clock.login(T0), clock.usage(T0 + 3 * DAY, "feature_used"), day=3.9)) == 0.0


def test_active_days_wait_for_thirty_days() -> None:
    """Days with any usage count once each, over the last 30 days, known from the 30th day on."""
    clock = Clock()
    events = [clock.login(T0), clock.login(T0 + HOUR), clock.usage(T0 + 7 * DAY, "session")]
    assert read("active_days", after(*events, day=28)) is None
    assert read("active_days", after(*events, day=29)) == 2.0
    assert read("active_days", after(*events, day=30)) == 1.0
    assert read("active_days", after(*events, day=37)) == 0.0


def test_failed_payments_leave_after_thirty_days() -> None:
    """A failed payment counts on its own day and 29 more; one paid invoice makes the count known as 0."""
    clock = Clock()
    failed = clock.payment(T0 + HOUR, "payment_failed")
    assert read("failed_payments", after(failed, failed_again := clock.payment(T0 + DAY, "payment_failed"))) == 2.0
    assert read("failed_payments", after(failed, failed_again, day=30)) == 1.0
    assert read("failed_payments", after(failed, failed_again, day=31)) == 0.0
    assert read("failed_payments", after(clock.payment(T0, "invoice_paid", invoice="i"))) == 0.0


def test_overdue_days_follow_the_longest_open_invoice() -> None:
    """Days count from the due date, or from the event when that is earlier; payment ends them."""
    clock = Clock()
    first = clock.payment(T0, "invoice_overdue", invoice="a", due_ms=T0 - 2 * DAY)
    second = clock.payment(T0, "invoice_overdue", invoice="b", due_ms=T0 + 5 * DAY)
    assert read("overdue_days", after(first, second, day=3)) == 5.0
    paid = clock.payment(T0 + DAY, "invoice_paid", invoice="a")
    assert read("overdue_days", after(first, second, paid, day=3)) == 3.0
    assert read("overdue_days", after(first, paid, day=3)) == 0.0


def test_payment_before_the_overdue_notice_settles_it() -> None:
    """An overdue notice that arrives after the later payment does not open the invoice again."""
    clock = Clock()
    paid = clock.payment(T0 + DAY, "invoice_paid", invoice="a")
    assert read("overdue_days", after(paid, clock.payment(T0, "invoice_overdue", invoice="a"), day=9)) == 0.0


def test_ticket_load_adds_severities() -> None:
    """Open tickets count 1, 2, 4 and 8 by severity, 2 without one; solved ones count nothing."""
    clock = Clock()
    tickets = [
        clock.ticket(T0, "opened", name, severity)
        for name, severity in [("a", "low"), ("b", "normal"), ("c", "high"), ("d", "urgent"), ("e", None)]
    ]
    assert read("ticket_load", after(*tickets)) == 17.0
    assert read("ticket_load", after(*tickets, clock.ticket(T0 + 1, "solved", "d"))) == 9.0


def test_ticket_solved_before_it_was_opened() -> None:
    """Arrival does not decide: a ticket whose solving is later in event time is solved, and can be opened again."""
    clock = Clock()
    solved = clock.ticket(T0 + DAY, "solved")
    opened = clock.ticket(T0, "opened", severity="urgent")
    reopened = clock.ticket(T0 + 2 * DAY, "opened")
    assert read("ticket_load", after(solved, opened)) == 0.0
    assert read("ticket_load", after(solved, reopened, opened)) == 8.0


def test_ticket_known_from_updates_only_is_forgotten() -> None:
    """A ticket whose opening was never seen counts as open until its last news leaves the ring."""
    update = Clock().ticket(T0, "updated", severity="high")
    assert read("ticket_load", after(update, day=89)) == 4.0
    assert read("ticket_load", after(update, day=90)) == 0.0
    assert read("ticket_load", after(Clock().ticket(T0, "opened", severity="high"), day=300)) == 4.0


def test_latest_survey_by_event_time_on_a_common_scale() -> None:
    """The answer with the latest event time counts, as percent of its scale, an edit replaces it, 90 days long."""
    clock = Clock()
    answer, edit = clock.survey(T0, 2.0), clock.survey(T0 + 2, 8.0)
    other = clock.survey(T0 + 1, 4.0, "r2", high=5.0)
    assert read("latest_survey", after(edit, answer, other)) == 80.0
    assert read("latest_survey", after(answer, other)) == 80.0
    assert read("latest_survey", after(other, answer, clock.survey(T0 + 1, 3.0))) == 30.0
    assert read("latest_survey", after(answer, day=89)) == 20.0
    assert read("latest_survey", after(answer, day=90)) is None


def test_account_facts_hold_by_event_time() -> None:
    """The later fact wins whatever arrives last, field by field."""
    clock = Clock()
    newer, older = clock.update(T0 + 5, csm_sentiment=-0.5), clock.update(T0, csm_sentiment=1.0, name="Acme")
    state = after(newer, older)
    assert read("csm_sentiment", state) == -0.5
    assert state.attributes is not None
    assert state.attributes.name == "Acme"
