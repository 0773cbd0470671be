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


@pytest.mark.parametrize("name", sorted(SIGNALS.keys() - {"onboarding"}))
def test_unknown_account_has_no_signals(name: str) -> None:
    """Without events every signal is left out, none is neutral."""
    assert read(name, AccountState("acme")) is None


@pytest.mark.parametrize(("day", "trend"), [(58, None), (59, 5 / 6), (60, 0.0), (400, 0.0)])
def test_trend_waits_for_two_full_windows(day: int, trend: float | None) -> None:
    """A single login gives no trend until 60 days are known, and soon 0 for good: silence is not missing data."""
    clock = Clock()
    assert read("login_trend", after(clock.login(T0 + 5 * HOUR), day=day)) == trend


def test_trend_compares_the_windows() -> None:
    """Four logins in the 30 days before and three in the last 30 give (3 + 5) / (4 + 5)."""
    clock = Clock()
    logins = [clock.login(T0 + day * DAY) for day in (0, 1, 2, 29, 30, 31, 59)]
    assert read("login_trend", after(*logins)) == 8 / 9


def test_trend_is_capped() -> None:
    """More than twice the logins, or many after a silent window, give 2."""
    clock = Clock()
    many = [clock.login(T0 + 200 * DAY) for _ in range(9)]
    assert read("login_trend", after(clock.login(T0), *many)) == 2.0
    assert read("login_trend", after(clock.login(T0), *many[:1])) == 6 / 5


def test_no_login_days_ignore_other_usage() -> None:
    """A session is no login, a late login does not turn the count back."""
    clock = Clock()
    events = [clock.login(T0), clock.usage(T0 + 5 * DAY, "session"), clock.login(T0 - DAY)]
    assert read("no_login_days", after(*events, day=7)) == 7.0


def test_active_days_trend_compares_days() -> None:
    """Two active days against three: (2 + 3) / (3 + 3); silence over both windows is 0."""
    clock = Clock()
    days = [0, 3, 29, 30, 59]
    events = [clock.login(T0 + day * DAY) for day in days]
    assert read("active_days_trend", after(*events[:4], day=58)) is None
    assert read("active_days_trend", after(*events)) == 5 / 6
    assert read("active_days_trend", after(*events, day=119)) == 0.0


def test_recency_gaps_measure_silence_by_habit() -> None:
    """Eight weekly days make a gap of 7; three weeks of silence are three gaps, and the habit is not forgotten."""
    clock = Clock()
    weekly = [clock.login(T0 + 7 * week * DAY) for week in range(8)]
    assert read("recency_gaps", after(*weekly[:7])) is None
    assert read("recency_gaps", after(*weekly, day=49 + 21)) == 3.0
    assert read("recency_gaps", after(*weekly, day=49 + 700)) == 100.0
    daily = [clock.login(T0 + hour * HOUR) for hour in range(0, 240, 12)]
    assert read("recency_gaps", after(*daily, day=19)) == 10.0


def test_active_users_are_distinct() -> None:
    """Each user counts once in 30 days; the share is of those seen in 90 days."""
    clock = Clock()
    events = [clock.login(T0, "ann"), clock.login(T0, "bob"), clock.login(T0 + DAY, "bob"), clock.login(T0 + 31 * DAY)]
    assert read("active_users", after(*events[:3], day=28)) is None
    assert read("active_users", after(*events[:3], day=29)) == 2.0
    assert read("active_users", after(*events[:3], day=30)) == 1.0
    assert read("active_user_share", after(*events, day=58)) is None
    assert read("active_user_share", after(*events, day=60)) == 0.5
    assert read("active_user_share", after(*events, day=91)) == 0.0


def test_users_are_bounded() -> None:
    """Of more than 64 users the latest are kept."""
    clock = Clock()
    events = [clock.login(T0 + number * HOUR, f"user {number}") for number in range(24 * 40)]
    assert read("active_users", after(*events)) == 64.0


def test_key_users_are_judged_each_on_their_own() -> None:
    """Ann's logins halve while Bob's rise; a user with fewer than 4 logins before cannot drop."""
    clock = Clock()
    listed = clock.update(T0, key_users=("ann", "bob", "eve"))
    before = [clock.login(T0 + day * DAY, user) for day in range(8) for user in ("ann", "bob")]
    after_them = [clock.login(T0 + 30 * DAY, "ann") for _ in range(3)] + [
        clock.login(T0 + (30 + day) * DAY, "bob") for day in range(16)
    ]
    few = [clock.login(T0, "eve") for _ in range(3)]
    state = after(listed, *few, *before, *after_them, day=59)
    assert read("key_user_drop", state) == 1 - 3 / 8
    assert read("key_user_trend", state) == 0.5  # of eve, (0 + 3) / (3 + 3); ann has 6 / 11
    assert read("key_user_drop", after(listed, *few, day=59)) is None
    assert read("key_user_trend", after(listed, *few, day=58)) is None
    assert read("key_user_trend", after(listed, *before, day=120)) == 0.0


def test_key_user_counts_at_most_15_logins_a_day() -> None:
    """A script of the key user does not hide the key user."""
    clock = Clock()
    listed = clock.update(T0, key_users=("ann",))
    state = after(listed, *(clock.login(T0) for _ in range(40)), *(clock.login(T0 + 30 * DAY) for _ in range(3)))
    assert read("key_user_drop", state) == 1 - 3 / 15


def test_key_features_by_their_latest_use() -> None:
    """Of the four key features of the default model two were used, one of them in the last 30 days."""
    clock = Clock()
    uses = [clock.usage(T0 + day * DAY, "feature_used", "ann", name) for day, name in ((0, "reports"), (9, "export"))]
    other = clock.usage(T0, "feature_used", "ann", "something else")
    assert read("key_features_used", after(*uses, day=28)) is None
    assert read("key_features_used", after(*uses, day=29)) == 2.0
    assert read("key_features_used", after(*uses, day=30)) == 1.0
    assert read("key_features_unused", after(*uses)) == 2.0
    assert (read("key_features_used", after(other, day=29)), read("key_features_unused", after(other))) == (0.0, 4.0)
    assert read("key_features_unused", after(clock.login(T0), day=60)) is None


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
    assert read("failed_payments", after(clock.payment(T0, "purchase"))) is None


def test_a_failed_payment_recovers_when_it_is_paid() -> None:
    """An invoice fails until it is paid, whatever arrives first; both counts end after 30 days."""
    clock = Clock()
    failed, paid = clock.payment(T0, "payment_failed", invoice="a"), clock.payment(T0, "invoice_paid", invoice="a")
    other = clock.payment(T0 + 1, "payment_failed", invoice="b")
    for order in ((failed, paid, other), (other, paid, failed)):
        state = after(*order)
        assert (read("failing_invoices", state), read("recovered_payments", state)) == (1.0, 1.0)
    state = after(failed, paid, other, day=30)
    assert (read("failing_invoices", state), read("recovered_payments", state)) == (0.0, 0.0)


def test_mrr_change_over_ninety_days() -> None:
    """The MRR is compared with that in force 90 days ago, with the earliest one before that."""
    clock = Clock()
    start, cut = (
        clock.update(T0, mrr_minor=100_00),
        clock.payment(T0 + 10 * DAY, "subscription_changed", mrr_minor=60_00),
    )
    assert read("mrr_change", after(start)) == 0.0
    assert read("mrr_change", after(start, cut)) == 60 / 100 - 1
    assert read("mrr_change", after(start, cut, day=99)) == 60 / 100 - 1
    assert read("mrr_change", after(start, cut, day=100)) == 0.0
    assert read("mrr_change", after(clock.update(T0, mrr_minor=0), cut)) is None
    assert read("mrr_change", after(start, clock.update(T0 + DAY, mrr_minor=900_00))) == 1.0


def test_purchases_by_count_value_and_habit() -> None:
    """Monthly purchases of 10 fade out: count of 90 days, value against the 90 before, silence in usual gaps."""
    clock = Clock()
    bought = [
        clock.payment(T0 + 30 * month * DAY, "purchase", amount_minor=10_00, currency="EUR") for month in range(4)
    ]
    assert read("purchases", after(*bought, day=90)) == 3.0
    assert read("purchases", after(*bought[:1], day=88)) is None
    assert read("purchase_days", after(*bought, day=97)) == 7.0
    assert read("purchase_gaps", after(*bought, day=180)) == 3.0
    assert read("purchase_gaps", after(*bought[:3], day=180)) is None
    assert read("purchase_value_trend", after(*bought, day=178)) is None
    assert read("purchase_value_trend", after(*bought, day=179)) == 1 / 3
    assert read("purchase_value_trend", after(*bought, day=1000)) == 0.0


def test_amounts_of_another_currency_are_never_added() -> None:
    """Purchases in yen or in a currency that nobody knows leave the value in the account's own as it is."""
    clock = Clock()
    bought = [
        clock.payment(T0 + 30 * month * DAY, "purchase", amount_minor=10_00, currency="EUR") for month in range(4)
    ]
    other = [
        clock.payment(T0 + 90 * DAY, "purchase", amount_minor=2**53 - 1, currency=currency)
        for currency in ("JPY", "XXX")
    ]
    assert read("purchase_value_trend", after(*bought, *other, day=179)) == 1 / 3
    assert read("purchases", after(*bought, *other, day=179)) == read("purchases", after(*bought, day=179)) + 2  # type: ignore[operator]  # not None


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


def test_open_tickets_by_severity_and_age() -> None:
    """Tickets are counted open, pressing and by the age of the oldest."""
    clock = Clock()
    tickets = [clock.ticket(T0, "opened", "a", "high"), clock.ticket(T0 + 2 * DAY, "opened", "b", "low")]
    state = after(*tickets, day=5)
    assert (read("open_tickets", state), read("pressing_tickets", state), read("ticket_age_days", state)) == (2, 1, 5)
    solved = after(*tickets, clock.ticket(T0 + 3 * DAY, "solved", "a"), day=5)
    assert (read("pressing_tickets", solved), read("ticket_age_days", solved)) == (0, 3)
    assert read("solve_days", solved) == 3.0
    assert read("solve_days", state) is None


def test_bug_tickets_of_thirty_days() -> None:
    """A ticket tagged `bug` counts for 30 days, solved or not; another tag does not count."""
    clock = Clock()
    tagged = clock.ticket(T0, "opened", "a", tags=("bug", "ui"))
    other = clock.ticket(T0, "opened", "b", tags=("bugs",))
    assert read("bug_tickets", after(tagged, other, clock.ticket(T0 + 1, "solved", "a"), day=29)) == 1.0
    assert read("bug_tickets", after(tagged, other, day=30)) == 0.0


def test_ticket_sentiment_is_a_mean() -> None:
    """Sentiments of the last 30 days count, one for each ticket."""
    clock = Clock()
    tickets = [clock.ticket(T0 + n * DAY, "opened", f"t{n}", sentiment=mood) for n, mood in enumerate([-1.0, 0.5])]
    assert read("ticket_sentiment", after(*tickets)) == -0.25
    assert read("ticket_sentiment", after(*tickets, day=30)) == 0.5
    assert read("ticket_sentiment", after(*tickets, day=31)) is None


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


def test_negative_surveys_by_kind() -> None:
    """An NPS of 6 is a detractor, an edit to 9 is not; half of another scale is not negative."""
    clock = Clock()
    answers = [clock.survey(T0, 6.0), clock.survey(T0, 6.0, "r2"), clock.survey(T0, 10.0, "r3")]
    assert read("negative_surveys", after(*answers)) == 2.0
    assert read("negative_surveys", after(*answers, clock.survey(T0 + 1, 9.0, "r2"))) == 1.0
    assert read("survey_mean", after(*answers)) == pytest.approx(220 / 3)
    middle = clock.survey(T0, 5.0)
    middle.kind = "csat"
    assert read("negative_surveys", after(middle)) == 0.0


def test_csm_sentiment_expires() -> None:
    """A word of the manager counts for 90 days."""
    said = Clock().update(T0 + HOUR, csm_sentiment=-0.5)
    assert read("csm_sentiment", after(said, day=89)) == -0.5
    assert read("csm_sentiment", after(said, day=90)) is None


def test_renewal_tenure_and_stage() -> None:
    """Days to the renewal turn negative, tenure begins with the first event, the stage is a yes or no."""
    clock = Clock()
    state = after(clock.login(T0), clock.update(T0 + DAY, renewal_ms=T0 + 10 * DAY + HOUR, stage="active"), day=12)
    assert (read("renewal_days", state), read("tenure_days", state), read("onboarding", state)) == (-2.0, 12.0, 0.0)
    assert read("onboarding", AccountState("acme")) == 1.0


def test_account_facts_hold_by_event_time() -> None:
    """The later fact wins whatever arrives last, field by field."""
    clock = Clock()
    newer, older = clock.update(T0 + 5, csm_sentiment=-0.5), clock.update(T0, csm_sentiment=1.0, name="Acme")
    state = after(newer, older)
    assert read("csm_sentiment", state) == -0.5
    assert state.attributes is not None
    assert state.attributes.name == "Acme"
