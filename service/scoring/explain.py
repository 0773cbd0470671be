"""Why a score is what it is, and what changed since the account's last change of band, in points and in words.

Reads the state, never changes it. `weight` here is the share a factor has among those with data, so that
`contribution = weight * output`, the contributions add up to the score, and `points_lost` to the rest of the 100.
"""

from __future__ import annotations

import struct
from math import isnan, nan
from typing import NamedTuple
from uuid import UUID, uuid5

from service.scoring.model import FINGERPRINT_BYTES, OUTPUT_MAX, Factor, Model
from service.scoring.records import Attributes
from service.scoring.state import AccountState
from service.scoring.views import Alert, AlertKind, Band, FactorChange, FactorView, ScoreView

__all__ = ["Alert", "FactorChange", "FactorView", "ScoreView", "make_alert", "make_baseline", "score_view"]

ALERT_NAMESPACE = UUID("6a4c5f2e-55a7-5d3c-9a53-0e9a7c1f7b64")
_BASELINE_HEAD = struct.Struct(f"<{FINGERPRINT_BYTES}sd")


class _Part(NamedTuple):
    """A factor's share of a score; absent factors have no part."""

    value: float
    output: float
    weight: float
    contribution: float


def score_view(state: AccountState, model: Model) -> ScoreView:
    """Show the account's score at its clock with every factor that has data, most points lost first."""
    values = _values(state, model)
    parts = _parts(values, model)
    views = [
        FactorView(
            factor.name,
            factor.label,
            *part,
            points_lost=part.weight * OUTPUT_MAX - part.contribution,
            sentence=_sentence(factor, part.value, state),
        )
        for factor, part in zip(model.factors, parts, strict=True)
        if part is not None
    ]
    views.sort(key=lambda view: (-view.points_lost, view.name))
    facts = state.attributes or Attributes()
    return ScoreView(
        account=state.account,
        time_ms=state.clock_ms,
        score=state.score,
        band=state.band,
        coverage=state.coverage,
        model_version=model.version,
        factors=tuple(views),
        name=facts.name,
        tier=facts.tier,
        mrr_minor=facts.mrr_minor,
        currency=facts.currency,
        owner=facts.owner,
        stage=facts.stage,
        score_seq=state.score_seq,
    )


def make_alert(state: AccountState, score: float, kind: AlertKind, previous_band: Band, model: Model) -> Alert:
    """Make the alert for the band that `state` has just come to; its `seq` must be raised already."""
    previous_score, values_before = _read_baseline(state.baseline, model)
    changes = _changes(state, values_before, model)
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
        score=score,
        previous_score=previous_score,
        coverage=state.coverage,
        model_version=model.version,
        name=facts.name,
        mrr_minor=facts.mrr_minor,
        currency=facts.currency,
        owner=facts.owner,
        factors=changes,
        sentence=_alert_sentence(kind, changes),
    )


def make_baseline(state: AccountState, model: Model) -> bytes:
    """Pack what the next alert is compared with: model fingerprint, score, and every factor's value (NaN = no data)."""
    values = [nan if value is None else value for value in _values(state, model)]
    score = nan if state.score is None else state.score
    return _BASELINE_HEAD.pack(model.fingerprint, score) + struct.pack(f"<{len(values)}d", *values)


def _read_baseline(baseline: bytes, model: Model) -> tuple[float | None, list[float | None] | None]:
    if not baseline:
        return None, None
    fingerprint, score = _BASELINE_HEAD.unpack_from(baseline)
    previous_score = None if isnan(score) else score
    if fingerprint != model.fingerprint:
        return previous_score, None
    values = struct.unpack_from(f"<{len(model.factors)}d", baseline, _BASELINE_HEAD.size)
    return previous_score, [None if isnan(value) else value for value in values]


def _values(state: AccountState, model: Model) -> list[float | None]:
    return [factor.signal.read(state) for factor in model.factors]


def _parts(values: list[float | None], model: Model) -> list[_Part | None]:
    present = sum(factor.weight for factor, value in zip(model.factors, values, strict=True) if value is not None)
    return [
        None if value is None else _part(factor, value, present)
        for factor, value in zip(model.factors, values, strict=True)
    ]


def _part(factor: Factor, value: float, present_weight: float) -> _Part:
    output = factor.curve.at(value)
    contribution = factor.weight * output / present_weight
    return _Part(value, output, factor.weight / present_weight, contribution)


def _changes(state: AccountState, values_before: list[float | None] | None, model: Model) -> tuple[FactorChange, ...]:
    """Every factor with data now or before, the greatest loss first."""
    nothing: list[_Part | None] = [None] * len(model.factors)
    now_parts = _parts(_values(state, model), model)
    before_parts = nothing if values_before is None else _parts(values_before, model)
    changes: list[tuple[float, FactorChange]] = []
    for factor, now, before in zip(model.factors, now_parts, before_parts, strict=True):
        if now is None and before is None:
            continue
        contribution = now.contribution if now else 0.0
        contribution_before = before.contribution if before else 0.0
        known = values_before is not None
        points = contribution - contribution_before if known else None
        lost = points if points is not None else contribution - (now.weight * OUTPUT_MAX if now else 0.0)
        change = FactorChange(
            name=factor.name,
            label=factor.label,
            value=now.value if now else None,
            value_before=before.value if before else None,
            output=now.output if now else None,
            output_before=before.output if before else None,
            contribution=contribution,
            contribution_before=contribution_before if known else None,
            points_change=points,
            sentence=_change_sentence(factor, now, lost, state),
        )
        changes.append((lost, change))
    changes.sort(key=lambda pair: (pair[0], pair[1].name))
    return tuple(change for _, change in changes)


def _sentence(factor: Factor, value: float, state: AccountState) -> str:
    return factor.sentence.format_map({**factor.signal.words(state), "value": f"{round(value, 2):g}"})


def _change_sentence(factor: Factor, now: _Part | None, points: float, state: AccountState) -> str:
    words = f"{factor.label}: no data any more" if now is None else _sentence(factor, now.value, state)
    amount = f"{points:+.0f}" if abs(points) >= 1 else f"{points:+.1f}"
    return f"{words}: {amount} points"


def _alert_sentence(kind: AlertKind, changes: tuple[FactorChange, ...]) -> str:
    """Take the change that mattered most in the direction of the alert."""
    return changes[-1 if kind == "recovered" else 0].sentence if changes else ""
