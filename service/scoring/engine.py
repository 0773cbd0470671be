"""The one way to change an account: apply a record, step over an event, or let time pass.

Theory of operation. Time moves first: every due tick up to the new instant runs at its own due instant, so that an
account's alerts depend only on its own events and not on when a worker looked. Then the event is recorded in its own
day, only the factors that read what it touched are computed again, and score, band and alert follow from
their outputs. Signals read whole UTC days, so between two midnights nothing changes by time alone.

The caller owns the state and its clock: `as_of_ms` is the wall clock or a watermark, and never goes back for an
account (an earlier one counts as the latest known).
"""

from __future__ import annotations

from array import array
from typing import Final

from service.scoring.bands import alert_kind, next_band
from service.scoring.effects import ALERTED, CHANGED, DUPLICATE, LATE, SCORED, SKIPPED
from service.scoring.events import AccountUpdate, Event
from service.scoring.explain import make_alert, make_baseline
from service.scoring.model import OUTPUT_MAX, Model
from service.scoring.recent_ids import remember
from service.scoring.recording import ALL_SIGNAL_PARTS, PART_ATTRIBUTES, record
from service.scoring.state import DAY_MS, RING_DAYS, AccountState, roll_days

ABSENT: Final = -1.0  # the output of a factor without data; real outputs are 0..100


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
    clock_ms = max(as_of_ms, event.time_ms)
    effects = CHANGED
    due_ms = state.next_due_ms
    if due_ms is not None and due_ms <= clock_ms:
        effects |= advance(state, clock_ms, model)
    outdated = state.outputs_model is not model and _load_outputs(state, model)
    state.revision += 1
    new_day = _move_clock(state, clock_ms)
    if not remember(state, event.event_id):
        return effects | DUPLICATE
    if isinstance(event, AccountUpdate):
        return effects | _step_account(state, event, model)
    if state.is_churned:
        return effects
    if event.time_ms // DAY_MS <= state.day - RING_DAYS:
        return effects | LATE
    touched = record(state, event)
    changed = _compute_outputs(state, model, ALL_SIGNAL_PARTS if new_day else touched & ALL_SIGNAL_PARTS)
    if changed or outdated:
        effects |= _settle(state, model)
    elif touched & PART_ATTRIBUTES:
        effects |= SCORED
        state.score_seq += 1
    if new_day or state.next_due_ms is None:
        _set_next_due(state, model)
    return effects


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


def mark_sent(state: AccountState, seq: int) -> int:
    """Forget the unsent alerts up to and including `seq`, once they are acknowledged; returns bits of `effects`."""
    kept = tuple(alert for alert in state.unsent if alert.seq > seq)
    if len(kept) == len(state.unsent):
        return 0
    state.unsent = kept
    state.revision += 1
    return CHANGED


def _tick_at(state: AccountState, as_of_ms: int, model: Model) -> int:
    outdated = state.outputs_model is not model and _load_outputs(state, model)
    state.revision += 1
    effects = CHANGED
    new_day = _move_clock(state, as_of_ms)
    changed = new_day and _compute_outputs(state, model, ALL_SIGNAL_PARTS)
    if changed or (outdated and not state.is_churned):
        effects |= _settle(state, model)
    if new_day:
        _set_next_due(state, model)
    return effects


def _step_account(state: AccountState, event: AccountUpdate, model: Model) -> int:
    """Facts hold however old they are; entering or leaving `churned` freezes or thaws the rest of the account."""
    was_churned = state.is_churned
    touched = record(state, event)
    effects = 0
    if state.is_churned:
        state.next_due_ms = None
    else:
        if was_churned:
            _move_clock(state, state.clock_ms)
        if _compute_outputs(state, model, ALL_SIGNAL_PARTS) or was_churned:
            effects |= _settle(state, model)
        _set_next_due(state, model)
    if touched & PART_ATTRIBUTES and not effects & SCORED:
        effects |= SCORED
        state.score_seq += 1
    return effects


def _move_clock(state: AccountState, clock_ms: int) -> bool:
    """Move the clock, never back, and the ring with it; True when the ring came to a new day."""
    if clock_ms > state.clock_ms:
        state.clock_ms = clock_ms
    else:
        clock_ms = state.clock_ms
    day = clock_ms // DAY_MS
    if day <= state.day or state.is_churned:
        return False
    roll_days(state, day)
    return True


def _set_next_due(state: AccountState, model: Model) -> None:
    """Come due at the next UTC midnight while days passing can change a factor, else never."""
    for factor in model.factors:
        if factor.signal.moves(state, factor.curve.last_x):
            state.next_due_ms = (state.day + 1) * DAY_MS
            return
    state.next_due_ms = None


def _load_outputs(state: AccountState, model: Model) -> bool:
    """Fill the cache of outputs; True when a new model gives another score than the state carries."""
    state.outputs = array("d", [ABSENT] * len(model.factors))
    state.outputs_model = model
    _compute_outputs(state, model, ALL_SIGNAL_PARTS)
    return score_outputs(state.outputs, model) != (state.score, state.coverage)


def _compute_outputs(state: AccountState, model: Model, parts: int) -> bool:
    """Compute again the factors that read `parts`; True when an output changed."""
    outputs = state.outputs
    changed = False
    for index, factor in model.readers[parts]:
        value = factor.signal.read(state)
        output = ABSENT if value is None else factor.curve.at(value)
        if output != outputs[index]:
            outputs[index] = output
            changed = True
    return changed


def score_outputs(outputs: array[float], model: Model) -> tuple[float | None, float]:
    """Add up the score and the coverage of these factor outputs: contributions summed in the model's order."""
    present = total = 0.0
    for weight, output in zip(model.weights, outputs, strict=True):
        if output >= 0.0:
            present += weight
            total += weight * output
    if present == 0.0:
        return None, 0.0
    score = min(total / present, OUTPUT_MAX)  # the quotient may pass the end of the scale by a rounding error
    if not 0.0 <= score <= OUTPUT_MAX:  # also refuses NaN; checked always, because a wrong score must never leave
        raise AssertionError(f"score out of bounds: {score}")
    return score, present / model.total_weight


def _settle(state: AccountState, model: Model) -> int:
    """Derive score, band and alert from the outputs."""
    state.score, state.coverage = score_outputs(state.outputs, model)
    state.score_seq += 1
    previous = state.band
    state.band = next_band(previous, state.score, state.coverage, model)
    if state.band == previous:
        return SCORED
    if state.score is None or state.band == "unknown":
        return SCORED
    effects = SCORED
    kind = alert_kind(previous, state.band, state.alarm)
    if kind is not None:
        state.seq += 1
        state.alarm = state.band
        state.unsent = (*state.unsent, make_alert(state, state.score, kind, previous, model))
        effects |= ALERTED
    state.baseline = make_baseline(state, model)
    return effects
