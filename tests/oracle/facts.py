"""Facts about the account: field by field, the latest event time counts, of one instant the greater value."""

from __future__ import annotations

from typing import Any

from tests.oracle.wire import Wire, instant, kind_of, stated

PLAIN = ("name", "tier", "mrr_minor", "currency", "owner", "stage")


class Facts:
    """Every fact that was told, and which of them hold."""

    def __init__(self) -> None:
        self.said: dict[str, list[tuple[int, Any]]] = {}

    def take(self, event: Wire) -> None:
        """Take what the event says about the account."""
        time_ms = instant(event["time"])
        for field, value in _facts_of(event).items():
            self.said.setdefault(field, []).append((time_ms, value))

    def get(self, field: str) -> Any:
        """Give the value that holds; None when nothing was said."""
        return max(self.said[field])[1] if field in self.said else None

    def since_ms(self, field: str) -> int:
        """Give the time of the fact that holds."""
        return max(self.said[field])[0]


def _facts_of(event: Wire) -> dict[str, Any]:
    if kind_of(event) == "subscription_changed":
        return {field: stated(event, field) for field in ("mrr_minor", "currency")}
    if kind_of(event) != "account_updated":
        return {}
    found = {field: stated(event, field) for field in PLAIN}
    if stated(event, "renewal") is not None:
        found["renewal_ms"] = instant(stated(event, "renewal"))
    if stated(event, "key_users") is not None:
        found["key_users"] = tuple(stated(event, "key_users"))
    if stated(event, "override_band") is not None:
        until_ms = instant(stated(event, "override_until"))
        found["override"] = (stated(event, "override_band"), stated(event, "override_reason"), until_ms)
    return {field: value for field, value in found.items() if value is not None}
