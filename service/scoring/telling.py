"""What is told of an account: which alerts are due, which are held back by a cool-down, and when those come due.

`state.told` is the band that the alerts so far told, so that a consumer is never left with a stale one: an alert that
was held back goes out at the end of its cool-down when it is still due. A snoozed account is told nothing at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from service.scoring.acting import snooze_end_ms
from service.scoring.alerts import make_alert
from service.scoring.model import Plan, Rule
from service.scoring.records import NEVER
from service.scoring.state import AccountState
from service.scoring.views import Band, BandAlertKind

# Marks of `state.rules`
WAITING: Final = 0  # holds, nothing told yet
HELD: Final = 1  # held back by a cool-down or a snooze, and counted as suppressed
TOLD: Final = 2


def due_kind(band: Band, told: Band) -> BandAlertKind | None:
    """Say which alert brings consumers from `told` to `band`; from endangered to at_risk there is no recovery yet."""
    if band in {told, "unknown"}:
        return None
    if band == "endangered":
        return "endangered"
    if band == "healthy":
        return "recovered"
    return "at_risk" if told == "healthy" else None


def tell(state: AccountState, plan: Plan, rules: Iterable[Rule], previous_band: Band, forced: Rule | None) -> bool:
    """Make every alert that is due and not held back; True when there was one.

    `rules` are those with alerts that hold, in the model's order; `forced` is the rule that decided the band.
    """
    known = state.band != "unknown" and state.score is not None  # a band by hand is not told without a score
    kind = due_kind(state.band, state.told) if known else None
    marks: dict[str, int] = {}
    sent = []
    if kind is not None:
        if _may_go(state, kind, plan):
            before = previous_band if previous_band != state.band else state.told
            sent.append(make_alert(state, plan, kind, before, forced))
            state.told = state.band
            _note_sent(state, kind)
        else:
            marks[kind] = _hold(state, kind)
    for rule in rules:
        mark = state.rules.get(rule.name, WAITING)
        if known and mark != TOLD:
            if _may_go(state, rule.name, plan):
                sent.append(make_alert(state, plan, rule.name, previous_band, rule))
                _note_sent(state, rule.name)
                mark = TOLD
            else:
                mark = _hold(state, rule.name)
        marks[rule.name] = mark
    if marks or state.rules:
        state.rules = marks
    if sent:
        state.unsent = (*state.unsent, *sent)
    return bool(sent)


def take_as_told(state: AccountState, rules: Iterable[Rule]) -> None:
    """Let the present band and rules pass without a word."""
    if state.band != "unknown":
        state.told = state.band
    state.rules = {rule.name: TOLD for rule in rules}


def cool_down_ends_ms(state: AccountState, plan: Plan) -> list[int]:
    """List the instants at which the cool-downs of the alerts that are held back end."""
    cool_downs, told_ms = plan.model.cool_downs, state.told_ms
    held = [kind for kind, mark in state.rules.items() if mark == HELD]
    return [told_ms[kind] + cool_downs.get(kind, 0) for kind in held if kind in told_ms]


def _may_go(state: AccountState, kind: str, plan: Plan) -> bool:
    if snooze_end_ms(state) != NEVER:
        return False
    sent_ms = state.told_ms.get(kind, NEVER)
    return sent_ms == NEVER or state.clock_ms - sent_ms >= plan.model.cool_downs[kind]


def _hold(state: AccountState, kind: str) -> int:
    if state.rules.get(kind) != HELD:
        state.suppressed += 1
    return HELD


def _note_sent(state: AccountState, kind: str) -> None:
    state.told_ms = {**state.told_ms, kind: state.clock_ms}
    state.suppressed = 0
