"""The work that every engine does for each event: decode, check the types, change six fields, now and then an alert.

Python engines that hand out bytes and keep live objects use `decode` and `apply`; those that insist on values of their
own serialiser use `check` and `apply_to_dict`. The Java applications do the same arithmetic in the same order.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

ALERT_SCORE = 53.0
FIRST_SCORE = 50.0
FIELDS = ("offset", "events", "total", "last", "score", "features")
TYPES = frozenset(("login", "feature", "ticket"))


class Event(msgspec.Struct):
    """What is read of an event; other fields are skipped."""

    event_id: str
    account_id: str
    type: Literal["login", "feature", "ticket"]
    ts: str
    n: int
    feature: str


_decoder = msgspec.json.Decoder(Event)


def decode(value: bytes) -> Event | None:
    """Decode and check an event in one pass; None for one that is not well formed."""
    try:
        return _decoder.decode(value)
    except (msgspec.ValidationError, msgspec.DecodeError):
        return None


def check(event: Any) -> bool:
    """Check an event that the engine itself has decoded."""
    return (
        type(event) is dict
        and type(event.get("event_id")) is str
        and type(event.get("account_id")) is str
        and event.get("type") in TYPES
        and type(event.get("ts")) is str
        and type(event.get("n")) is int
        and type(event.get("feature")) is str
    )


class Account:
    """The state of one account."""

    __slots__ = ("events", "features", "last", "offset", "score", "total")

    def __init__(self) -> None:
        self.offset = -1
        self.events = 0
        self.total = 0
        self.last = ""
        self.score = FIRST_SCORE
        self.features: dict[str, int] = {}


def apply(account: Account, event: Event, offset: int) -> bool:
    """Take an event into the state unless it is there already; return whether it is cause for an alert."""
    if offset <= account.offset:
        return False
    account.offset = offset
    account.events += 1
    account.total += event.n
    account.last = event.ts
    features = account.features
    features[event.feature] = features.get(event.feature, 0) + 1
    before = account.score
    score = account.score = before * 0.99 + event.n * 0.1
    return before < ALERT_SCORE <= score


def new_dict() -> dict[str, Any]:
    """Begin a state that is a dictionary."""
    return {"offset": -1, "events": 0, "total": 0, "last": "", "score": FIRST_SCORE, "features": {}}


def apply_to_dict(account: dict[str, Any], event: dict[str, Any], offset: int) -> bool:
    """Do as `apply` does, for engines whose states and events are dictionaries."""
    if offset <= account["offset"]:
        return False
    account["offset"] = offset
    account["events"] += 1
    account["total"] += event["n"]
    account["last"] = event["ts"]
    features = account["features"]
    features[event["feature"]] = features.get(event["feature"], 0) + 1
    before = account["score"]
    score = account["score"] = before * 0.99 + event["n"] * 0.1
    return bool(before < ALERT_SCORE <= score)


def alert(key: str, score: float) -> bytes:
    """Make the value of an alert."""
    return msgspec.json.encode({"account_id": key, "score": score})


def as_dict(account: Account) -> dict[str, Any]:
    """Show a state field by field."""
    return {field: getattr(account, field) for field in FIELDS}
