"""Alerts of one account, by example: when they are due, held back, and silent."""

from __future__ import annotations

import pytest

from service.scoring import effects, engine, state_codec
from service.scoring.explain import score_view
from service.scoring.state import AccountState
from service.scoring.telling import due_kind
from service.scoring.views import Band
from tests.scoring.feeding import daily_logins, feed, told
from tests.scoring.laws import MODEL
from tests.scoring.logs import DAY, HOUR, T0, Clock
from tests.scoring.models import RESTLESS


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


def test_new_model_is_marked_and_silent() -> None:
    """A model that finds the account endangered says so in the score, with a mark, and alerts nobody."""
    state, clock = AccountState("acme"), Clock()
    feed(state, *daily_logins(clock, range(70)))
    state = state_codec.decode("acme", state_codec.encode(state))
    assert engine.use_model(state, RESTLESS) == effects.CHANGED | effects.SCORED | effects.MOVED
    view = score_view(state, RESTLESS)
    assert (view.model_changed, view.model_version, view.trend_7) == (True, RESTLESS.version, None)
    assert state.unsent == ()
    assert state.told == state.band
    engine.step(state, clock.ticket(T0 + 70 * DAY, "opened", severity="urgent"), 0, RESTLESS)
    assert not score_view(state, RESTLESS).model_changed


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
