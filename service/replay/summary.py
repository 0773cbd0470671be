"""What a replay counted; sums of parts that share no account are the sums of the whole.

Counts are kept whole, and rates are derived when they are shown, so that any split gives the same figures.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Any, Final

from schemas.times import time_text
from service.band_history import flap_rate
from service.scoring.state import DAY_MS

MONTH_MS: Final = 30 * DAY_MS
RATE_DIGITS: Final = 6


@dataclass(slots=True)
class ReplaySummary:
    """What a replay did; the same input gives the same summary.

    `actions` counts those applied, those that erased, and the others by why they were refused; `erased` are events that
    came too late for an account that is erased. `account_ms` adds up the time from each
    account's first event to the end. `coverage` counts accounts by tenths, rounded down. `out_of_order` are events that
    came later than the accepted lateness, or than any without one.
    """

    model_version: str
    until_ms: int | None = None
    events: int = 0
    accounts: int = 0
    bands: Counter[str] = field(default_factory=Counter)
    alerts: Counter[str] = field(default_factory=Counter)
    actions: Counter[str] = field(default_factory=Counter)
    account_ms: int = 0
    band_entries: int = 0
    band_reentries: int = 0
    coverage: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    late: int = 0
    erased: int = 0
    out_of_order: int = 0
    duplicates: int = 0
    after_until: int = 0

    @property
    def alerts_per_account_month(self) -> float:
        """Alerts of all kinds per account and 30 days; 0 when no time passed."""
        return self.alerts.total() * MONTH_MS / self.account_ms if self.account_ms else 0.0

    @property
    def flap_rate(self) -> float:
        """Return the share of band changes that only came back within seven days."""
        return flap_rate(self.band_entries, self.band_reentries)

    def add(self, part: ReplaySummary) -> None:
        """Add what another part of the accounts gave, to the same end."""
        for item in fields(self):
            mine, other = getattr(self, item.name), getattr(part, item.name)
            if isinstance(mine, Counter):
                mine.update(other)
            elif item.name not in {"model_version", "until_ms"}:
                setattr(self, item.name, mine + other)

    def as_json(self) -> dict[str, Any]:
        """Return the summary ready for JSON, with the end as a time of the wire."""
        return {
            "until": None if self.until_ms is None else time_text(self.until_ms),
            "model_version": self.model_version,
            "events": self.events,
            "accounts": self.accounts,
            "bands": _sorted(self.bands),
            "alerts": _sorted(self.alerts),
            "actions": _sorted(self.actions),
            "alerts_per_account_month": round(self.alerts_per_account_month, RATE_DIGITS),
            "band_entries": self.band_entries,
            "flap_rate": round(self.flap_rate, RATE_DIGITS),
            "coverage": _sorted(self.coverage),
            "refused": _sorted(self.refused),
            "late": self.late,
            "erased": self.erased,
            "out_of_order": self.out_of_order,
            "duplicates": self.duplicates,
            "after_until": self.after_until,
        }


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items()))
