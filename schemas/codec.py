"""Encoding to CloudEvents in structured mode, and reading outputs back; inputs are read by `service.ingest`.

An output is validated before it is written, because a JSON encoder writes NaN as null without a word.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any, get_args

import orjson

from schemas.catalogue import INPUTS, OUTPUTS
from schemas.envelope import OutputEvent
from schemas.fields import ACCOUNT_MAX, SENTENCE_MAX
from schemas.outputs import ActionTakenData, AlertData, Band, ErasureCompletedData, RuleAlertData, ScoreData
from schemas.times import time_text

_RULE_ALERT_TYPE = OUTPUTS["rule_alert"].type.encode()  # a cheap look before the whole is read

_BANDS = frozenset(get_args(Band))


def encode_input(
    short: str, data: Mapping[str, Any], *, event_id: str, source: str, account: str, time_ms: int
) -> bytes:
    """Write an input event of the current version; `data` is JSON-ready and is checked by whoever reads the event.

    Raises ValueError for a float that is not finite, KeyError for a short name that no message has.
    """
    if any(isinstance(value, float) and not isfinite(value) for value in data.values()):
        raise ValueError(f"{short}: data holds a number that is not finite")
    return orjson.dumps(
        {
            "specversion": "1.0",
            "id": event_id,
            "source": source,
            "type": INPUTS[short].type,
            "subject": account,
            "time": time_text(time_ms),
            "datacontenttype": "application/json",
            "data": data,
        }
    )


def encode_score(view: Any, *, source: str) -> bytes:
    """Write a score event from a view that has the fields of `ScoreData`; raises ValidationError when one is off.

    A view whose numbers are plainly right is written as it is, in a fifth of the time that its model takes: its texts
    are those of checked inputs and of the health model. A test holds both ways to one message.
    """
    if is_plainly_right(view):
        return _write("score", f"{view.account}:{view.score_seq}", source, _fields(view))
    data = ScoreData.model_validate(view, from_attributes=True)
    return _encode_output("score", f"{data.account}:{data.seq}", source, data)


def is_plainly_right(view: Any) -> bool:
    """Tell whether every number of the view is finite and in its range, and what the core itself named is sound."""
    score, coverage = view.score, view.coverage
    total = (view.trend_7 or 0.0) + (view.trend_30 or 0.0)
    for factor in view.factors:
        total += factor.value + factor.output + factor.weight + factor.contribution + factor.points_lost
        if not 0 < len(factor.sentence) <= SENTENCE_MAX:
            return False
    return (
        total - total == 0.0  # one number that is not finite makes the sum one, and such a difference is not 0
        and 0.0 <= coverage <= 1.0
        and (score is None or 0.0 <= score <= 100.0)
        and view.band in _BANDS
        and view.computed_band in _BANDS
        and 0 < len(view.account) <= ACCOUNT_MAX
        and bool(view.model_version)
    )


def _fields(view: Any) -> dict[str, Any]:
    return {
        "account": view.account,
        "seq": view.score_seq,
        "as_of": time_text(view.time_ms),
        "score": view.score,
        "band": view.band,
        "coverage": view.coverage,
        "model_version": view.model_version,
        "factors": view.factors,
        "name": view.name,
        "tier": view.tier,
        "mrr_minor": view.mrr_minor,
        "currency": view.currency,
        "owner": view.owner,
        "stage": view.stage,
        "profile": view.profile,
        "computed_band": view.computed_band,
        "override_reason": view.override_reason,
        "override_until": None if view.override_until_ms is None else time_text(view.override_until_ms),
        "rules": view.rules,
        "trend_7": view.trend_7,
        "trend_30": view.trend_30,
        "model_changed": view.model_changed,
        "returned_at": None if view.returned_ms is None else time_text(view.returned_ms),
        "snoozed_until": None if view.snoozed_until_ms is None else time_text(view.snoozed_until_ms),
        "csm_sentiment": view.csm_sentiment,
        "csm_sentiment_at": None if view.csm_sentiment_ms is None else time_text(view.csm_sentiment_ms),
    }


def encode_alert(alert: object, *, source: str) -> bytes:
    """Write an alert event from an object that has the fields of `AlertData`; the alert's id is the event's.

    Raises ValidationError when a field is off.
    """
    data = AlertData.model_validate(alert, from_attributes=True)
    return _encode_output("alert", data.id, source, data)


def encode_rule_alert(alert: object, *, source: str) -> bytes:
    """Write a rule's alert event, whose kind is the rule's name, like `encode_alert`."""
    data = RuleAlertData.model_validate(alert, from_attributes=True)
    return _encode_output("rule_alert", data.id, source, data)


def encode_action_taken(taken: object, *, source: str) -> bytes:
    """Write what became of an action from an object that has the fields of `ActionTakenData`.

    Raises ValidationError when a field is off.
    """
    data = ActionTakenData.model_validate(taken, from_attributes=True)
    return _encode_output("action_taken", f"{data.account}:action:{data.seq}", source, data)


def encode_erasure_completed(data: ErasureCompletedData, *, source: str) -> bytes:
    """Write that an account is erased; its subject is the digest too."""
    digest = data.account_sha256
    return _write(
        "erasure_completed", f"{digest}:erasure:{data.seq}", source, data.model_dump(by_alias=True), subject=digest
    )


def _encode_output(short: str, event_id: str, source: str, data: ScoreData | AlertData | ActionTakenData) -> bytes:
    return _write(short, event_id, source, data.model_dump(by_alias=True))


def _write(short: str, event_id: str, source: str, data: dict[str, Any], *, subject: str | None = None) -> bytes:
    return orjson.dumps(
        {
            "specversion": "1.0",
            "id": event_id,
            "source": source,
            "type": OUTPUTS[short].type,
            "subject": subject or data["account"],
            "time": data["as_of"],
            "datacontenttype": "application/json",
            "data": data,
        }
    )


def read_score(value: bytes) -> OutputEvent[ScoreData]:
    """Read a score event; fields of a newer version are ignored. Raises ValidationError."""
    return OutputEvent[ScoreData].model_validate_json(value, extra="ignore")


def read_alert(value: bytes) -> OutputEvent[AlertData] | OutputEvent[RuleAlertData]:
    """Read an alert event of a band or a rule; fields of a newer version are ignored. Raises ValidationError."""
    if _RULE_ALERT_TYPE in value:
        event = OutputEvent[RuleAlertData].model_validate_json(value, extra="ignore")
        if event.type == OUTPUTS["rule_alert"].type:
            return event
    return OutputEvent[AlertData].model_validate_json(value, extra="ignore")


def read_action_taken(value: bytes) -> OutputEvent[ActionTakenData]:
    """Read what became of an action; fields of a newer version are ignored. Raises ValidationError."""
    return OutputEvent[ActionTakenData].model_validate_json(value, extra="ignore")


def read_erasure_completed(value: bytes) -> OutputEvent[ErasureCompletedData]:
    """Read that an account is erased; fields of a newer version are ignored. Raises ValidationError."""
    return OutputEvent[ErasureCompletedData].model_validate_json(value, extra="ignore")
