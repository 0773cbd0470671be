"""Actions: what each does to alerts, band and view, when it is refused, and what is stored of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.scoring import effects, engine, state_codec
from service.scoring.acting import MAX_ALERTS, MAX_IDS
from service.scoring.events import Action
from service.scoring.explain import score_view
from service.scoring.model import Model
from service.scoring.state import AccountState
from service.scoring.views import ActionTaken
from tests.scoring.laws import snapshot
from tests.scoring.logs import DAY, HOUR, T0, Clock
from tests.scoring.pair import compile_model
from tests.scoring.test_state_codec import typical_account

TICKETS: dict[str, Any] = {
    "version": "tickets",
    "min_coverage": 0,
    "bands": {
        "at_risk": {"enter": 50, "leave": 60},
        "endangered": {"enter": 20, "leave": 30},
        "dwell_days": 0,
        "cool_down_days": 0,
    },
    "factors": {
        "tickets": {
            "label": "Tickets",
            "signal": "ticket_load",
            "weight": 1,
            "curve": [[0, 100], [4, 40], [20, 0]],
            "sentence": "{value}",
        }
    },
}
MODEL = compile_model(TICKETS)


class Desk:
    """An account, and the people who act on it."""

    def __init__(self, model: Model = MODEL) -> None:
        self.state = AccountState("acme")
        self.clock = Clock()
        self.model = model
        self.now_ms = T0
        self.count = 0

    def act(self, action: Any, *, at_ms: int | None = None, event_id: str | None = None, **said: Any) -> int:
        """Do something now, or at another time."""
        self.count += 1
        time_ms = self.now_ms if at_ms is None else at_ms
        event = Action("acme", event_id or f"desk\x1fa{self.count}", time_ms, action, "dana", **said)
        return engine.step(self.state, event, self.now_ms, self.model)

    def open_ticket(self, name: str = "t1") -> int:
        """Let trouble begin."""
        event = self.clock.ticket(self.now_ms, "opened", name, "high")
        return engine.step(self.state, event, self.now_ms, self.model)

    def solve_ticket(self, name: str = "t1") -> int:
        """Let trouble end."""
        return engine.step(self.state, self.clock.ticket(self.now_ms, "solved", name), self.now_ms, self.model)

    def pass_time(self, ms: int) -> int:
        """Let time pass; returns what the due ticks did."""
        self.now_ms += ms
        return engine.advance(self.state, self.now_ms, self.model)

    @property
    def told(self) -> list[tuple[str, int]]:
        """The alerts: kind, and hours since the start."""
        return [(alert.kind, (alert.time_ms - T0) // HOUR) for alert in self.state.unsent]

    @property
    def outcomes(self) -> tuple[ActionTaken, ...]:
        """What became of the actions."""
        assert self.state.acting is not None
        return self.state.acting.unsent

    @property
    def refusals(self) -> list[str | None]:
        """Why actions were refused."""
        return [taken.refusal for taken in self.outcomes]


def test_a_snoozed_account_is_told_at_the_end_when_it_is_at_risk_still() -> None:
    """What crosses meanwhile waits for the end of the snooze, is counted as suppressed, and names its own time."""
    desk = Desk()
    assert desk.act("snooze", until_ms=T0 + 30 * HOUR) & effects.ACTED
    desk.pass_time(5 * HOUR)
    assert not desk.open_ticket() & effects.ALERTED
    assert (desk.state.band, desk.told) == ("at_risk", [])
    desk.pass_time(25 * HOUR - 1)
    assert desk.told == []
    assert desk.pass_time(1) & effects.ALERTED
    assert desk.told == [("at_risk", 30)]
    assert desk.state.unsent[0].suppressed == 1


def test_what_is_over_when_the_snooze_ends_is_never_told() -> None:
    """Trouble that came and went while the account was snoozed raises nothing."""
    desk = Desk()
    desk.act("snooze", until_ms=T0 + 30 * HOUR)
    desk.open_ticket()
    desk.pass_time(HOUR)
    desk.solve_ticket()
    desk.pass_time(3 * DAY)
    assert desk.told == []


def test_a_snooze_that_ends_at_once_lifts_the_one_before() -> None:
    """What was held back is told by the action itself; an older word that comes later is superseded."""
    desk = Desk()
    desk.act("snooze", until_ms=T0 + 9 * DAY)
    desk.open_ticket()
    desk.pass_time(HOUR)
    assert desk.act("snooze", until_ms=desk.now_ms) & effects.ALERTED
    assert desk.told == [("at_risk", 1)]
    desk.act("snooze", at_ms=T0 + 1, until_ms=T0 + 9 * DAY)
    assert desk.refusals == [None, None, "superseded"]
    assert score_view(desk.state, MODEL).snoozed_until_ms is None


def test_a_snooze_is_shown_until_it_ends() -> None:
    """The view shows it, and is published anew when it ends, though nothing was held back."""
    desk = Desk()
    desk.open_ticket()
    assert desk.act("snooze", until_ms=T0 + 30 * HOUR) & effects.SCORED
    assert score_view(desk.state, MODEL).snoozed_until_ms == T0 + 30 * HOUR
    assert not desk.pass_time(30 * HOUR - 1) & effects.SCORED
    assert desk.pass_time(1) & effects.SCORED
    assert score_view(desk.state, MODEL).snoozed_until_ms is None


def test_an_override_is_shown_beside_the_computed_band_and_ends_by_itself() -> None:
    """Band, reason and end stand in the view; at the end the computed band is published, also when it is the same."""
    desk = Desk()
    desk.open_ticket()
    assert desk.act("override", band="endangered", reason="champion left", until_ms=T0 + 30 * HOUR) & effects.SCORED
    view = score_view(desk.state, MODEL)
    assert (view.band, view.computed_band, view.override_reason) == ("endangered", "at_risk", "champion left")
    assert view.override_until_ms == T0 + 30 * HOUR
    assert desk.told == [("at_risk", 0), ("endangered", 0)]
    desk.pass_time(HOUR)
    desk.act("override", band="at_risk", reason="not so bad", until_ms=T0 + 40 * HOUR)
    desk.pass_time(39 * HOUR - 1)
    assert score_view(desk.state, MODEL).override_reason == "not so bad"
    assert desk.pass_time(1) & effects.SCORED
    view = score_view(desk.state, MODEL)
    assert (view.band, view.override_reason, view.override_until_ms) == ("at_risk", None, None)


@pytest.mark.parametrize("is_read", [False, True])
def test_a_sentiment_is_a_signal_only_where_the_model_says_so(is_read: bool) -> None:
    """It is shown with its time either way; the score moves when a factor reads it."""
    factors = dict(TICKETS["factors"])
    if is_read:
        curve = [[-1, 0], [1, 100]]
        mood = {"label": "Mood", "signal": "csm_sentiment", "weight": 1, "curve": curve, "sentence": "x"}
        factors["mood"] = mood
    desk = Desk(compile_model({**TICKETS, "factors": factors}))
    desk.open_ticket()
    before = desk.state.score
    desk.now_ms += HOUR
    assert desk.act("sentiment", sentiment=-1.0) & effects.SCORED
    view = score_view(desk.state, desk.model)
    assert (view.csm_sentiment, view.csm_sentiment_ms) == (-1.0, T0 + HOUR)
    assert (desk.state.score == before) == (not is_read)


def test_an_alert_is_taken_up_and_resolved_once() -> None:
    """Its state follows the actions; resolved is the end, and alerts that never were are refused."""
    desk = Desk()
    desk.act("acknowledge", alert_seq=1)
    desk.open_ticket()
    for action in ("acknowledge", "snooze", "resolve", "acknowledge"):
        desk.act(action, alert_seq=1, until_ms=T0 if action == "snooze" else None)
    states = [taken.alert_state for taken in desk.outcomes]
    assert states == [None, "acknowledged", "snoozed", "resolved", None]
    assert desk.refusals == ["unknown_alert", None, None, None, "resolved_alert"]
    assert [taken.seq for taken in desk.outcomes] == [1, 2, 3, 4, 5]
    assert desk.state.acting is not None
    assert dict(desk.state.acting.alerts) == {1: "resolved"}


def test_only_the_latest_alerts_can_be_acted_on() -> None:
    """What is kept of alerts is bounded by the alerts that there are, however many were acted on."""
    desk = Desk()
    for number in range(MAX_ALERTS):
        desk.pass_time(HOUR)
        desk.open_ticket(f"t{number}")
        desk.act("acknowledge", alert_seq=desk.state.seq)
        desk.solve_ticket(f"t{number}")
        desk.act("acknowledge", alert_seq=desk.state.seq)
    last = desk.state.seq
    assert last == 2 * MAX_ALERTS
    desk.act("resolve", alert_seq=last - MAX_ALERTS)
    desk.act("resolve", alert_seq=last - MAX_ALERTS + 1)
    assert desk.refusals[-2:] == ["old_alert", None]
    assert desk.state.acting is not None
    assert len(desk.state.acting.alerts) == MAX_ALERTS


def test_a_churned_account_is_left_alone() -> None:
    """Band, sentiment and snooze of a frozen account are refused; a note is kept."""
    desk = Desk()
    engine.step(desk.state, desk.clock.update(T0, stage="churned"), T0, MODEL)
    desk.act("override", band="healthy", reason="x", until_ms=T0 + DAY)
    desk.act("sentiment", sentiment=1.0)
    desk.act("snooze", until_ms=T0 + DAY)
    desk.act("note", note="They may be back.")
    assert desk.refusals == ["churned", "churned", "churned", None]
    assert desk.state.next_due_ms is None


def test_what_was_set_by_hand_is_not_shown_of_a_churned_account() -> None:
    """Its view stays as it is whatever ends meanwhile; back again, both are shown while they last."""
    desk = Desk()
    desk.open_ticket()
    desk.act("override", band="healthy", reason="x", until_ms=T0 + 3 * DAY)
    desk.act("snooze", until_ms=T0 + 9 * DAY)
    desk.now_ms += HOUR
    assert engine.step(desk.state, desk.clock.update(desk.now_ms, stage="churned"), T0, MODEL) & effects.SCORED
    view = score_view(desk.state, MODEL)
    assert (view.band, view.override_reason, view.snoozed_until_ms) == ("healthy", None, None)
    desk.now_ms += 5 * DAY
    desk.act("note", note="x")
    assert (score_view(desk.state, MODEL).band, score_view(desk.state, MODEL).score_seq) == ("healthy", view.score_seq)
    engine.step(desk.state, desk.clock.update(desk.now_ms, stage="active"), T0, MODEL)
    assert score_view(desk.state, MODEL).snoozed_until_ms == T0 + 9 * DAY


def test_an_action_counts_once_beyond_the_hour_of_other_events() -> None:
    """The same id again is a duplicate, days later too, until enough others came since."""
    desk = Desk()
    desk.act("note", note="x", event_id="desk\x1fonce")
    desk.pass_time(9 * DAY)
    for number in range(MAX_IDS - 1):
        desk.act("note", note="x", event_id=f"desk\x1fother-{number}")
    assert desk.act("note", note="x", event_id="desk\x1fonce") & effects.DUPLICATE
    assert len(desk.outcomes) == MAX_IDS
    desk.pass_time(9 * DAY)
    desk.act("note", note="x", event_id="desk\x1flast")
    assert desk.act("note", note="x", event_id="desk\x1fonce") & effects.ACTED


def test_outcomes_leave_the_state_once_they_are_told() -> None:
    """Those up to the number that was acknowledged go, later ones stay, and the numbers go on."""
    desk = Desk()
    for _ in range(3):
        desk.act("note", note="x")
    assert engine.mark_actions_told(desk.state, 2) == effects.CHANGED
    assert [taken.seq for taken in desk.outcomes] == [3]
    assert engine.mark_actions_told(desk.state, 2) == 0
    assert engine.mark_actions_told(AccountState("other"), 2) == 0
    desk.act("note", note="x")
    assert [taken.seq for taken in desk.outcomes] == [3, 4]


def acted_account() -> AccountState:
    """Play the typical account and act on it in every way."""
    desk = Desk()
    desk.state = typical_account()
    desk.now_ms = T0 + 65 * DAY
    desk.act("acknowledge", alert_seq=1)
    desk.act("resolve", alert_seq=1, note="Größe ist bekannt")
    desk.act("snooze", until_ms=T0 + 70 * DAY)
    desk.act("override", band="healthy", reason="by hand", until_ms=T0 + 80 * DAY)
    desk.act("sentiment", sentiment=-0.25)
    desk.state.applied[-1] = 41
    return desk.state


def test_actions_are_stored_in_a_version_of_their_own() -> None:
    """They come back as they were, and a release that knows version 3 refuses the state by its first byte."""
    state = acted_account()
    value = state_codec.encode(state)
    assert value[0] == state_codec.ACTED_VERSION == 4
    recovered = state_codec.decode("acme", value)
    assert snapshot(recovered) == snapshot(state)
    assert state_codec.encode(recovered) == value
    assert recovered.applied[-1] == 41
    assert state_codec.peek_model_mark(value) == state.model_mark


def test_an_offset_of_actions_alone_is_stored_so_too() -> None:
    """Also where the only action was a duplicate of another event, its offset is never dropped."""
    state = AccountState("acme")
    state.applied[-1] = 7
    value = state_codec.encode(state)
    assert value[0] == state_codec.ACTED_VERSION
    assert state_codec.decode("acme", value).applied[-1] == 7


@pytest.mark.parametrize(("name", "version"), [("full_state.v3", 3), ("acted_state.v4", 4)])
def test_the_bytes_of_a_state_are_pinned(name: str, version: int) -> None:
    """An account without actions is stored as the release before stored it, byte for byte."""
    kept = bytes.fromhex((Path(__file__).parent / f"{name}.hex").read_text(encoding="ascii"))
    state = typical_account() if version == 3 else acted_account()
    assert kept[0] == version
    assert state_codec.encode(state_codec.decode("acme", kept)) == kept
    assert state_codec.encode(state) == kept
