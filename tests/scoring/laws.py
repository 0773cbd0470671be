"""The laws of the core as plain functions: each takes a generated log and fails with an AssertionError when broken.

They stand apart from the tests so that one test can show that they hold and another that seeded bugs break them.
"""

from __future__ import annotations

from inspect import isdatadescriptor
from math import isclose, isfinite
from random import Random
from typing import Any

from service.scoring import effects, engine, evaluation, state_codec
from service.scoring.acting import Acting
from service.scoring.bands import BAND_RANKS
from service.scoring.events import AccountUpdate, Event
from service.scoring.explain import score_view
from service.scoring.model import Model, plan_of
from service.scoring.records import NEVER
from service.scoring.signals import SIGNALS
from service.scoring.state import AccountState, More
from service.scoring.views import BAND_ALERT_KINDS, Alert, Band
from tests.scoring.logs import DAY
from tests.scoring.models import DEFAULT, RESTLESS

MODEL = DEFAULT
SOURCE = 0
CACHE = {"rest", "outputs", "plan", "model", "truths", "dues", "key_features"}
# What follows from the events alone, whatever order they came in.
AGGREGATES = (
    *("clock_ms", "day", "score", "coverage", "recent_logins", "previous_logins", "active_mask", "first_login_day"),
    *("last_login_day", "first_usage_day", "last_usage_ms", "first_seen_day"),
)


def fields_of(class_: type) -> list[str]:
    """List the fields of a class with slots, compiled or not."""
    return [name for name, member in vars(class_).items() if isdatadescriptor(member) and not name.startswith("_")]


def _plain(value: Any) -> Any:
    if isinstance(value, More | Acting):
        return {name: _plain(getattr(value, name)) for name in fields_of(type(value))}
    if hasattr(value, "days") and hasattr(value, "first_day"):
        return value.first_day, dict(value.days)
    return dict(value) if hasattr(value, "items") else value


def snapshot(state: AccountState) -> dict[str, Any]:
    """Take every stored field of the state, in a form that compares by value."""
    return {name: _plain(getattr(state, name)) for name in fields_of(AccountState) if name not in CACHE}


def aggregates(state: AccountState) -> dict[str, Any]:
    """Take what must not depend on the order of events."""
    facts = snapshot(state)
    values = {name: signal.read(state) for name, signal in SIGNALS.items()}
    row = state.attributes.to_row() if state.attributes else None
    more = facts["more"] or _plain(More())
    order_free = {name: facts[name] for name in AGGREGATES}
    return {**order_free, "values": values, "logins": state.logins.tolist(), "attributes": row, "more": more}


def play(log: list[Event], *, end_ms: int | None = None, model: Model = MODEL) -> AccountState:
    """Apply the whole log at the events' own times, then let time pass to `end_ms`."""
    state = AccountState(log[0].account)
    for offset, event in enumerate(log):
        engine.apply_record(state, SOURCE, offset, event, event.time_ms, model)
    if end_ms is not None:
        engine.tick(state, end_ms, model)
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
    """Any order of events inside the ring gives the same aggregates and score at the same instant.

    Only the lists of key users stay in front: a login counts for a key user when the list names them already.
    """
    end_ms = max(event.time_ms for event in log) + silent_days * DAY
    lists = [event for event in log if isinstance(event, AccountUpdate) and event.key_users is not None]
    others = [event for event in log if event not in lists]
    shuffled = Random(seed).sample(others, len(others))
    for model in (DEFAULT, RESTLESS):
        ordered = play([*lists, *others], end_ms=end_ms, model=model)
        assert aggregates(play([*lists, *shuffled], end_ms=end_ms, model=model)) == aggregates(ordered)


def only_due_ticks_matter(log: list[Event], silent_days: int) -> None:
    """Look at every midnight, at odd instants or only when due: the same alerts at the same times."""
    for model in (DEFAULT, RESTLESS):
        _only_due_ticks_matter(log, silent_days, model)


def _only_due_ticks_matter(log: list[Event], silent_days: int, model: Model) -> None:
    end_ms = log[-1].time_ms + silent_days * DAY
    seldom, often = AccountState("acme"), AccountState("acme")
    for offset, event in enumerate([*log, None]):
        until_ms = end_ms if event is None else event.time_ms
        looks = range(often.clock_ms - often.clock_ms % DAY + DAY, until_ms, DAY) if often.clock_ms >= 0 else ()
        for midnight in looks:
            for instant in (midnight - 1, midnight, midnight + DAY // 3):
                if instant < until_ms:
                    engine.tick(often, instant, model)
        for state in (seldom, often):
            if event is None:
                engine.tick(state, end_ms, model)
            else:
                engine.apply_record(state, SOURCE, offset, event, event.time_ms, model)
    assert seldom.unsent == often.unsent
    for name in ("band", "computed_band", "told", "seq", "rules", "told_ms", "suppressed", "scores", "better_since_ms"):
        assert getattr(seldom, name) == getattr(often, name), name
    assert aggregates(seldom) == aggregates(often)


def nothing_changes_before_it_is_due(log: list[Event]) -> None:
    """Up to the last millisecond before the due instant, every output and condition is what it was."""
    state = AccountState(log[0].account)
    for offset, event in enumerate(log):
        engine.apply_record(state, SOURCE, offset, event, event.time_ms, RESTLESS)
        due_ms = state.next_due_ms
        assert due_ms is None or due_ms > state.clock_ms
        if state.is_churned:
            assert due_ms is None
            continue
        later = state_codec.decode(state.account, state_codec.encode(state))
        later.next_due_ms = None  # so that the tick below looks at one instant only
        before = (state.score, state.coverage, state.band, state.computed_band, state.rules)
        engine.use_model(later, RESTLESS)
        engine.tick(later, state.clock_ms + 400 * DAY if due_ms is None else due_ms - 1, RESTLESS)
        engine._load_plan(later, plan_of(later))
        assert later.outputs.tolist() == state.outputs.tolist()
        assert later.truths == state.truths
        assert (later.score, later.coverage, later.band, later.computed_band, later.rules) == before
        assert later.unsent == state.unsent


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
    # A due instant may be early, and a state that was read again knows it better: no more than empty ticks differ.
    for account in (state, never_stopped):
        engine.advance(account, account.clock_ms + 400 * DAY, MODEL)
        account.next_due_ms, account.revision = None, 0
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
    changes = [part.points_change for part in alert.factors if part.points_change is not None]
    if alert.previous_score is not None and changes:  # none: the account changed its profile since
        assert len(changes) == len(alert.factors)
        assert isclose(sum(changes), alert.score - alert.previous_score, abs_tol=1e-9)


def bands_keep_their_distance(log: list[Event]) -> None:
    """Enter a band below `enter`, leave it only after the dwell at `leave`, and never be better than a cap."""
    for model in (DEFAULT, RESTLESS):
        state = AccountState(log[0].account)
        watch = _BandWatch(model)
        for offset, event in enumerate(log):
            while state.next_due_ms is not None and state.next_due_ms <= event.time_ms:
                engine.advance(state, state.next_due_ms, model)
                watch.look(state)
            engine.apply_record(state, SOURCE, offset, event, event.time_ms, model)
            watch.look(state)
        assert [alert.seq for alert in state.unsent] == list(range(1, state.seq + 1))
        assert len({alert.id for alert in state.unsent}) == len(state.unsent)


class _BandWatch:
    """Follows the computed band from outside: it knows since when a better one would be right."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.band: Band = "unknown"
        self.better_since_ms = NEVER

    def look(self, state: AccountState) -> None:
        before, band, bands = self.band, state.computed_band, self.model.bands
        self.band = band
        if state.score is None or state.coverage < bands.min_coverage:
            assert band == "unknown"
            self.better_since_ms = NEVER
            return
        assert band != "unknown"
        caps = {rule.name: rule.cap for rule in self.model.rules}
        holding = [cap for name in score_view(state, self.model).rules if (cap := caps[name]) is not None]
        floor = max((BAND_RANKS[cap] for cap in holding), default=0)
        at_risk = bands.at_risk.leave if before in {"at_risk", "endangered"} else bands.at_risk.enter
        endangered = bands.endangered.leave if before == "endangered" else bands.endangered.enter
        right = max(floor, 2 if state.score < endangered else 1 if state.score < at_risk else 0)
        assert BAND_RANKS[band] >= right
        if before == "unknown" or right >= BAND_RANKS[before]:
            assert BAND_RANKS[band] == right
            self.better_since_ms = NEVER
        elif BAND_RANKS[band] < BAND_RANKS[before]:
            since_ms = state.clock_ms if self.better_since_ms == NEVER else self.better_since_ms
            assert state.clock_ms - since_ms >= bands.dwell_ms
            self.better_since_ms = state.clock_ms
        elif self.better_since_ms == NEVER:
            self.better_since_ms = state.clock_ms
        else:
            assert state.clock_ms - self.better_since_ms < bands.dwell_ms


def alerts_keep_their_cool_down(log: list[Event], silent_days: int) -> None:
    """Alerts of one kind are a cool-down apart, tell a change, and leave nobody with a stale band."""
    for model in (DEFAULT, RESTLESS):
        state = play(log, end_ms=log[-1].time_ms + silent_days * DAY, model=model)
        sent: dict[str, int] = {}
        told = "healthy"
        for alert in state.unsent:
            cool_down_ms = model.cool_downs[alert.kind]
            assert alert.kind not in sent or alert.time_ms - sent[alert.kind] >= cool_down_ms
            sent[alert.kind] = alert.time_ms
            if alert.kind in BAND_ALERT_KINDS:
                assert alert.band != told
                assert alert.kind == ("recovered" if alert.band == "healthy" else alert.band)
                assert not (told == "endangered" and alert.band == "at_risk")
                told = alert.band
        assert state.told == told
        if state.band in {"unknown", told} or state.score is None or state.is_churned:
            continue
        held = state.band if state.band != "healthy" else "recovered"
        if (told, state.band) != ("endangered", "at_risk"):
            assert state.clock_ms - sent[held] < model.cool_downs[held]
            # It is counted, here or in an alert of a rule that went out meanwhile.
            later = [alert.suppressed for alert in state.unsent if alert.time_ms >= sent[held]]
            assert state.suppressed + sum(later) > 0


def cached_outputs_are_fresh(log: list[Event]) -> None:
    """Compare what an event or a tick computed again, plus what it left alone, with computing everything anew."""
    for model in (DEFAULT, RESTLESS):
        state = AccountState(log[0].account)
        for offset, event in enumerate(log):
            engine.apply_record(state, SOURCE, offset, event, event.time_ms, model)
            plan = model.plan_for(state.attributes)
            assert state.plan is plan
            values = [factor.signal.read(state) for factor in plan.factors]
            outputs = [-1.0 if v is None else f.curve.at(v) for f, v in zip(plan.factors, values, strict=True)]
            assert state.outputs.tolist() == outputs
            assert state.truths == evaluation._read_truths(state, plan)


def another_model_is_silent(log: list[Event], at: int) -> None:
    """Change the model in the middle of a log: the score is marked, nothing is told, and the mark goes."""
    state = play(log[: at % len(log) + 1])
    told = state.unsent
    assert engine.use_model(state, RESTLESS)
    assert state.unsent == told
    assert state.model_changed
    assert state.band in {"unknown", state.told} or state.is_churned or state.score is None
    assert engine.use_model(state, RESTLESS) == 0
    assert score_view(state, RESTLESS).model_version == RESTLESS.version
