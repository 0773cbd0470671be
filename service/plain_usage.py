"""The short way from a row to a usage event: what is plainly right is copied, and anything else is the decoder's.

This module refuses nothing and explains nothing: None means that the decoder decides. It may be stricter than the
models, never laxer and never different; a test holds both ways to the same events.
"""

from __future__ import annotations

from typing import Any, Final

from service.scoring.events import Usage, UsageAction

ID_MAX: Final = 256
ACTIONS: Final[dict[str, UsageAction]] = {"login": "login", "feature_used": "feature_used", "session": "session"}

_LABEL_MAX: Final = 64
_ACCOUNT_MAX: Final = 64  # characters that take at most 256 bytes
_DURATION_MAX: Final = 31 * 86_400
_NUMBERS: Final = frozenset((int, float))


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
