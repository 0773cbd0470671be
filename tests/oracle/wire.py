"""What an event says, read from its wire form; days are whole numbers since 1970, in UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY_MS = 24 * 60 * 60 * 1000

Wire = dict[str, Any]


def instant(text: str) -> int:
    """Read an RFC 3339 time, to the millisecond."""
    return (datetime.fromisoformat(text) - EPOCH) // timedelta(milliseconds=1)


def day_of(time_ms: int) -> int:
    """Give the UTC day of an instant: exactly midnight belongs to the day that begins."""
    return time_ms // DAY_MS


def kind_of(event: Wire) -> str:
    """Give the short name of an event's type: `io.vitals.login.v1` is a `login`."""
    return str(event["type"]).split(".")[2]


def stated(event: Wire, field: str) -> Any:
    """Give what the event says in a field; None when it says nothing."""
    return event["data"].get(field)
