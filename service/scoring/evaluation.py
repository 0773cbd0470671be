"""From the outputs of the factors to score, band and alerts: what every evaluation does, in this order.

The score and its coverage, the caps of rules, the computed band with its dwell, the override, then what is to be told.
"""

from __future__ import annotations

from array import array
from typing import Final

from service.scoring.acting import snooze_end_ms
from service.scoring.alerts import make_baseline
from service.scoring.bands import BAND_RANKS, capped, move_band, override_in_force, published_band, target_band
from service.scoring.effects import ALERTED, MOVED, SCORED
from service.scoring.model import CHANGE_DAYS, OUTPUT_MAX, Plan, Rule
from service.scoring.records import NEVER
from service.scoring.signal import NO_DAY
from service.scoring.state import NO_SCORE, SCORE_DAYS, AccountState, score_before
from service.scoring.telling import cool_down_ends_ms, take_as_told, tell

ABSENT: Final = -1.0  # the output of a factor without data; real outputs are 0..100


def evaluate(state: AccountState, plan: Plan, *, is_changed: bool, is_new_model: bool = False) -> int:
    """Derive score, band and alerts from the outputs; returns bits of `effects`.

    `is_changed` tells that outputs or conditions changed. A new model moves the band without a word.
    """
    before = (state.band, state.computed_band)
    since_ms = state.better_since_ms
    if is_changed:
        state.score, state.coverage = score_outputs(state.outputs, plan)
    if state.is_churned:
        state.model_changed = is_new_model
        return _published(state, is_changed=is_changed)
    if is_new_model:
        state.scores = None
        state.computed_band = "unknown"
        state.better_since_ms = NEVER
        state.baseline = b""
    truths = state.truths
    if plan.score_conditions:
        truths |= _score_truths(state, plan)
    forced = _move(state, plan, truths)
    if plan.band_conditions:
        truths |= _band_truths(state, plan)
    rules = plan.judge(truths).alerting
    effects, told = 0, state.told
    told_before = (state.told_ms, state.rules, state.suppressed)
    if is_new_model:
        take_as_told(state, rules)
    elif (rules or state.rules or state.band != state.told) and tell(state, plan, rules, before[0], forced):
        effects = ALERTED
    if state.band != "unknown" and state.score is not None and (told != state.told or not state.baseline):
        state.baseline = make_baseline(state, plan)
    if effects or since_ms != state.better_since_ms or told_before != (state.told_ms, state.rules, state.suppressed):
        state.rest = None
    if is_changed or effects or before != (state.band, state.computed_band):
        state.model_changed = is_new_model
        effects |= _published(state, is_changed=True)
    return effects | MOVED if before[0] != state.band else effects


def _published(state: AccountState, *, is_changed: bool) -> int:
    if not is_changed:
        return 0
    state.score_seq += 1
    return SCORED


def _move(state: AccountState, plan: Plan, truths: int) -> Rule | None:
    """Move computed and published band; returns the rule whose cap decided the band, if one did."""
    bands = plan.model.bands
    target = target_band(state.computed_band, state.score, state.coverage, bands)
    rule = plan.judge(truths).cap
    goal = target if rule is None else capped(target, rule.cap)
    move_band(state, goal, bands.dwell_ms)
    state.band = published_band(state)
    return rule if goal != target and state.band == goal else None


def timers_due_ms(state: AccountState, plan: Plan) -> int | None:
    """Give the earliest end, after the clock, of a dwell, an override, a snooze or a held alert's cool-down."""
    ends = [snooze_end_ms(state)]
    if state.better_since_ms != NEVER:
        ends.append(state.better_since_ms + plan.model.bands.dwell_ms)
    if state.rules:
        ends += cool_down_ends_ms(state, plan)
    if state.attributes is not None and state.attributes.override is not None:
        override = override_in_force(state)
        if override is not None:
            ends.append(override.until_ms)
    # An end that is past waits for something else: a cool-down for a band that is known.
    return min((end_ms for end_ms in ends if end_ms > state.clock_ms), default=None)


def score_outputs(outputs: array[float], plan: Plan) -> tuple[float | None, float]:
    """Add up the score and the coverage of these factor outputs: contributions summed in the model's order."""
    present = total = 0.0
    for weight, output in zip(plan.weights, outputs, strict=True):
        if output >= 0.0:
            present += weight
            total += weight * output
    if present == 0.0:
        return None, 0.0
    score = min(total / present, OUTPUT_MAX)  # the quotient may pass the end of the scale by a rounding error
    if not 0.0 <= score <= OUTPUT_MAX:  # also refuses NaN; checked always, because a wrong score must never leave
        raise AssertionError(f"score out of bounds: {score}")
    return score, present / plan.total_weight


def score_change(state: AccountState, days: int) -> float | None:
    """Compare the score with that at the end of the day `days` ago, both in hundredths; None when either is absent."""
    if state.score is None or state.scores is None:
        return None
    before = score_before(state, days)
    return None if before is None else (round(state.score * 100) - before) / 100


def next_score_day(state: AccountState, plan: Plan) -> int:
    """Give the next day on which a condition about the change of the score changes, if the score stays; or NO_DAY."""
    scores, day = state.scores, state.day
    if state.score is None:
        return NO_DAY
    now = round(state.score * 100)
    kept = now if state.coverage >= plan.model.min_coverage else NO_SCORE  # what today will leave behind
    first = NO_DAY
    for _, name, low, high in plan.score_conditions:
        days = CHANGE_DAYS.get(name, 0)
        truth = None
        # From the day on that compares with the present score, nothing changes any more.
        for base_day in range(day - days, day + 1 if days else 0):
            before = kept if base_day == day else NO_SCORE if scores is None else scores[base_day % SCORE_DAYS]
            holds = before != NO_SCORE and low <= (now - before) / 100 <= high
            if truth is not None and holds != truth:
                first = min(first, base_day + days)
                break
            truth = holds
    return first


def _score_truths(state: AccountState, plan: Plan) -> int:
    bits = 0
    for bit, name, low, high in plan.score_conditions:
        value = _score_signal(state, name)
        if value is not None and low <= value <= high:
            bits |= bit
    return bits


def _score_signal(state: AccountState, name: str) -> float | None:
    days = CHANGE_DAYS.get(name)
    if days is not None:
        return score_change(state, days)
    return None if state.score is None else round(state.score * 100) / 100


def _band_truths(state: AccountState, plan: Plan) -> int:
    level = BAND_RANKS[state.band]
    return 0 if level < 0 else sum(bit for bit, _, low, high in plan.band_conditions if low <= level <= high)


def holding_rules(state: AccountState, plan: Plan) -> tuple[str, ...]:
    """Name the rules that hold, in the model's order; none before the first thing that counts."""
    if state.first_seen_day == NEVER:
        return ()
    truths = state.truths if state.plan is plan else _read_truths(state, plan)
    return plan.judge(truths | _score_truths(state, plan) | _band_truths(state, plan)).holding


def _read_truths(state: AccountState, plan: Plan) -> int:
    truths = 0
    for reading in plan.readings:
        value = reading.read(state) if reading.conditions else None
        if value is not None:
            truths |= sum(bit for bit, low, high in reading.conditions if low <= value <= high)
    return truths
