"""Records and time of one account, by example: what counts, what is due, churn and return."""

from __future__ import annotations

import pytest

from service.scoring import effects, engine, recent_ids
from service.scoring.events import Usage
from service.scoring.explain import score_view
from service.scoring.recording import MAX_INVOICES, MAX_SURVEYS, MAX_TICKETS
from service.scoring.signals import SIGNALS
from service.scoring.state import AccountState
from tests.scoring.feeding import daily_logins, feed
from tests.scoring.laws import MODEL, aggregates, snapshot
from tests.scoring.logs import DAY, HOUR, T0, Clock


def test_skipped_record_changes_nothing() -> None:
    """An offset at or below the applied one of the same source is skipped; another source has its own offsets."""
    state, clock = AccountState("acme"), Clock()
    engine.apply_record(state, 0, 7, clock.login(T0), T0, MODEL)
    before = snapshot(state)
    for offset in (7, 6, 0):
        assert engine.apply_record(state, 0, offset, clock.login(T0 + DAY), T0 + DAY, MODEL) == effects.SKIPPED
    assert snapshot(state) == before
    assert engine.apply_record(state, 1, 0, clock.payment(T0, "purchase"), T0, MODEL) & effects.CHANGED
    assert state.applied.tolist() == [7, 0, -1, -1, -1, -1, -1]


def test_duplicate_event_is_dropped_but_its_offset_counts() -> None:
    """The same event id under a new offset is dropped, and the new offset is not asked for again."""
    state, event = AccountState("acme"), Clock().login(T0)
    engine.apply_record(state, 0, 1, event, T0, MODEL)
    assert engine.apply_record(state, 0, 2, event, T0, MODEL) == effects.CHANGED | effects.DUPLICATE
    assert state.recent_logins == 1
    assert state.applied[0] == 2


def test_event_ids_are_known_for_an_hour() -> None:
    """An id is known at least an hour later, and forgotten once two generations have passed."""
    state = AccountState("acme")
    state.clock_ms = T0
    assert recent_ids.remember(state, "a")
    state.clock_ms = T0 + HOUR - 1
    assert recent_ids.remember(state, "b")
    state.clock_ms = T0 + 2 * HOUR - 2
    assert recent_ids.remember(state, "c")
    assert not recent_ids.remember(state, "b")
    state.clock_ms = T0 + 5 * HOUR
    assert recent_ids.remember(state, "d")
    assert recent_ids.remember(state, "b")


def test_event_ids_are_bounded() -> None:
    """Within the hour the last 256 ids at least are known, and never more than 512 are kept."""
    state = AccountState("acme")
    state.clock_ms = T0
    for number in range(2000):
        assert recent_ids.remember(state, f"id-{number}")
        assert not recent_ids.remember(state, f"id-{max(0, number - 256)}")
        assert len(state.recent_new) + len(state.recent_old) <= 512 * 8


def test_hash_across_two_ids_is_no_duplicate() -> None:
    """Bytes that match across the border of two stored hashes are not a known id."""
    assert not recent_ids._holds(b"AAAABBBBCCCCDDDD", b"BBBBCCCC")
    assert recent_ids._holds(b"ABBBCCCA" + b"B-------" + b"BBBCCCAB", b"BBBCCCAB")


@pytest.mark.parametrize(("age_days", "late"), [(89, False), (90, True), (4000, True)])
def test_event_older_than_the_ring_is_late(age_days: int, late: bool) -> None:
    """The ring takes events up to 89 days before the clock's day; older ones are told apart and not scored."""
    state, clock = AccountState("acme"), Clock()
    feed(state, clock.login(T0 + DAY - 1))
    before = aggregates(state)
    result = engine.step(state, clock.login(T0 - age_days * DAY), 0, MODEL)
    assert bool(result & effects.LATE) == late
    assert (aggregates(state) == before) == late


def test_old_account_facts_are_never_late() -> None:
    """What is known about an account holds however long ago it was said."""
    state, clock = AccountState("acme"), Clock()
    feed(state, clock.login(T0))
    assert not engine.step(state, clock.update(T0 - 900 * DAY, name="Acme"), T0, MODEL) & effects.LATE
    assert score_view(state, MODEL).name == "Acme"


def test_earlier_as_of_does_not_turn_time_back() -> None:
    """The account's clock follows the latest of as_of and event times."""
    state, clock = AccountState("acme"), Clock()
    engine.step(state, clock.login(T0), T0 + 5 * DAY, MODEL)
    engine.step(state, clock.login(T0 + DAY), T0 + DAY, MODEL)
    assert state.clock_ms == T0 + 5 * DAY
    assert engine.tick(state, T0, MODEL) == 0


def test_silent_account_costs_nothing_in_the_end() -> None:
    """Once no signal can change by time nothing is due any more, and days later nothing has changed."""
    state, clock = AccountState("acme"), Clock()
    feed(state, *daily_logins(clock, range(70)), clock.survey(T0 + 69 * DAY, 5.0))
    engine.advance(state, T0 + 1000 * DAY, MODEL)
    assert state.next_due_ms is None
    assert state.day < T0 // DAY + 170
    before = state.score, state.band, state.score_seq
    engine.tick(state, T0 + 2000 * DAY, MODEL)
    assert (state.score, state.band, state.score_seq) == before


def test_account_without_signals_costs_nothing_in_the_end() -> None:
    """Of an account with facts alone only the days of its onboarding are waited for."""
    state = AccountState("acme")
    feed(state, Clock().update(T0, name="Acme"))
    revision = state.revision
    engine.advance(state, T0 + 1000 * DAY, MODEL)
    assert state.revision - revision <= 6
    assert state.next_due_ms is None
    assert state.score is None


def test_churned_account_is_frozen() -> None:
    """After the churn neither events nor silence change score or band, and nothing is due; a return thaws it."""
    state, clock = AccountState("acme"), Clock()
    feed(state, *daily_logins(clock, range(70)), clock.update(T0 + 70 * DAY, stage="churned"))
    before = state.score, state.band, state.coverage
    assert state.next_due_ms is None
    feed(state, clock.login(T0 + 150 * DAY), clock.ticket(T0 + 151 * DAY, "opened", severity="urgent"))
    feed(state, clock.update(T0 + 152 * DAY, name="Acme", csm_sentiment=-1.0))
    engine.tick(state, T0 + 300 * DAY, MODEL)
    assert (state.score, state.band, state.coverage) == before
    assert state.unsent == ()
    view = score_view(state, MODEL)
    assert sum(part.contribution for part in view.factors) == pytest.approx(view.score)


def test_returning_account_starts_afresh() -> None:
    """After the churn nothing of before counts or is told; numbers go on, and the score names the return."""
    state, clock = AccountState("acme"), Clock()
    feed(state, clock.update(T0, key_users=("ann",), mrr_minor=5, currency="EUR"))
    feed(state, *daily_logins(clock, range(70)), clock.update(T0 + 120 * DAY, stage="churned"))
    seq = state.seq
    assert seq > 0
    feed(state, clock.update(T0 + 300 * DAY, stage="active"))
    assert (state.band, state.score, state.told) == ("unknown", None, "healthy")
    assert engine.step(state, clock.login(T0 + 299 * DAY), 0, MODEL) & effects.LATE
    feed(state, *daily_logins(clock, range(301, 380)))
    view = score_view(state, MODEL)
    assert (view.band, view.returned_ms, view.mrr_minor) == ("healthy", T0 + 300 * DAY, 5)
    assert SIGNALS["tenure_days"].read(state) == 79.0
    assert SIGNALS["key_user_trend"].read(state) is not None
    engine.advance(state, T0 + 500 * DAY, MODEL)
    assert state.seq > seq
    assert [alert.seq for alert in state.unsent] == list(range(1, state.seq + 1))


def test_trends_compare_with_ended_days() -> None:
    """The trend of 7 days is the score minus that at the end of the day 7 days before."""
    state, clock = AccountState("acme"), Clock()
    feed(state, *daily_logins(clock, range(70)))
    engine.tick(state, T0 + 75 * DAY, MODEL)
    before = score_view(state, MODEL).score
    engine.tick(state, T0 + 83 * DAY - 1, MODEL)
    view = score_view(state, MODEL)
    assert view.score is not None
    assert before is not None
    assert view.trend_7 is not None
    assert view.trend_7 == pytest.approx(view.score - before, abs=0.011)
    assert view.trend_7 < 0


def test_a_changed_attribute_changes_the_published_view() -> None:
    """A new owner is published although the score stays; a repeated one is not."""
    state, clock = AccountState("acme"), Clock()
    feed(state, clock.login(T0), clock.update(T0, owner="eve"))
    seq = state.score_seq
    assert feed(state, clock.update(T0 + 1, owner="bob")) & effects.SCORED
    assert not feed(state, clock.update(T0 + 2, owner="bob")) & effects.SCORED
    assert state.score_seq == seq + 1


def test_collections_are_bounded() -> None:
    """However many tickets, invoices and answers arrive, the least needed ones are dropped."""
    state, clock = AccountState("acme"), Clock()
    feed(state, clock.payment(T0, "invoice_overdue", invoice="oldest", due_ms=T0 - 40 * DAY))
    feed(state, clock.ticket(T0, "opened", "oldest", "urgent"))
    for number in range(200):
        time_ms = T0 + number
        feed(state, clock.ticket(time_ms, "opened", f"t{number}"), clock.ticket(time_ms, "solved", f"t{number}"))
        feed(state, clock.payment(time_ms, "invoice_overdue", invoice=f"i{number}"))
        feed(state, clock.survey(time_ms, 5.0, f"r{number}"))
    more = state.more
    assert more is not None
    assert (len(more.tickets), len(more.invoices), len(more.surveys)) == (MAX_TICKETS, MAX_INVOICES, MAX_SURVEYS)
    assert SIGNALS["overdue_days"].read(state) == 40.0
    assert SIGNALS["ticket_load"].read(state) == 8.0
    assert "r199" in more.surveys


def test_busy_days_are_counted_in_full() -> None:
    """A day of more than 255 logins is counted like any other."""
    state = AccountState("acme")
    for number in range(700):
        engine.step(state, Usage("acme", f"x\x1f{number}", T0, "login", "bot"), T0, MODEL)
    assert state.recent_logins == 700
    engine.tick(state, T0 + 30 * DAY, MODEL)
    assert (state.recent_logins, state.previous_logins) == (0, 700)
