"""Scores and alerts explain themselves in points and in words."""

from __future__ import annotations

import pytest

from service.scoring import engine
from service.scoring.explain import score_view
from service.scoring.state import AccountState
from tests.scoring.laws import MODEL
from tests.scoring.logs import DAY, HOUR, T0, Clock


def fading_account(until_day: int) -> AccountState:
    """Play two logins on every weekday for 60 days, then silence."""
    state, clock = AccountState("acme"), Clock()
    engine.step(state, clock.update(T0, name="Acme", mrr_minor=99_00, currency="EUR", owner="eve"), T0, MODEL)
    for day in range(60):
        for _ in range(2 if (T0 // DAY + day) % 7 not in {2, 3} else 0):
            time_ms = T0 + day * DAY + 9 * HOUR
            engine.step(state, clock.login(time_ms), time_ms, MODEL)
    engine.tick(state, T0 + until_day * DAY, MODEL)
    return state


def test_view_lists_the_greatest_loss_first() -> None:
    """Factors come by points lost, each with value, curve output, share and sentence."""
    state, clock = AccountState("acme"), Clock()
    engine.step(state, clock.login(T0), T0, MODEL)
    engine.step(state, clock.ticket(T0, "opened", severity="urgent"), T0, MODEL)
    view = score_view(state, MODEL)
    worst, best = view.factors
    assert (worst.name, worst.value, worst.output, worst.weight) == ("open_tickets", 8.0, 40.0, 0.5)
    assert (worst.contribution, worst.points_lost) == (20.0, 30.0)
    assert worst.sentence == "1 open ticket, 1 of them high or urgent"
    assert (best.name, best.sentence, best.points_lost) == ("recency", "Last used today", 0.0)
    assert (view.score, view.coverage, view.band) == (70.0, 0.3, "healthy")
    assert view.model_version == MODEL.version


def test_alert_names_what_changed_since_the_last_band() -> None:
    """The alert compares every factor with the account's last change of band and says the worst in a sentence."""
    state = fading_account(80)
    alert = state.unsent[0]
    assert (alert.kind, alert.previous_band, alert.band) == ("at_risk", "healthy", "at_risk")
    assert (alert.name, alert.mrr_minor, alert.currency, alert.owner) == ("Acme", 99_00, "EUR", "eve")
    assert alert.previous_score == 100.0
    changes = [part.points_change for part in alert.factors]
    assert sum(change for change in changes if change is not None) == pytest.approx(alert.score - 100.0)
    trend = next(part for part in alert.factors if part.name == "login_trend")
    assert trend.value_before is None
    assert trend.sentence.startswith("Logins fell from ")
    assert alert.sentence == alert.factors[0].sentence
    assert alert.sentence.endswith(" points")


def test_second_alert_compares_with_the_first() -> None:
    """The alert after an alert starts from the score that the first one told."""
    first, second = fading_account(120).unsent
    assert second.kind == "endangered"
    assert second.previous_score == first.score
    before = {part.name: part.value for part in first.factors}
    assert {part.name: part.value_before for part in second.factors} == before
    trend = next(part for part in second.factors if part.name == "login_trend")
    assert trend.points_change is not None
    assert trend.points_change < 0
    assert f"{trend.points_change:+.0f} points" in trend.sentence


def test_first_band_has_nothing_to_compare_with() -> None:
    """An account whose first band is bad tells points lost, not a change."""
    state, clock = AccountState("acme"), Clock()
    engine.step(state, clock.update(T0, csm_sentiment=-1.0), T0, MODEL)
    for number in range(3):
        engine.step(state, clock.ticket(T0, "opened", f"t{number}", "urgent"), T0, MODEL)
    engine.step(state, clock.payment(T0, "payment_failed"), T0, MODEL)
    (alert,) = state.unsent
    assert (alert.kind, alert.previous_band, alert.previous_score) == ("at_risk", "unknown", None)
    assert all(part.points_change is None for part in alert.factors)
    assert alert.sentence == "3 open tickets, 3 of them high or urgent: -38 points"


def test_alert_ids_are_stable_and_distinct() -> None:
    """The same history gives the same ids; another account, number or time gives others."""
    once, again = fading_account(120).unsent, fading_account(120).unsent
    assert [alert.id for alert in once] == [alert.id for alert in again]
    assert len({alert.id for alert in once}) == 2
