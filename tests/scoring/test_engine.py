"""Records, time, bands and alerts of one account, by example."""

from __future__ import annotations

import pytest

from service.scoring import effects, engine, recent_ids, state_codec
from service.scoring.bands import target_band
from service.scoring.events import Event, Usage
from service.scoring.explain import score_view
from service.scoring.recording import MAX_INVOICES, MAX_SURVEYS, MAX_TICKETS
from service.scoring.signals import SIGNALS
from service.scoring.state import AccountState
from service.scoring.telling import due_kind
from service.scoring.views import Band
from tests.scoring.laws import MODEL, aggregates, snapshot
from tests.scoring.logs import DAY, HOUR, T0, Clock
from tests.scoring.models import DEFAULT, RESTLESS


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
    assert (state.band, state.score) == ("unknown", 100.0)
    assert 0 < state.coverage < MODEL.min_coverage


def test_silence_alone_crosses_into_at_risk_then_endangered() -> None:
    """A daily user who stops is told once per band, each at a UTC midnight, with no event arriving."""
    state, clock = AccountState("acme"), Clock()
    feed(state, *daily_logins(clock, range(70)))
    assert state.band == "healthy"
    engine.advance(state, T0 + 200 * DAY, MODEL)
    assert [kind for kind, _ in told(state)] == ["score_drop", "at_risk", "endangered"]
    assert all(alert.time_ms % DAY == 0 for alert in state.unsent)
    assert all(70 < day < 100 for _, day in told(state))
    assert state.score is not None
    assert state.score < 10


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


def test_return_is_told_as_recovered_once() -> None:
    """An endangered account that is used again recovers through at_risk with one alert, after the dwell."""
    state, clock = AccountState("acme"), Clock()
    feed(state, *daily_logins(clock, range(70)))
    feed(state, *daily_logins(clock, range(140, 260)))
    assert [kind for kind, _ in told(state)] == ["score_drop", "at_risk", "endangered", "recovered"]
    assert [alert.seq for alert in state.unsent] == [1, 2, 3, 4]


def test_sent_alerts_are_forgotten() -> None:
    """Marking alerts as sent drops them up to that number and keeps later ones."""
    state, clock = AccountState("acme"), Clock()
    feed(state, *daily_logins(clock, range(70)), *daily_logins(clock, range(140, 260)))
    revision = state.revision
    assert engine.mark_sent(state, 2) == effects.CHANGED
    assert [alert.seq for alert in state.unsent] == [3, 4]
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


def test_override_by_hand_until_it_ends() -> None:
    """A band set by hand is published and told with its reason; the computed one goes on underneath and comes back."""
    state, clock = AccountState("acme"), Clock()
    feed(state, *daily_logins(clock, range(70)))
    until_ms = T0 + 75 * DAY + 5 * HOUR
    facts = {"override_band": "endangered", "override_reason": "champion left", "override_until_ms": until_ms}
    feed(state, clock.update(T0 + 70 * DAY, **facts))
    view = score_view(state, MODEL)
    assert (view.band, view.computed_band, view.override_reason) == ("endangered", "healthy", "champion left")
    assert [alert.sentence for alert in state.unsent] == ["Set by hand: champion left"]
    feed(state, *daily_logins(clock, range(70, 75)))
    engine.advance(state, until_ms - 1, MODEL)
    assert state.band == "endangered"
    assert state.next_due_ms == until_ms
    engine.advance(state, until_ms, MODEL)
    assert (state.band, state.unsent[-1].kind, state.unsent[-1].time_ms) == ("healthy", "recovered", until_ms)


def test_a_later_override_lifts_the_one_before() -> None:
    """An override that has ended when it comes gives the computed band back."""
    state, clock = AccountState("acme"), Clock()
    feed(state, *daily_logins(clock, range(40)))
    facts = {"override_band": "at_risk", "override_reason": "x", "override_until_ms": T0 + 90 * DAY}
    bands = []
    for day, until_day in ((40, 90), (41, 41)):
        feed(state, clock.update(T0 + day * DAY, **{**facts, "override_until_ms": T0 + until_day * DAY}))
        bands.append(state.band)
    assert bands == ["at_risk", "healthy"]


def test_compound_rule_caps_in_endangered() -> None:
    """Logins down, a failed payment and a bug within 30 days: endangered, whatever the score; the alert says why."""
    state, clock = AccountState("acme"), Clock()
    feed(state, *daily_logins(clock, range(60)), *(clock.login(T0 + day * DAY, "bob") for day in range(60)))
    feed(state, *daily_logins(clock, range(60, 80)))
    feed(state, clock.payment(T0 + 80 * DAY, "payment_failed", invoice="i"))
    assert state.told != "endangered"
    feed(state, clock.payment(T0 + 80 * DAY + 1, "invoice_paid", invoice="i"))
    feed(state, clock.ticket(T0 + 81 * DAY, "opened", severity="low", tags=("bug",)))
    assert state.score is not None
    assert state.score > MODEL.bands.endangered.leave
    assert state.band == "endangered"
    alert = next(alert for alert in state.unsent if alert.kind == "endangered")
    assert alert.rule == "failing_all_over"
    assert alert.sentence == "Logins fell from 60 to 36 in 30 days, 1 failed payment and 1 ticket tagged bug"
    assert "failing_all_over" in score_view(state, MODEL).rules


def test_silent_account_is_at_risk_after_30_days() -> None:
    """Thirty days without a login are never healthy, at exactly that midnight."""
    state, clock = AccountState("acme"), Clock()
    feed(state, *daily_logins(clock, range(70)))
    others = [clock.usage(T0 + day * DAY + HOUR, "session") for day in range(70, 98)]
    feed(state, *others[:28])
    assert state.day == T0 // DAY + 97
    assert "no_login" not in score_view(state, MODEL).rules
    engine.advance(state, T0 + 99 * DAY, MODEL)
    assert "no_login" in score_view(state, MODEL).rules
    assert state.band in {"at_risk", "endangered"}


@pytest.mark.parametrize("kind", ["key_user_quiet", "negative_surveys", "feature_unused", "renewal_at_risk"])
def test_rules_alert_under_their_own_name(kind: str) -> None:
    """Each default rule with an alert tells its own kind, once."""
    state, clock = AccountState("acme"), Clock()
    facts = {"key_users": ("ann",), "stage": "onboarding", "renewal_ms": T0 + 150 * DAY}
    feed(state, clock.update(T0, **facts), clock.usage(T0, "feature_used", "ann", "reports"))
    feed(state, *daily_logins(clock, range(70)), *(clock.login(T0 + day * DAY, "bob") for day in range(100)))
    feed(state, clock.survey(T0 + 100 * DAY, 2.0), clock.survey(T0 + 101 * DAY, 3.0, "r2"))
    engine.advance(state, T0 + 149 * DAY, MODEL)
    alerts = [alert for alert in state.unsent if alert.kind == kind]
    assert len(alerts) == 1
    assert alerts[0].rule == kind
    assert "{" not in alerts[0].sentence


def test_suppressed_alerts_are_counted_and_told_when_still_due() -> None:
    """A repeated alert waits for its cool-down, is counted once, and comes when the account is still at risk."""
    state, clock = AccountState("acme"), Clock()
    feed(state, *daily_logins(clock, range(70)))

    def by_hand(day: float, band: str, days: float) -> None:
        start_ms = T0 + round(day * DAY)
        until_ms = start_ms + round(days * DAY)
        feed(state, clock.update(start_ms, override_band=band, override_reason="x", override_until_ms=until_ms))

    by_hand(70, "at_risk", 1)
    feed(state, clock.login(T0 + 71 * DAY + HOUR))
    assert told(state) == [("at_risk", 70), ("recovered", 71)]
    by_hand(72, "at_risk", 60)
    feed(state, *daily_logins(clock, range(72, 100)))
    assert (state.band, state.told, state.suppressed) == ("at_risk", "healthy", 1)
    assert state.next_due_ms == T0 + 100 * DAY
    engine.advance(state, T0 + 100 * DAY, MODEL)
    assert told(state)[2:] == [("at_risk", 100)]
    assert state.unsent[-1].suppressed == 1
    assert state.suppressed == 0


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


def test_profile_follows_tier_and_stage() -> None:
    """An onboarding account is weighed by its own profile, a churned one by the plain model."""
    state, clock = AccountState("acme"), Clock()
    feed(state, clock.login(T0), clock.update(T0, stage="onboarding", tier="high_touch"))
    assert score_view(state, MODEL).profile == "onboarding"
    feed(state, clock.update(T0 + 1, stage="active"))
    assert score_view(state, MODEL).profile == "high_touch"
    feed(state, clock.update(T0 + 2, stage="churned"))
    assert score_view(state, MODEL).profile is None


def ranked(bad: list[Event], good: list[Event], end_ms: int) -> tuple[AccountState, AccountState]:
    """Play two accounts of one kind of event to the same instant."""
    states = AccountState("bad"), AccountState("good")
    for state, events in zip(states, (bad, good), strict=True):
        feed(state, *events)
        engine.tick(state, end_ms, MODEL)
    return states


def test_one_kind_of_event_still_ranks_risk() -> None:
    """Of accounts known by purchases, tickets, surveys or logins alone, the worse one has the lower score."""
    clock = Clock()
    price = {"amount_minor": 9, "currency": "EUR"}
    buys: list[Event] = [clock.payment(T0 + 20 * n * DAY, "purchase", **price) for n in range(12)]
    open_ones: list[Event] = [clock.ticket(T0 + n * DAY, "opened", f"t{n}", "urgent") for n in range(3)]
    solved = [*open_ones, *(clock.ticket(T0 + 4 * DAY, "solved", f"t{n}") for n in range(3))]
    cases: list[tuple[list[Event], list[Event], int]] = [
        (buys[:7], buys, 230),
        (open_ones, solved, 20),
        ([clock.survey(T0, 2.0)], [clock.survey(T0, 9.0)], 5),
        (daily_logins(clock, range(80)), daily_logins(clock, range(100)), 101),
    ]
    for bad, good, day in cases:
        worse, better = ranked(bad, good, T0 + day * DAY)
        assert worse.score is not None
        assert better.score is not None
        assert worse.score < better.score - 20
        assert worse.coverage < 0.7


def test_new_model_is_marked_and_silent() -> None:
    """A model that finds the account endangered says so in the score, with a mark, and alerts nobody."""
    state, clock = AccountState("acme"), Clock()
    feed(state, *daily_logins(clock, range(70)))
    state = state_codec.decode("acme", state_codec.encode(state))
    assert engine.use_model(state, RESTLESS) == effects.CHANGED | effects.SCORED
    view = score_view(state, RESTLESS)
    assert (view.model_changed, view.model_version, view.trend_7) == (True, RESTLESS.version, None)
    assert state.unsent == ()
    assert state.told == state.band
    engine.step(state, clock.ticket(T0 + 70 * DAY, "opened", severity="urgent"), 0, RESTLESS)
    assert not score_view(state, RESTLESS).model_changed


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


BANDS = DEFAULT.bands


@pytest.mark.parametrize(
    ("band", "score", "coverage", "following"),
    [
        ("unknown", None, 0.0, "unknown"),
        ("healthy", 100.0, BANDS.min_coverage - 0.001, "unknown"),
        ("unknown", BANDS.at_risk.enter, BANDS.min_coverage, "healthy"),
        ("unknown", BANDS.at_risk.enter - 0.1, BANDS.min_coverage, "at_risk"),
        ("unknown", BANDS.endangered.enter - 0.1, 1.0, "endangered"),
        ("healthy", BANDS.at_risk.enter, 1.0, "healthy"),
        ("healthy", BANDS.at_risk.enter - 0.1, 1.0, "at_risk"),
        ("at_risk", BANDS.at_risk.leave - 0.1, 1.0, "at_risk"),
        ("at_risk", BANDS.at_risk.leave, 1.0, "healthy"),
        ("at_risk", BANDS.endangered.enter, 1.0, "at_risk"),
        ("at_risk", BANDS.endangered.enter - 0.1, 1.0, "endangered"),
        ("endangered", BANDS.endangered.leave - 0.1, 1.0, "endangered"),
        ("endangered", BANDS.endangered.leave, 1.0, "at_risk"),
        ("endangered", BANDS.at_risk.leave - 0.1, 1.0, "at_risk"),
        ("endangered", BANDS.at_risk.leave, 1.0, "healthy"),
    ],
)
def test_bands_at_their_thresholds(band: Band, score: float | None, coverage: float, following: Band) -> None:
    """Enter is below its threshold, leave at or above; too little coverage is unknown."""
    assert target_band(band, score, coverage, BANDS) == following


@pytest.mark.parametrize(
    ("band", "told", "kind"),
    [
        ("healthy", "healthy", None),
        ("at_risk", "healthy", "at_risk"),
        ("endangered", "healthy", "endangered"),
        ("endangered", "at_risk", "endangered"),
        ("at_risk", "endangered", None),
        ("healthy", "endangered", "recovered"),
        ("healthy", "at_risk", "recovered"),
        ("unknown", "at_risk", None),
    ],
)
def test_alert_kinds(band: Band, told: Band, kind: str | None) -> None:
    """Getting worse is told, getting better only when healthy again."""
    assert due_kind(band, told) == kind
