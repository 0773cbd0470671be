"""Encoding to CloudEvents in structured mode, and reading outputs back; inputs are read by `service.ingest`.

An output is validated before it is written, because a JSON encoder writes NaN as null without a word.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

import orjson

from schemas.catalogue import INPUTS, OUTPUTS
from schemas.envelope import OutputEvent
from schemas.outputs import AlertData, RuleAlertData, ScoreData
from schemas.times import time_text

_RULE_ALERT_TYPE = OUTPUTS["rule_alert"].type.encode()  # a cheap look before the whole is read


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


def encode_score(view: object, *, source: str) -> bytes:
    """Write a score event from a view that has the fields of `ScoreData`; raises ValidationError when one is off."""
    data = ScoreData.model_validate(view, from_attributes=True)
    return _encode_output("score", f"{data.account}:{data.seq}", source, data)


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


def _encode_output(short: str, event_id: str, source: str, data: ScoreData | AlertData) -> bytes:
    return orjson.dumps(
        {
            "specversion": "1.0",
            "id": event_id,
            "source": source,
            "type": OUTPUTS[short].type,
            "subject": data.account,
            "time": time_text(data.as_of_ms),
            "datacontenttype": "application/json",
            "data": data.model_dump(by_alias=True),
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
