"""Bands of one account, by example: thresholds, caps, overrides, profiles."""

from __future__ import annotations

import pytest

from service.scoring import engine
from service.scoring.bands import target_band
from service.scoring.events import Event
from service.scoring.explain import score_view
from service.scoring.state import AccountState
from service.scoring.views import Band
from tests.scoring.feeding import daily_logins, feed
from tests.scoring.laws import MODEL
from tests.scoring.logs import DAY, HOUR, T0, Clock
from tests.scoring.models import DEFAULT


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


def test_profile_follows_tier_and_stage() -> None:
    """An onboarding account is weighed by its own profile, a churned one by the plain model."""
    state, clock = AccountState("acme"), Clock()
    feed(state, clock.login(T0), clock.update(T0, stage="onboarding", tier="high_touch"))
    assert score_view(state, MODEL).profile == "onboarding"
    feed(state, clock.update(T0 + 1, stage="active"))
    assert score_view(state, MODEL).profile == "high_touch"
    feed(state, clock.update(T0 + 2, stage="churned"))
    assert score_view(state, MODEL).profile is None


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
