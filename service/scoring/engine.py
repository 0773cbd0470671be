"""The one way to change an account: apply a record, step over an event, let time pass, or use another model.

Theory of operation. Time moves first: every due tick up to the new instant runs at its own due instant, so that an
account's alerts depend only on its own events and not on when a worker looked. Then the event is recorded in its own
day, and only the signals that read what it touched are computed again; each also says on which day time alone may
change it next. Score, band and alerts follow from their outputs. Signals read whole UTC days, so between two midnights
only the end of a dwell, a cool-down, an override or a snooze can be due.

The caller owns the state and its clock: `as_of_ms` is the wall clock or a watermark, and never goes back for an
account (an earlier one counts as the latest known).
"""

from __future__ import annotations

from array import array
from typing import Final

from service.scoring.acting import (
    STATING,
    acting_of,
    conclude,
    holds,
    snooze,
    snooze_end_ms,
    stated_facts,
    why_refused,
)
from service.scoring.bands import override_in_force
from service.scoring.effects import ACTED, ALERTED, CHANGED, DUPLICATE, ERASED, LATE, SCORED, SKIPPED
from service.scoring.evaluation import ABSENT, evaluate, next_score_day, timers_due_ms
from service.scoring.events import AccountUpdate, Action, Event, Payment, Usage
from service.scoring.model import Model, Plan, Reading, plan_of
from service.scoring.recent_ids import remember
from service.scoring.recording import (
    ALL_SIGNAL_PARTS,
    PART_ATTRIBUTES,
    PART_FEATURES,
    PART_KEY_USERS,
    PART_LOGINS,
    PART_USAGE,
    PART_USERS,
    record,
    relist_facts,
)
from service.scoring.records import NEVER
from service.scoring.signal import NO_DAY
from service.scoring.state import DAY_MS, RING_DAYS, WINDOW_DAYS, AccountState, keep_daily_scores, roll_days

__all__ = ["ALERTED", "advance", "apply_record", "mark_actions_told", "mark_sent", "step", "tick", "use_model"]

_COUNTED_PARTS: Final = PART_LOGINS | PART_USERS | PART_KEY_USERS
_RARE_PARTS: Final = PART_KEY_USERS | PART_FEATURES  # what a usage event may change in the rest of the stored form


def apply_record(  # noqa: PLR0917  # one call per record: keywords cost time on the hottest path
    state: AccountState, source: int, offset: int, event: Event, as_of_ms: int, model: Model
) -> int:
    """Apply the record at `offset` of input `source` once; returns bits of `effects`.

    An offset at or below the one applied before is SKIPPED and changes nothing at all.
    """
    if offset <= state.applied[source]:
        return SKIPPED
    state.applied[source] = offset
    return step(state, event, as_of_ms, model)


def step(state: AccountState, event: Event, as_of_ms: int, model: Model) -> int:
    """Let time pass to the event, then apply it; returns bits of `effects`."""
    time_ms = event.time_ms
    clock_ms = as_of_ms if as_of_ms > time_ms else time_ms  # noqa: FURB136  # a call of max() costs more
    effects = CHANGED
    if state.model is not model:
        effects |= _load(state, model)
    due_ms = state.next_due_ms
    if due_ms is not None and due_ms <= clock_ms:
        effects |= advance(state, clock_ms, model)
    state.revision += 1
    _move_clock(state, clock_ms)
    if not remember(state, event.event_id):
        return effects | DUPLICATE
    if not isinstance(event, Usage):
        state.rest = None
        if isinstance(event, AccountUpdate):
            return effects | _step_account(state, event, model)
        if isinstance(event, Action):
            return effects | _step_action(state, event, model)
    day = time_ms // DAY_MS
    is_late = day <= state.day - RING_DAYS or time_ms < state.returned_ms
    if is_late or state.is_churned:
        if isinstance(event, Payment) and event.action == "subscription_changed":
            return effects | _step_account(state, _facts_of(event), model)
        return effects | LATE if is_late and not state.is_churned else effects
    return effects | _count(state, event, day)


def _count(state: AccountState, event: Event, day: int) -> int:
    """Record an event that counts in its `day`, and compute again what reads the parts that it touched."""
    effects = 0
    plan = plan_of(state)
    touched = record(state, event, plan.key_features)
    if touched & _RARE_PARTS:
        state.rest = None
    readings = plan.readers(touched & ALL_SIGNAL_PARTS)
    kept_until = _kept_until(state, touched, day)
    if (readings and _compute(state, readings, kept_until)) or _is_unscored(state):
        effects |= evaluate(state, plan, is_changed=True)
        _set_next_due(state, plan)
    elif touched & PART_USAGE:
        _set_next_due(state, plan)
    else:
        _come_due_sooner(state, readings)
    return _show(state, effects) if touched & PART_ATTRIBUTES else effects


def advance(state: AccountState, as_of_ms: int, model: Model) -> int:
    """Run every tick due up to and including `as_of_ms`, each at its own due instant; 0 when none was due."""
    effects = 0
    due_ms = state.next_due_ms
    while due_ms is not None and due_ms <= as_of_ms:
        effects |= _tick_at(state, due_ms, model)
        due_ms = state.next_due_ms
    return effects


def tick(state: AccountState, as_of_ms: int, model: Model) -> int:
    """Let time pass to exactly `as_of_ms`, through every due tick before it; 0 when it is not ahead of the clock."""
    effects = advance(state, as_of_ms, model)
    if as_of_ms > state.clock_ms:
        effects |= _tick_at(state, as_of_ms, model)
    return effects


def use_model(state: AccountState, model: Model) -> int:
    """Score the account anew when its stored score is another model's; returns bits of `effects`, 0 when it is not.

    Every other function does so by itself; this one serves accounts for which nothing is due.
    """
    effects = _load(state, model) if state.model is not model else 0
    if effects:
        state.revision += 1
    return effects


def mark_sent(state: AccountState, seq: int) -> int:
    """Forget the unsent alerts up to and including `seq`, once they are acknowledged; returns bits of `effects`."""
    kept = tuple(alert for alert in state.unsent if alert.seq > seq)
    if len(kept) == len(state.unsent):
        return 0
    state.unsent = kept
    state.rest = None
    state.revision += 1
    return CHANGED


def mark_actions_told(state: AccountState, seq: int) -> int:
    """Forget the outcomes of actions up to and including `seq`, like `mark_sent`."""
    acting = state.acting
    if acting is None:
        return 0
    kept = tuple(taken for taken in acting.unsent if taken.seq > seq)
    if len(kept) == len(acting.unsent):
        return 0
    acting.unsent = kept
    state.rest = None
    state.revision += 1
    return CHANGED


def _tick_at(state: AccountState, as_of_ms: int, model: Model) -> int:
    effects = CHANGED
    if state.model is not model:
        effects |= _load(state, model)
    state.revision += 1
    # before the clock moves: an override or a snooze that ends now is in force still
    timer_ms = timers_due_ms(state, plan_of(state))
    override, snooze_ms = override_in_force(state), snooze_end_ms(state)
    _move_clock(state, as_of_ms)
    if state.is_churned:
        return effects
    plan = plan_of(state)
    day, readings = state.day, plan.readings
    is_changed = _compute(state, [readings[i] for i, due_day in enumerate(state.dues) if due_day <= day])
    is_changed |= _is_unscored(state)
    if is_changed or plan.score_days or (timer_ms is not None and timer_ms <= state.clock_ms):
        effects |= evaluate(state, plan, is_changed=is_changed)
    _set_next_due(state, plan)
    has_ended = override is not override_in_force(state) or snooze_ms != snooze_end_ms(state)
    return _show(state, effects) if has_ended else effects


def _step_account(state: AccountState, event: AccountUpdate, model: Model) -> int:
    """Facts hold however old they are; entering or leaving `churned` freezes the account or lets it start afresh."""
    was_churned = state.is_churned
    touched = record(state, event, plan_of(state).key_features)
    effects = 0
    if state.is_churned:
        effects |= _freeze(state, model)
    else:
        if was_churned:
            _start_afresh(state, event)
        plan = model.plan_for(state.attributes)
        if plan is not state.plan or was_churned:
            is_changed = _load_plan(state, plan)
        else:
            is_changed = _compute(state, plan.readers(touched & ALL_SIGNAL_PARTS))
        effects |= evaluate(state, plan, is_changed=is_changed or was_churned or _is_unscored(state))
        _set_next_due(state, plan)
    return _show(state, effects) if touched & PART_ATTRIBUTES else effects


def _show(state: AccountState, effects: int) -> int:
    """Have the view published that changed without its score."""
    if effects & SCORED:
        return effects
    state.score_seq += 1
    state.model_changed = False
    return effects | SCORED


def _step_action(state: AccountState, event: Action, model: Model) -> int:
    """Apply what a person did, or say why not; an erasure is the caller's, as nothing of the state may stay."""
    if event.action == "erase":
        return ERASED
    if not acting_of(state).is_new(event.event_id):
        return DUPLICATE
    effects = ACTED
    refusal = why_refused(state, event)
    if refusal is None:
        if event.action in STATING:
            effects |= _step_account(state, stated_facts(event), model)
            refusal = None if holds(state, event) else "superseded"
        elif event.action == "snooze":
            if snooze(state, event):
                effects |= _let_out(state)
            else:
                refusal = "superseded"
    conclude(state, event, refusal)
    return effects


def _let_out(state: AccountState) -> int:
    """Tell what an earlier snooze held back, when the one in force now does not, and show that one."""
    plan = plan_of(state)
    effects = evaluate(state, plan, is_changed=_is_unscored(state))
    _set_next_due(state, plan)
    return _show(state, effects)


def _facts_of(event: Payment) -> AccountUpdate:
    """Take the amount of a changed subscription as a fact about the account."""
    return AccountUpdate(
        event.account, event.event_id, event.time_ms, mrr_minor=event.mrr_minor, currency=event.currency
    )


def _freeze(state: AccountState, model: Model) -> int:
    """Leave the account to itself: band and alerts stay, the score is once more what the facts make of it."""
    before = (state.plan, state.outputs)
    plan = model.plan_for(state.attributes)
    _load_plan(state, plan)
    state.next_due_ms = None
    return evaluate(state, plan, is_changed=before != (plan, state.outputs) or _is_unscored(state))


def _start_afresh(state: AccountState, event: AccountUpdate) -> None:
    facts = state.attributes
    state.start_afresh()
    state.returned_ms = facts.time_of("stage") if facts is not None else event.time_ms
    _move_clock(state, state.clock_ms)
    relist_facts(state, event)


def _move_clock(state: AccountState, clock_ms: int) -> None:
    """Move the clock, never back, and the rings with it."""
    if clock_ms > state.clock_ms:
        state.clock_ms = clock_ms
    else:
        clock_ms = state.clock_ms
    day = clock_ms // DAY_MS
    if day <= state.day or state.is_churned:
        return
    keep_daily_scores(state, day, has_band=state.coverage >= plan_of(state).model.min_coverage)
    roll_days(state, day)


def _kept_until(state: AccountState, touched: int, day: int) -> int:
    """Say up to which day a due day stays as it is, being early at worst.

    On a day that was active already, one more login or user makes what counts them greater until it leaves 30 days.
    """
    return NEVER if touched & ~_COUNTED_PARTS or state.day - day >= WINDOW_DAYS else day + WINDOW_DAYS - 1


def _come_due_sooner(state: AccountState, readings: list[Reading]) -> None:
    """Let the due instant follow signals that may change sooner now; an early one is harmless."""
    for reading in readings:
        day = state.dues[reading.index]
        known_ms = state.next_due_ms
        if day != NO_DAY and (known_ms is None or day * DAY_MS < known_ms):
            state.next_due_ms = day * DAY_MS


def _set_next_due(state: AccountState, plan: Plan) -> None:
    """Come due at the first midnight that can change a signal, or sooner when a dwell, cool-down or override ends."""
    day = min(state.dues, default=NO_DAY)
    if plan.score_days and day > state.day + 1:
        day = min(day, next_score_day(state, plan))
    due_ms = None if day == NO_DAY else day * DAY_MS
    timer_ms = timers_due_ms(state, plan)
    if timer_ms is not None and (due_ms is None or timer_ms < due_ms):
        due_ms = timer_ms
    state.next_due_ms = due_ms


def _load(state: AccountState, model: Model) -> int:
    """Fill the caches; score the account anew when its stored score is another model's."""
    state.model = model
    plan = model.plan_for(state.attributes)
    _load_plan(state, plan)
    mark, state.model_mark = state.model_mark, model.fingerprint
    if mark in {model.fingerprint, b""} or state.first_seen_day == NEVER:  # nothing was scored yet
        return 0
    effects = evaluate(state, plan, is_changed=True, is_new_model=True)
    if not state.is_churned:
        _set_next_due(state, plan)
    return CHANGED | effects


def _is_unscored(state: AccountState) -> bool:
    """Tell whether something counts, but what is known from the start (such as the stage) makes no score yet."""
    return state.score is None and state.first_seen_day != NEVER and any(output >= 0.0 for output in state.outputs)


def _load_plan(state: AccountState, plan: Plan) -> bool:
    state.plan = plan
    state.key_features = plan.key_features
    state.outputs = array("d", [ABSENT] * len(plan.factors))
    state.dues = array("i", [NO_DAY] * len(plan.readings))
    state.truths = 0
    _compute(state, plan.readings)
    return True


def _compute(state: AccountState, readings: list[Reading], kept_until: int = NEVER) -> bool:
    """Compute these signals again and all that depends on them; True when an output or a condition changed.

    Due days up to `kept_until` are right as they are.
    """
    outputs, dues, truths = state.outputs, state.dues, state.truths
    changed = False
    for reading in readings:
        value = reading.read(state)
        if dues[reading.index] > kept_until:
            due_day = NO_DAY
            for low, high in reading.spans:
                day = reading.next_day(state, low, high)
                if day < due_day:  # noqa: PLR1730  # a call of min() costs more
                    due_day = day
            dues[reading.index] = due_day
        for position, curve in reading.curves:
            output = ABSENT if value is None else curve.at(value)
            if output != outputs[position]:
                outputs[position] = output
                changed = True
        for bit, lowest, highest in reading.conditions:
            if (value is not None and lowest <= value <= highest) != bool(truths & bit):
                truths ^= bit
                changed = True
    state.truths = truths
    return changed
