"""What people did about an account: which actions count, and what became of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.oracle.wire import Wire, instant, kind_of, stated

ACTIONS = {
    "acknowledge_alert": "acknowledge",
    "snooze_alerts": "snooze",
    "resolve_alert": "resolve",
    "override_band": "override",
    "set_sentiment": "sentiment",
    "add_note": "note",
}
STATES = {"acknowledge_alert": "acknowledged", "snooze_alerts": "snoozed", "resolve_alert": "resolved"}
KNOWN_MAX = 32
ALERTS_MAX = 32


def as_account_update(event: Wire) -> Wire:
    """Write the event about the account that would say the same as an override or a sentiment."""
    said = {"csm_sentiment": stated(event, "sentiment")}
    if kind_of(event) == "override_band":
        said = {f"override_{field}": stated(event, field) for field in ("band", "reason", "until")}
    return {**event, "type": "io.vitals.account_updated.v1", "data": said}


@dataclass(frozen=True)
class Outcome:
    """What became of one action."""

    seq: int
    action_id: str
    action: str
    actor: str
    acted_ms: int
    as_of_ms: int
    refusal: str | None
    alert_state: str | None
    said: dict[str, Any]


class Actions:
    """Every action that counted, in order."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.snoozed_ms = -1
        self.snoozed_until_ms = -1
        self.alert_states: dict[int, str] = {}
        self._ids: list[tuple[str, str]] = []

    def is_known(self, event: Wire) -> bool:
        """Tell whether it is one of the last actions again."""
        return (event["source"], event["id"]) in self._ids[-KNOWN_MAX:]

    def refusal(self, event: Wire, alerts: int, *, is_churned: bool) -> str | None:
        """Name what is wrong with an action of an account that had so many alerts."""
        wanted = stated(event, "alert_seq")
        if wanted is not None and wanted > alerts:
            return "unknown_alert"
        if wanted is not None and wanted <= alerts - ALERTS_MAX:
            return "old_alert"
        if wanted is not None and self.alert_states.get(wanted) == "resolved":
            return "resolved_alert"
        if is_churned and kind_of(event) in {"snooze_alerts", "override_band", "set_sentiment"}:
            return "churned"
        return None

    def snooze(self, event: Wire) -> bool:
        """Snooze, unless a snooze of a later time is known."""
        said = instant(event["time"]), instant(stated(event, "until"))
        is_latest = said >= (self.snoozed_ms, self.snoozed_until_ms)
        if is_latest:
            self.snoozed_ms, self.snoozed_until_ms = said
        return is_latest

    def note(self, event: Wire, refusal: str | None, clock_ms: int, alerts: int) -> None:
        """Write down what became of an action."""
        wanted, kind = stated(event, "alert_seq"), kind_of(event)
        alert_state = None
        if wanted is not None and refusal is None:
            alert_state = self.alert_states[wanted] = STATES[kind]
            self.alert_states = {seq: mark for seq, mark in self.alert_states.items() if seq > alerts - ALERTS_MAX}
        self._ids.append((event["source"], event["id"]))
        said = {field: value for field, value in event["data"].items() if field != "actor" and value is not None}
        self.outcomes.append(
            Outcome(
                len(self._ids),
                event["id"],
                ACTIONS[kind],
                stated(event, "actor"),
                instant(event["time"]),
                clock_ms,
                refusal,
                alert_state,
                said,
            )
        )
