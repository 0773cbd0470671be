"""Scores and alerts explain themselves in points and in words."""

from __future__ import annotations

import re

import pytest

from service.scoring import engine
from service.scoring.explain import score_view
from service.scoring.state import AccountState
from tests.scoring.laws import MODEL
from tests.scoring.logs import DAY, HOUR, T0, Clock


def fading_account(until_day: int) -> AccountState:
    """Play two logins on every weekday for 60 days, then silence."""
    state, clock = AccountState("acme"), Clock()
    engine.step(
        state,
        clock.update(T0, name="Acme", mrr_minor=99_00, currency="EUR", owner="eve", renewal_ms=T0 + 100 * DAY),
        T0,
        MODEL,
    )
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
    names = [factor.name for factor in view.factors]
    weights = {factor.name: factor.weight for factor in MODEL.factors}
    present = weights["open_tickets"] + weights["ticket_age"] + weights["recency"]
    worst = view.factors[0]
    assert names == ["open_tickets", "recency", "ticket_age"]
    assert (worst.value, worst.output, worst.weight) == (8.0, 40.0, weights["open_tickets"] / present)
    assert worst.points_lost == pytest.approx(60 * worst.weight)
    assert [factor.sentence for factor in view.factors] == [
        "1 open ticket, urgent",
        "Last used today",
        "Oldest open ticket waits for 0 days",
    ]
    assert view.coverage == present / sum(weights.values())
    assert view.model_version == MODEL.version


def test_alert_names_what_changed_since_the_last_band() -> None:
    """The alert compares every factor with the account's last band and says the worst in a sentence."""
    alert = next(alert for alert in fading_account(80).unsent if alert.kind == "at_risk")
    assert (alert.previous_band, alert.band) == ("healthy", "at_risk")
    assert (alert.name, alert.mrr_minor, alert.currency, alert.owner) == ("Acme", 99_00, "EUR", "eve")
    assert alert.previous_score == 100.0
    changes = [part.points_change for part in alert.factors]
    assert sum(change for change in changes if change is not None) == pytest.approx(alert.score - 100.0)
    trend = next(part for part in alert.factors if part.name == "login_trend")
    assert trend.value_before is None
    assert trend.sentence.startswith("Logins fell from 44 to 26 in 30 days: -")
    assert alert.sentence == alert.factors[0].sentence
    assert alert.sentence.endswith(" points")


def test_second_alert_compares_with_the_first() -> None:
    """The alert about a band starts from the score that the one before told, also with a rule's alert in between."""
    first, between, second = fading_account(120).unsent
    assert (between.kind, second.kind) == ("renewal_at_risk", "endangered")
    assert second.previous_score == first.score
    before = {part.name: part.value for part in first.factors}
    assert {part.name: part.value_before for part in second.factors} == before
    trend = next(part for part in second.factors if part.name == "login_trend")
    assert trend.points_change is not None
    assert trend.points_change < 0
    assert f"{trend.points_change:+.0f} points" in trend.sentence


def test_no_factor_is_blamed_for_the_weight_of_another() -> None:
    """New good data takes weight from the others; those that did not change win and lose nothing."""
    state, clock = AccountState("acme"), Clock()
    for day in range(70):
        engine.step(state, clock.login(T0 + day * DAY), T0 + day * DAY, MODEL)
    facts = {"override_band": "at_risk", "override_reason": "x", "override_until_ms": T0 + 300 * DAY}
    engine.step(state, clock.update(T0 + 69 * DAY, **facts), 0, MODEL)
    for number in range(3):
        engine.step(state, clock.ticket(T0 + 70 * DAY - 1, "opened", f"t{number}", "urgent"), 0, MODEL)
    facts["override_band"] = "endangered"
    engine.step(state, clock.update(T0 + 70 * DAY - 1, **facts), 0, MODEL)
    alert = state.unsent[-1]
    changes = {part.name: part.points_change for part in alert.factors}
    assert alert.kind == "endangered"
    assert changes["open_tickets"] is not None
    assert changes["open_tickets"] < -5
    assert all(abs(changes[name] or 0.0) < 1e-9 for name in ("recency", "recency_gaps", "login_trend", "active_days"))


def test_first_band_has_nothing_to_compare_with() -> None:
    """An account whose first band is bad tells points lost, not a change."""
    state, clock = AccountState("acme"), Clock()
    for number in range(3):
        engine.step(state, clock.ticket(T0, "opened", f"t{number}", "urgent"), T0, MODEL)
    engine.step(state, clock.update(T0, csm_sentiment=-1.0), T0, MODEL)
    (alert,) = state.unsent
    assert (alert.kind, alert.previous_band, alert.previous_score) == ("endangered", "unknown", None)
    assert all(part.points_change is None for part in alert.factors)
    assert alert.sentence.startswith("CSM sentiment -1 on a scale from -1 to 1: -")


@pytest.mark.parametrize("until_day", [65, 80, 100, 150, 400])
def test_sentences_say_nothing_odd(until_day: int) -> None:
    """No change from a number to itself, no zero of nothing, no open template."""
    state, clock = fading_account(until_day), Clock("acme", 9000)
    time_ms = T0 + until_day * DAY
    for event in (
        clock.ticket(time_ms, "opened"),
        clock.ticket(time_ms, "solved"),
        clock.payment(time_ms, "invoice_paid"),
    ):
        engine.step(state, event, time_ms, MODEL)
    sentences = {part.name: part.sentence for part in score_view(state, MODEL).factors}
    assert sentences["open_tickets"] == "No open ticket"
    assert sentences["overdue_invoices"] == "No overdue invoice"
    assert sentences["failing_payments"] == "No failing payment"
    for sentence in sentences.values():
        assert not re.search(r"from (\d+) to \1\b|0 of them|{|}", sentence)
    if until_day >= 150:
        assert sentences["login_trend"] == "Logins stayed at 0 in 30 days"


def test_alert_ids_are_stable_and_distinct() -> None:
    """The same history gives the same ids; another account, number or time gives others."""
    once, again = fading_account(120).unsent, fading_account(120).unsent
    assert [alert.id for alert in once] == [alert.id for alert in again]
    assert len({alert.id for alert in once}) == len(once) == 3
