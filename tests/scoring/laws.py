"""The laws of the core as plain functions: each takes a generated log and fails with an AssertionError when broken.

They stand apart from the tests so that one test can show that they hold and another that seeded bugs break them.
"""

from __future__ import annotations

from math import isclose, isfinite
from random import Random
from typing import Any

from service.model.loader import load_model
from service.scoring import effects, engine, state_codec
from service.scoring.events import Event, Usage
from service.scoring.explain import score_view
from service.scoring.signals import SIGNALS
from service.scoring.state import AccountState
from service.scoring.views import Alert, Band
from tests.scoring.logs import DAY
from tests.scoring.oracle import LoginOracle

MODEL = load_model()
SOURCE = 0
CACHE = {"outputs", "outputs_model"}
# What follows from the events alone, whatever order they came in.
AGGREGATES = (
    *("clock_ms", "day", "score", "coverage", "recent_logins", "previous_logins", "active_mask", "first_login_day"),
    *("first_usage_day", "last_usage_ms", "last_payment_ms", "last_ticket_ms", "tickets", "surveys"),
)


def snapshot(state: AccountState) -> dict[str, Any]:
    """Take every stored field of the state, in a form that compares by value."""
    fields = {name: getattr(state, name) for name in AccountState.__slots__ if name not in CACHE}
    return {name: dict(value) if hasattr(value, "items") else value for name, value in fields.items()}


def aggregates(state: AccountState) -> dict[str, Any]:
    """Take what must not depend on the order of events."""
    facts = snapshot(state)
    values = {name: signal.read(state) for name, signal in SIGNALS.items()}
    row = state.attributes.to_row() if state.attributes else None
    order_free = {name: facts[name] for name in AGGREGATES}
    return {**order_free, "values": values, "logins": state.logins.tolist(), "attributes": row, "f": facts["failures"]}


def play(log: list[Event], *, end_ms: int | None = None) -> AccountState:
    """Apply the whole log at the events' own times, then let time pass to `end_ms`."""
    state = AccountState(log[0].account)
    for offset, event in enumerate(log):
        engine.apply_record(state, SOURCE, offset, event, event.time_ms, MODEL)
    if end_ms is not None:
        engine.tick(state, end_ms, MODEL)
    return state


def applying_twice_changes_nothing(log: list[Event]) -> None:
    """Redelivered offsets are skipped, and an event sent again under a new offset is dropped."""
    once = play(log)
    again = AccountState(log[0].account)
    for offset, event in enumerate(log):
        engine.apply_record(again, SOURCE, offset, event, event.time_ms, MODEL)
        assert engine.apply_record(again, SOURCE, offset, event, event.time_ms, MODEL) == effects.SKIPPED
    for offset, event in enumerate(log):
        assert engine.apply_record(again, SOURCE, offset, event, event.time_ms, MODEL) == effects.SKIPPED
    assert snapshot(again) == snapshot(once)
    result = engine.apply_record(again, SOURCE, len(log), log[-1], log[-1].time_ms, MODEL)
    assert result == effects.CHANGED | effects.DUPLICATE
    assert aggregates(again) == aggregates(once)
    assert again.unsent == once.unsent


def order_does_not_matter(log: list[Event], seed: int, silent_days: int) -> None:
    """Any order of events inside the ring gives the same aggregates and score at the same instant."""
    end_ms = max(event.time_ms for event in log) + silent_days * DAY
    shuffled = Random(seed).sample(log, len(log))
    assert aggregates(play(shuffled, end_ms=end_ms)) == aggregates(play(log, end_ms=end_ms))


def only_due_ticks_matter(log: list[Event], silent_days: int) -> None:
    """Look at every midnight, at odd instants or only when due: the same alerts at the same times."""
    end_ms = log[-1].time_ms + silent_days * DAY
    seldom, often = AccountState("acme"), AccountState("acme")
    for offset, event in enumerate([*log, None]):
        until_ms = end_ms if event is None else event.time_ms
        looks = range(often.clock_ms - often.clock_ms % DAY + DAY, until_ms, DAY) if often.clock_ms >= 0 else ()
        for midnight in looks:
            engine.tick(often, midnight - 1, MODEL)
            engine.tick(often, midnight, MODEL)
        for state in (seldom, often):
            if event is None:
                engine.tick(state, end_ms, MODEL)
            else:
                engine.apply_record(state, SOURCE, offset, event, event.time_ms, MODEL)
    assert seldom.unsent == often.unsent
    assert (seldom.band, seldom.seq, seldom.next_due_ms) == (often.band, often.seq, often.next_due_ms)
    assert aggregates(seldom) == aggregates(often)


def stopping_is_not_noticed(log: list[Event]) -> None:
    """Store and read back an account after every record: it ends exactly like one that never stopped."""
    never_stopped = play(log)
    state = AccountState(log[0].account)
    for offset, event in enumerate(log):
        engine.apply_record(state, SOURCE, offset, event, event.time_ms, MODEL)
        stored = state_codec.encode(state)
        recovered = state_codec.decode(state.account, stored)
        assert snapshot(recovered) == snapshot(state)
        assert state_codec.encode(recovered) == stored
        assert state_codec.peek_next_due(stored) == state.next_due_ms
        assert state_codec.peek_revision(stored) == state.revision
        state = recovered
    assert snapshot(state) == snapshot(never_stopped)


def score_is_the_sum_of_its_reasons(log: list[Event]) -> None:
    """At every step the score is finite, within 0..100, and exactly explained; so is every alert's change."""
    state = AccountState(log[0].account)
    for offset, event in enumerate(log):
        engine.apply_record(state, SOURCE, offset, event, event.time_ms, MODEL)
        view = score_view(state, MODEL)
        assert 0.0 <= view.coverage <= 1.0
        assert (view.score is None) == (not view.factors)
        if view.score is None:
            continue
        assert isfinite(view.score)
        assert 0.0 <= view.score <= 100.0
        assert isclose(sum(part.contribution for part in view.factors), view.score, abs_tol=1e-9)
        assert isclose(sum(part.points_lost for part in view.factors), 100.0 - view.score, abs_tol=1e-9)
        assert isclose(sum(part.weight for part in view.factors), 1.0, abs_tol=1e-9)
    for alert in state.unsent:
        _alert_is_explained(alert)


def _alert_is_explained(alert: Alert) -> None:
    assert isclose(sum(part.contribution for part in alert.factors), alert.score, abs_tol=1e-9)
    if alert.previous_score is not None:
        changes = [part.points_change for part in alert.factors if part.points_change is not None]
        assert isclose(sum(changes), alert.score - alert.previous_score, abs_tol=1e-9)


def bands_keep_their_distance(log: list[Event]) -> None:
    """Enter a band below `enter` only and leave it at `leave` only; alerts are numbered without gaps."""
    state = AccountState(log[0].account)
    for offset, event in enumerate(log):
        while state.next_due_ms is not None and state.next_due_ms <= event.time_ms:
            before = state.band
            engine.advance(state, state.next_due_ms, MODEL)
            _band_follows(before, state)
        before = state.band
        engine.apply_record(state, SOURCE, offset, event, event.time_ms, MODEL)
        _band_follows(before, state)
    assert [alert.seq for alert in state.unsent] == list(range(1, state.seq + 1))
    assert len({alert.id for alert in state.unsent}) == len(state.unsent)


def _band_follows(before: Band, state: AccountState) -> None:
    score, band = state.score, state.band
    if band == "unknown" or score is None:
        assert band == "unknown"
        assert score is None or state.coverage < MODEL.min_coverage
        return
    assert state.coverage >= MODEL.min_coverage
    if band == "healthy":
        assert score >= (MODEL.at_risk.leave if before in {"at_risk", "endangered"} else MODEL.at_risk.enter)
    elif band == "at_risk":
        assert score < (MODEL.at_risk.leave if before in {"at_risk", "endangered"} else MODEL.at_risk.enter)
        assert score >= (MODEL.endangered.leave if before == "endangered" else MODEL.endangered.enter)
    else:
        assert score < (MODEL.endangered.leave if before == "endangered" else MODEL.endangered.enter)


def cached_outputs_are_fresh(log: list[Event]) -> None:
    """Compare what an event or a tick computed again, plus what it left alone, with computing everything anew."""
    state = AccountState(log[0].account)
    for offset, event in enumerate(log):
        engine.apply_record(state, SOURCE, offset, event, event.time_ms, MODEL)
        values = [factor.signal.read(state) for factor in MODEL.factors]
        outputs = [-1.0 if v is None else f.curve.at(v) for f, v in zip(MODEL.factors, values, strict=True)]
        assert state.outputs.tolist() == outputs


def usage_agrees_with_the_oracle(log: list[Event]) -> None:
    """Login sums and usage signals equal a recount of all events, after every event and on days without one."""
    state, oracle = AccountState(log[0].account), LoginOracle()
    for offset, event in enumerate(log):
        assert isinstance(event, Usage)
        engine.apply_record(state, SOURCE, offset, event, event.time_ms, MODEL)
        oracle.add(event.time_ms, is_login=event.action == "login")
        _agree(state, oracle)
    for days in (1, 28, 29, 30, 31, 59, 60, 89, 90):
        oracle.now_ms = log[-1].time_ms + days * DAY
        if oracle.now_ms > state.clock_ms:
            engine.tick(state, oracle.now_ms, MODEL)
            _agree(state, oracle)
        oracle.now_ms = state.clock_ms


def _agree(state: AccountState, oracle: LoginOracle) -> None:
    assert state.recent_logins == oracle.last_30()
    assert state.previous_logins == oracle.previous_30()
    assert SIGNALS["login_trend"].read(state) == oracle.trend()
    assert SIGNALS["recency_days"].read(state) == oracle.recency()
    assert SIGNALS["active_days"].read(state) == oracle.active_days()
