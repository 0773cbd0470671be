"""Facts about the account: field by field, the latest event time counts, of one instant the greater value."""

from __future__ import annotations

from typing import Any

from tests.oracle.wire import Wire, instant, kind_of, stated

PLAIN = ("name", "tier", "mrr_minor", "currency", "owner", "stage")
JUDGED = frozenset({"renewal_ms", "key_users", "csm_sentiment", "override"})
BANDS = ("healthy", "at_risk", "endangered")


class Facts:
    """Every fact that was told, and which of them hold."""

    def __init__(self) -> None:
        self.said: dict[str, list[tuple[int, Any]]] = {}

    def take(self, event: Wire) -> None:
        """Take what the event says about the account; a churned account is not judged anew."""
        time_ms = instant(event["time"])
        told = _facts_of(event)
        if "stage" in told:
            self.said.setdefault("stage", []).append((time_ms, told["stage"]))
        for field, value in told.items():
            if field != "stage" and not (field in JUDGED and self.get("stage") == "churned"):
                self.said.setdefault(field, []).append((time_ms, value))

    def get(self, field: str) -> Any:
        """Give the value that holds; None when nothing was said."""
        return max(self.said[field])[1] if field in self.said else None

    def since_ms(self, field: str) -> int:
        """Give the time of the fact that holds."""
        return max(self.said[field])[0]

    def is_latest(self, field: str, event: Wire) -> bool:
        """Tell whether what the event says in a field is what holds."""
        return bool(max(self.said[field]) == (instant(event["time"]), _facts_of(event)[field]))

    @property
    def override(self) -> tuple[str, int] | None:
        """The band that was last set by hand, and until when."""
        value = self.get("override")
        return None if value is None else (BANDS[value[0]], value[1])

    @property
    def csm_sentiment(self) -> float | None:
        value = self.get("csm_sentiment")
        return None if value is None else -value


def _facts_of(event: Wire) -> dict[str, Any]:
    if kind_of(event) == "subscription_changed":
        return {field: stated(event, field) for field in ("mrr_minor", "currency")}
    if kind_of(event) != "account_updated":
        return {}
    found = {field: stated(event, field) for field in PLAIN}
    if stated(event, "csm_sentiment") is not None:
        found["csm_sentiment"] = -stated(event, "csm_sentiment")  # of one instant the worse word counts
    if stated(event, "renewal") is not None:
        found["renewal_ms"] = instant(stated(event, "renewal"))
    if stated(event, "key_users") is not None:
        found["key_users"] = tuple(stated(event, "key_users"))
    if stated(event, "override_band") is not None:
        rank = BANDS.index(stated(event, "override_band"))
        found["override"] = (rank, instant(stated(event, "override_until")), stated(event, "override_reason"))
    return {field: value for field, value in found.items() if value is not None}
