"""The short way to a usage event: what is plainly right is copied, and anything else is the decoder's to judge.

Nine in ten events of a busy product are of this kind, and checking them through their models costs more than scoring
them. This module refuses nothing and explains nothing: None means that the decoder decides. It may be stricter than
the models, never laxer and never different; a test holds both ways to the same events.
"""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

from schemas.catalogue import INPUTS
from schemas.times import RFC3339_PATTERN, parse_time_ms
from service.scoring.events import Usage, UsageAction

ID_SEPARATOR: Final = "\x1f"  # no id or source can hold it, so two different pairs never look alike
ID_MAX: Final = 256
ACTIONS: Final[dict[str, UsageAction]] = {"login": "login", "feature_used": "feature_used", "session": "session"}

_ACTION_BY_TYPE: Final = {INPUTS[short].type: action for short, action in ACTIONS.items()}
_ENVELOPE_FIELDS: Final = 7  # all attributes but datacontenttype
_LABEL_MAX: Final = 64
_ACCOUNT_MAX: Final = 64  # characters that take at most 256 bytes
_DURATION_MAX: Final = 31 * 86_400
_NUMBERS: Final = frozenset((int, float))

_RFC3339: Final = re.compile(RFC3339_PATTERN)
_SECONDS: Final = {f"{second // 60:02d}:{second % 60:02d}": second * 1_000 for second in range(3_600)}
_MILLISECONDS: Final = {f".{millisecond:03d}Z": millisecond for millisecond in range(1_000)}
_HOURS_KEPT: Final = 100_000  # eleven years
_hours: dict[str, int] = {}


def plain_usage(payload: bytes) -> Usage | None:  # noqa: PLR0911  # one flat way: a call costs as much as a check
    """Read a structured-mode usage event; None when it is another one, or needs the decoder's judgement.

    The payload may not be longer than a record may be; whether its time lies in the future is for the caller to see.
    """
    # Without escapes a string holds what it shows: no quote, no lone surrogate, no control character but DEL.
    if b"\\" in payload or b"\x7f" in payload:
        return None
    try:
        document = orjson.loads(payload)
        action = _ACTION_BY_TYPE[document["type"]]
        data, event_id, source, time = document["data"], document["id"], document["source"], document["time"]
        fields = len(document)
        # As many colons after strings as fields: none is there twice, nothing is nested deeper.
        if payload.count(b'":') != fields + len(data) or document["specversion"] != "1.0":
            return None
        if fields != _ENVELOPE_FIELDS and (
            fields != _ENVELOPE_FIELDS + 1 or document["datacontenttype"] != "application/json"
        ):
            return None
        if not (type(event_id) is type(source) is str and 0 < len(event_id) <= ID_MAX and 0 < len(source) <= ID_MAX):
            return None
        hour = time[:14]
        hour_ms = _hours.get(hour) or _hour_ms(hour)
        if hour_ms is None:
            return None
        time_ms = hour_ms + _SECONDS[time[14:19]] + _MILLISECONDS[time[19:]]
        return make_usage(document["subject"], f"{source}{ID_SEPARATOR}{event_id}", time_ms, action, data)
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None


def make_usage(  # noqa: PLR0911  # one flat way: a call costs as much as a check
    account: str, identity: str, time_ms: int, action: UsageAction, data: dict[str, Any]
) -> Usage | None:
    """Make the event of data whose strings hold no control characters; None when a field is not plainly right.

    Raises KeyError or TypeError for data of another shape.
    """
    user = data["user"]
    if not (type(user) is type(account) is str and 0 < len(user) <= ID_MAX and 0 < len(account) <= _ACCOUNT_MAX):
        return None
    fields, role = 1, None
    if "role" in data:
        fields, role = 2, data["role"]
        if role is not None and not (type(role) is str and 0 < len(role) <= _LABEL_MAX):
            return None
    if action == "login":
        return Usage(account, identity, time_ms, action, user, role) if len(data) == fields else None
    if len(data) != fields + 1:
        return None
    if action == "feature_used":
        feature = data["feature"]
        if type(feature) is str and 0 < len(feature) <= _LABEL_MAX:
            return Usage(account, identity, time_ms, action, user, role, feature)
        return None
    seconds = data["duration_seconds"]
    if type(seconds) in _NUMBERS and 0 < seconds <= _DURATION_MAX:
        return Usage(account, identity, time_ms, action, user, role, None, float(seconds))
    return None


def _hour_ms(hour: str) -> int | None:
    text = hour + "00:00Z"
    if not _RFC3339.match(text):
        return None
    try:
        hour_ms = parse_time_ms(text)
    except ValueError:
        return None
    if len(_hours) < _HOURS_KEPT:
        _hours[hour] = hour_ms
    return hour_ms
