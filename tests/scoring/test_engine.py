"""Records, time, bands and alerts of one account, by example."""

from __future__ import annotations

import pytest

from service.scoring import effects, engine, recent_ids
from service.scoring.bands import alert_kind, next_band
from service.scoring.events import Event, Usage
from service.scoring.explain import score_view
from service.scoring.recording import MAX_INVOICES, MAX_SURVEYS, MAX_TICKETS
from service.scoring.signals import SIGNALS
from service.scoring.state import AccountState
from service.scoring.views import Band
from tests.scoring.laws import MODEL, aggregates, snapshot
from tests.scoring.logs import DAY, HOUR, T0, Clock


def feed(state: AccountState, *events: Event) -> int:
    """Step over the events at their own times; returns the effects of all."""
    result = 0
    for event in events:
        result |= engine.step(state, event, event.time_ms, MODEL)
    return result


def daily_logins(clock: Clock, days: range) -> list[Event]:
    return [clock.login(T0 + day * DAY + 9 * HOUR) for day in days]


def told(state: AccountState) -> list[tuple[str, int]]:
    """List kind and day (after T0) of every alert not yet sent."""
    return [(alert.kind, (alert.time_ms - T0) // DAY) for alert in state.unsent]


def test_skipped_record_changes_nothing() -> None:
    """An offset at or below the applied one of the same source is skipped; another source has its own offsets."""
    state, clock = AccountState("acme"), Clock()
    engine.apply_record(state, 0, 7, clock.login(T0), T0, MODEL)
    before = snapshot(state)
    for offset in (7, 6, 0):
        assert engine.apply_record(state, 0, offset, clock.login(T0 + DAY), T0 + DAY, MODEL) == effects.SKIPPED
    assert snapshot(state) == before
    assert engine.apply_record(state, 1, 0, clock.payment(T0, "purchase"), T0, MODEL) & effects.CHANGED
    assert state.applied.tolist() == [7, 0, -1, -1, -1, -1]


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


def test_one_login_never_alerts_at_once() -> None:
    """A brand-new account has a score, little coverage, no band and no alert."""
    state = AccountState("acme")
    result = feed(state, Clock().login(T0))
    assert not result & effects.ALERTED
    assert (state.band, state.score, state.coverage) == ("unknown", 100.0, 0.15)


def test_silence_alone_crosses_into_at_risk_then_endangered() -> None:
    """A daily user who stops is told once per band, each at a UTC midnight, with no event arriving."""
    state, clock = AccountState("acme"), Clock()
    feed(state, *daily_logins(clock, range(70)))
    assert state.band == "healthy"
    engine.advance(state, T0 + 200 * DAY, MODEL)
    assert [kind for kind, _ in told(state)] == ["at_risk", "endangered"]
    assert all(alert.time_ms % DAY == 0 for alert in state.unsent)
    assert all(70 < day < 100 for _, day in told(state))
    assert state.score == 0.0


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


def test_account_without_signals_is_never_due() -> None:
    """Facts about an account start no clock."""
    state = AccountState("acme")
    feed(state, Clock().update(T0, name="Acme", mrr_minor=5))
    assert state.next_due_ms is None
    assert state.score is None


def test_return_is_told_as_recovered_once() -> None:
    """An endangered account that is used again recovers through at_risk with one alert."""
    state, clock = AccountState("acme"), Clock()
    feed(state, *daily_logins(clock, range(70)))
    feed(state, *daily_logins(clock, range(140, 200)))
    assert [kind for kind, _ in told(state)] == ["at_risk", "endangered", "recovered"]
    assert [alert.seq for alert in state.unsent] == [1, 2, 3]


def test_sent_alerts_are_forgotten() -> None:
    """Marking alerts as sent drops them up to that number and keeps later ones."""
    state, clock = AccountState("acme"), Clock()
    feed(state, *daily_logins(clock, range(70)), *daily_logins(clock, range(140, 200)))
    revision = state.revision
    assert engine.mark_sent(state, 2) == effects.CHANGED
    assert [alert.seq for alert in state.unsent] == [3]
    assert state.revision == revision + 1
    assert engine.mark_sent(state, 2) == 0


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
    feed(state, clock.update(T0 + 301 * DAY, stage="active"))
    assert state.band == "endangered"
    assert [kind for kind, _ in told(state)] == ["endangered"]


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
    assert (len(state.tickets), len(state.invoices), len(state.surveys)) == (MAX_TICKETS, MAX_INVOICES, MAX_SURVEYS)
    assert SIGNALS["overdue_days"].read(state) == 40.0
    assert SIGNALS["ticket_load"].read(state) == 8.0
    assert "r199" in state.surveys


def test_busy_days_are_counted_in_full() -> None:
    """A day of more than 255 logins is counted like any other."""
    state = AccountState("acme")
    for number in range(700):
        engine.step(state, Usage("acme", f"x\x1f{number}", T0, "login", "bot"), T0, MODEL)
    assert state.recent_logins == 700
    engine.tick(state, T0 + 30 * DAY, MODEL)
    assert (state.recent_logins, state.previous_logins) == (0, 700)


@pytest.mark.parametrize(
    ("band", "score", "coverage", "following"),
    [
        ("unknown", None, 0.0, "unknown"),
        ("healthy", 100.0, 0.249, "unknown"),
        ("unknown", 60.0, 0.25, "healthy"),
        ("unknown", 59.9, 0.25, "at_risk"),
        ("unknown", 34.9, 1.0, "endangered"),
        ("healthy", 60.0, 1.0, "healthy"),
        ("healthy", 59.9, 1.0, "at_risk"),
        ("at_risk", 65.9, 1.0, "at_risk"),
        ("at_risk", 66.0, 1.0, "healthy"),
        ("at_risk", 35.0, 1.0, "at_risk"),
        ("at_risk", 34.9, 1.0, "endangered"),
        ("endangered", 40.9, 1.0, "endangered"),
        ("endangered", 41.0, 1.0, "at_risk"),
        ("endangered", 65.9, 1.0, "at_risk"),
        ("endangered", 66.0, 1.0, "healthy"),
    ],
)
def test_bands_at_their_thresholds(band: Band, score: float | None, coverage: float, following: Band) -> None:
    """Enter is below its threshold, leave at or above; too little coverage is unknown."""
    assert next_band(band, score, coverage, MODEL) == following


@pytest.mark.parametrize(
    ("previous", "band", "alarm", "kind"),
    [
        ("unknown", "healthy", "healthy", None),
        ("unknown", "at_risk", "healthy", "at_risk"),
        ("unknown", "endangered", "healthy", "endangered"),
        ("healthy", "at_risk", "healthy", "at_risk"),
        ("at_risk", "endangered", "at_risk", "endangered"),
        ("endangered", "at_risk", "endangered", None),
        ("at_risk", "healthy", "endangered", "recovered"),
        ("unknown", "healthy", "at_risk", "recovered"),
        ("at_risk", "unknown", "at_risk", None),
    ],
)
def test_alert_kinds(previous: Band, band: Band, alarm: Band, kind: str | None) -> None:
    """Getting worse is told, getting better only when healthy again."""
    assert alert_kind(previous, band, alarm) == kind
