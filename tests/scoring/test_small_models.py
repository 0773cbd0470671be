"""Models of one factor or two, under which nothing else is due: what a large model hides."""

from __future__ import annotations

from typing import Any

import pytest

from service.scoring import effects, engine
from service.scoring.events import Event
from service.scoring.model import Model
from service.scoring.signals import SIGNALS
from service.scoring.state import AccountState
from tests.scoring.logs import DAY, HOUR, T0, Clock
from tests.scoring.pair import compile_model


def small_model(*signals: str, rules: dict[str, Any] | None = None, min_coverage: float = 0.0) -> Model:
    """Make a model that gives each signal its value as points."""
    return compile_model(
        {
            "version": "+".join(signals),
            "min_coverage": min_coverage,
            "bands": {"at_risk": {"enter": 50, "leave": 60}, "endangered": {"enter": 20, "leave": 30}},
            "factors": {
                name: {"label": "x", "signal": name, "weight": 1, "curve": [[-1, 0], [1, 100]], "sentence": "x"}
                for name in signals
            },
            "rules": {name: {"label": "x", "sentence": "x", **rule} for name, rule in (rules or {}).items()},
        }
    )


def play(model: Model, *events: Event) -> AccountState:
    state = AccountState("acme")
    for event in events:
        engine.step(state, event, event.time_ms, model)
    return state


@pytest.mark.parametrize("stage", [None, "onboarding", "active", "churned"])
def test_a_signal_known_from_the_start_gives_a_score_at_the_first_event(stage: Any) -> None:
    """An unknown stage counts as onboarding, which is known before anything changes."""
    clock = Clock()
    first: Event = clock.login(T0) if stage is None else clock.update(T0, stage=stage)
    state = play(small_model("onboarding"), first)
    assert state.score == (50.0 if stage in {"active", "churned"} else 100.0)
    assert state.band == ("unknown" if stage == "churned" else "healthy")


def test_a_late_event_alone_makes_no_score() -> None:
    """Nothing counts yet, so neither the event nor a tick scores the account."""
    state, model = AccountState("acme"), small_model("onboarding")
    assert engine.step(state, Clock().login(T0), T0 + 90 * DAY, model) & effects.LATE
    engine.tick(state, T0 + 91 * DAY, model)
    assert (state.score, state.band) == (None, "unknown")


def test_a_steady_score_has_a_change_of_zero_after_seven_days() -> None:
    """A rule on the change of the score begins to hold when the first day with a band is seven days ago."""
    steady = {"all": [{"signal": "score_change_7", "at_least": 0}], "alert": True}
    model = small_model("csm_sentiment", rules={"steady": steady})
    state = play(model, Clock().update(T0 + HOUR, csm_sentiment=1.0))
    engine.advance(state, T0 + 20 * DAY, model)
    assert [(alert.kind, alert.time_ms) for alert in state.unsent] == [("steady", T0 + 7 * DAY)]


def by_hand(clock: Clock, time_ms: int, band: str, until_ms: int) -> Event:
    return clock.update(time_ms, override_band=band, override_reason="x", override_until_ms=until_ms)


def test_an_override_ends_when_nothing_else_is_due() -> None:
    """The computed band is published again at exactly the end of the override."""
    clock, model = Clock(), small_model("onboarding")
    end_ms = T0 + DAY + 7 * HOUR
    state = play(model, clock.login(T0), by_hand(clock, T0 + 1, "at_risk", end_ms))
    assert (state.band, state.next_due_ms) == ("at_risk", end_ms)
    engine.advance(state, end_ms, model)
    assert (state.band, state.unsent[-1].kind, state.unsent[-1].time_ms) == ("healthy", "recovered", end_ms)


def test_an_override_ends_behind_an_alert_that_waits_for_a_band() -> None:
    """A cool-down that ended while the band was unknown does not hide the end of the override."""
    clock = Clock()
    rule = {"all": [{"signal": "open_tickets", "at_least": 1}], "alert": True, "cool_down_days": 5}
    model = small_model("csm_sentiment", rules={"waiting": rule}, min_coverage=1.0)
    state = play(
        model,
        clock.update(T0, csm_sentiment=1.0),
        clock.ticket(T0 + 86 * DAY, "opened", "a"),
        clock.ticket(T0 + 87 * DAY, "solved", "a"),
        clock.ticket(T0 + 88 * DAY, "opened", "b"),  # held back until day 91; the opinion ends on day 90
    )
    assert [alert.kind for alert in state.unsent] == ["waiting"]
    engine.advance(state, T0 + 95 * DAY, model)
    assert (state.band, state.score, state.suppressed) == ("unknown", None, 1)
    end_ms = T0 + 97 * DAY + HOUR
    engine.step(state, by_hand(clock, T0 + 95 * DAY, "at_risk", end_ms), 0, model)
    assert (state.band, state.next_due_ms) == ("at_risk", end_ms)
    engine.advance(state, end_ms, model)
    assert state.band == "unknown"


def test_the_same_opinion_said_again_counts_anew() -> None:
    """An opinion that had expired counts for another 90 days when it is repeated."""
    clock, model = Clock(), small_model("csm_sentiment")
    state = play(model, clock.update(T0, csm_sentiment=0.5), clock.update(T0 + 100 * DAY, csm_sentiment=0.5))
    assert (state.score, state.next_due_ms) == (75.0, T0 + 190 * DAY)


@pytest.mark.parametrize("order", [(0.5, -0.5), (-0.5, 0.5)])
def test_of_two_opinions_of_one_instant_the_worse_counts(order: tuple[float, float]) -> None:
    """Whichever arrives first."""
    clock = Clock()
    state = play(small_model("csm_sentiment"), *(clock.update(T0, csm_sentiment=word) for word in order))
    assert SIGNALS["csm_sentiment"].read(state) == -0.5


@pytest.mark.parametrize("kinds", [("nps", "csat"), ("csat", "nps")])
def test_of_two_versions_of_one_instant_the_worse_kind_counts(kinds: tuple[str, str]) -> None:
    """Of two equal answers, NPS is the one that is negative, whichever arrives first."""
    clock, answers = Clock(), []
    for kind in kinds:
        answer = clock.survey(T0, 5.5)
        answer.kind = kind  # type: ignore[assignment]  # the literals above
        answers.append(answer)
    assert SIGNALS["negative_surveys"].read(play(small_model("survey_mean"), *answers)) == 1.0


def test_an_alert_held_back_is_counted_by_a_rule_of_the_same_instant() -> None:
    """The band's alert comes first: what it adds to the count leaves with the alert of a rule, which takes it to 0."""
    clock = Clock()
    rule = {"all": [{"signal": "onboarding", "at_most": 0}], "alert": True}
    document_rules = {"left": rule}
    model = small_model("onboarding", rules=document_rules)
    model.cool_downs.update(at_risk=9 * DAY)
    state = play(
        model,
        clock.login(T0),
        by_hand(clock, T0 + 1, "at_risk", T0 + 2),
        clock.update(T0 + 3, stage="active", override_band="at_risk", override_reason="x", override_until_ms=T0 + DAY),
    )
    assert [(alert.kind, alert.suppressed) for alert in state.unsent] == [("at_risk", 0), ("recovered", 0), ("left", 1)]
    assert (state.told, state.suppressed) == ("healthy", 0)
