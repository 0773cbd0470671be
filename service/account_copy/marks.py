"""What people did about alerts: an alert is new until somebody acted on it, and again when its snooze is over.

The copy keeps of each alert what the latest action made of it, and of each account until when it is snoozed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias, cast, get_args

AlertState: TypeAlias = Literal["new", "acknowledged", "snoozed", "resolved"]

ALERT_STATES: Final[tuple[AlertState, ...]] = get_args(AlertState)
SNOOZE: Final = "snooze"  # the field beside those of the alerts


def alert_state(mark: bytes | None, snooze: bytes | None, now_ms: int) -> AlertState:
    """Read what an alert is at a time out of its mark and the snooze of its account."""
    state = cast("AlertState", _value(mark) or "new")
    return "new" if state == "snoozed" and int(_value(snooze) or 0) <= now_ms else state


def alert_states(marks: Mapping[bytes, bytes], now_ms: int) -> dict[int, AlertState]:
    """Read the states of all alerts of an account that have a mark, by `seq`."""
    snooze = marks.get(SNOOZE.encode())
    return {int(seq): alert_state(mark, snooze, now_ms) for seq, mark in marks.items() if seq.isdigit()}


def _value(noted: bytes | None) -> str:
    return "" if noted is None else noted.partition(b":")[2].decode()
