"""What an alert says: what changed since the account's last alert, in points and in words.

Each factor is given the points that its own change moved the score by: a factor is never blamed for the weight that
another one left behind or took. The points add up to the change of the score.
"""

from __future__ import annotations

import struct
from math import fsum, isnan, nan
from typing import Final, NamedTuple
from uuid import UUID, uuid5

from service.scoring.bands import override_in_force
from service.scoring.model import FINGERPRINT_BYTES, OUTPUT_MAX, Factor, Plan, Rule
from service.scoring.parts import Part, factor_sentence, parts_of, read_values, rule_sentence
from service.scoring.records import Attributes
from service.scoring.state import AccountState
from service.scoring.views import BAND_ALERT_KINDS, Alert, Band, FactorChange

ALERT_NAMESPACE: Final = UUID("6a4c5f2e-55a7-5d3c-9a53-0e9a7c1f7b64")
_BASELINE_HEAD: Final = struct.Struct(f"<{FINGERPRINT_BYTES}sd")
_NO_DATA: Final = 255  # of a packed value; a whole number up to 253 is its own byte
_WIDE: Final = 254


def make_alert(state: AccountState, plan: Plan, kind: str, previous_band: Band, rule: Rule | None) -> Alert:
    """Make the account's next alert and raise its `seq`; `rule` is the one that alerts or that decided the band."""
    state.seq += 1
    previous_score, values_before = _unpack(state.baseline, plan)
    changes = _changes(state, previous_score, values_before, plan)
    facts = state.attributes or Attributes()
    identity = f"{state.account}\x1f{state.seq}\x1f{kind}\x1f{state.clock_ms}"
    return Alert(
        id=str(uuid5(ALERT_NAMESPACE, identity)),
        account=state.account,
        seq=state.seq,
        kind=kind,
        time_ms=state.clock_ms,
        band=state.band,
        previous_band=previous_band,
        score=0.0 if state.score is None else state.score,
        previous_score=previous_score,
        coverage=state.coverage,
        model_version=plan.model.version,
        name=facts.name,
        mrr_minor=facts.mrr_minor,
        currency=facts.currency,
        owner=facts.owner,
        factors=changes,
        sentence=_sentence(state, kind, changes, rule),
        suppressed=state.suppressed,
        rule=None if rule is None else rule.name,
    )


def _sentence(state: AccountState, kind: str, changes: tuple[FactorChange, ...], rule: Rule | None) -> str:
    """Say the rule or the override that decided, else the change that mattered most in the alert's direction."""
    override = override_in_force(state)
    if override is not None and kind in BAND_ALERT_KINDS:
        return f"Set by hand: {override.reason}"
    if rule is not None:
        return rule_sentence(rule, state)
    return changes[-1 if kind == "recovered" else 0].sentence if changes else ""


def make_baseline(state: AccountState, plan: Plan) -> bytes:
    """Pack what the next alert is compared with: fingerprint of the plan, score, and every factor's value."""
    score = nan if state.score is None else state.score
    return _BASELINE_HEAD.pack(plan.fingerprint, score) + b"".join(map(_pack_value, read_values(state, plan)))


def _pack_value(value: float | None) -> bytes:
    if value is None:
        return bytes((_NO_DATA,))
    if 0 <= value < _WIDE and value == int(value):
        return bytes((int(value),))
    return struct.pack("<Bd", _WIDE, value)


def _unpack(baseline: bytes, plan: Plan) -> tuple[float | None, list[float | None] | None]:
    if not baseline:
        return None, None
    fingerprint, score = _BASELINE_HEAD.unpack_from(baseline)
    if fingerprint != plan.fingerprint:
        return None if isnan(score) else score, None
    values: list[float | None] = []
    at = _BASELINE_HEAD.size
    for _ in plan.factors:
        tag = baseline[at]
        at += 1
        if tag == _WIDE:
            values.append(struct.unpack_from("<d", baseline, at)[0])
            at += 8
        else:
            values.append(None if tag == _NO_DATA else float(tag))
    return None if isnan(score) else score, values


class _Pair(NamedTuple):
    """One factor with data now or before."""

    factor: Factor
    now: Part | None
    before: Part | None


def _changes(
    state: AccountState, previous_score: float | None, values_before: list[float | None] | None, plan: Plan
) -> tuple[FactorChange, ...]:
    """Every factor with data now or before, the greatest loss first."""
    known = values_before is not None and previous_score is not None
    now_parts = parts_of(read_values(state, plan), plan)
    before_parts = parts_of(values_before, plan) if known and values_before is not None else [None] * len(now_parts)
    pairs = [
        _Pair(*parts)
        for parts in zip(plan.factors, now_parts, before_parts, strict=True)
        if parts[1] is not None or parts[2] is not None
    ]
    common = _common_output(pairs, previous_score)
    changes = []
    for pair in pairs:
        points = _own_points(pair, common) if known else None
        told = points if points is not None else _points_lost(pair.now)
        changes.append((told, _change(pair, points, known=known, told=told, state=state)))
    changes.sort(key=lambda entry: (entry[0], entry[1].name))
    return tuple(change for _, change in changes)


def _common_output(pairs: list[_Pair], previous_score: float | None) -> float:
    """Give the mean output before of the factors with data on both sides, the previous score when there are none."""
    both = [(pair.now.weight, pair.before.output) for pair in pairs if pair.now is not None and pair.before is not None]
    weight = fsum(weight for weight, _ in both)
    if not weight:
        return previous_score or 0.0
    return fsum(weight * output for weight, output in both) / weight


def _own_points(pair: _Pair, common: float) -> float:
    """Give what this factor's own change moved the score by."""
    _, now, before = pair
    if now is not None and before is not None:
        return now.weight * (now.output - before.output)
    if now is not None:
        return now.weight * (now.output - common)
    return before.weight * (common - before.output) if before is not None else 0.0


def _points_lost(now: Part | None) -> float:
    return 0.0 if now is None else now.contribution - now.weight * OUTPUT_MAX


def _change(pair: _Pair, points: float | None, *, known: bool, told: float, state: AccountState) -> FactorChange:
    factor, now, before = pair
    words = f"{factor.label}: no data any more" if now is None else factor_sentence(factor, now.value, state)
    amount = f"{told:+.0f}" if abs(told) >= 1 else f"{told:+.1f}"
    return FactorChange(
        name=factor.name,
        label=factor.label,
        value=now.value if now else None,
        value_before=before.value if before else None,
        output=now.output if now else None,
        output_before=before.output if before else None,
        contribution=now.contribution if now else 0.0,
        contribution_before=(before.contribution if before else 0.0) if known else None,
        points_change=points,
        sentence=f"{words}: {amount} points",
    )
