"""Many simulated accounts as one time-ordered stream of CloudEvents lines.

The stream goes day by day, so that memory is bounded by the accounts and one day of events.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from random import Random
from typing import Any, NamedTuple

import orjson

from service.simulation.account import DAY_MS, Draft, SimulatedAccount, rfc3339
from service.simulation.behaviour import EPOCH
from service.simulation.profile import draw_profile

DEFAULT_START_DAY = (date(2025, 1, 1) - EPOCH).days
SOURCES = {
    "usage": "sim/product",
    "payment": "sim/billing",
    "ticket": "sim/helpdesk",
    "survey": "sim/survey",
    "account": "sim/crm",
}
KIND_OF_TYPE = {
    "login": "usage",
    "feature_used": "usage",
    "session": "usage",
    "invoice_paid": "payment",
    "payment_failed": "payment",
    "invoice_overdue": "payment",
    "subscription_changed": "payment",
    "purchase": "payment",
    "ticket_opened": "ticket",
    "ticket_updated": "ticket",
    "ticket_solved": "ticket",
    "survey_answered": "survey",
    "account_updated": "account",
}


class TimedLine(NamedTuple):
    """One simulated event, encoded as structured-mode CloudEvents JSON without the line's end."""

    time_ms: int
    kind: str
    account: str
    value: bytes


class Simulation:
    """The stream and the truth behind it; `lines` may be called once."""

    def __init__(self, accounts: int, days: int, seed: int, start_day: int = DEFAULT_START_DAY) -> None:
        self.days = days
        self.start_day = start_day
        self._accounts = [
            SimulatedAccount(draw_profile(seed, index, days), seed, start_day) for index in range(accounts)
        ]

    def lines(self) -> Iterator[TimedLine]:
        """Yield every event, ordered by time, then account."""
        rng = Random()  # noqa: S311 - reseeded for every account and day
        for day in range(self.days):
            drafts: list[Draft] = []
            for account in self._accounts:
                drafts += account.events_of(day, rng)
            drafts.sort()
            for draft in drafts:
                yield self._encode(draft)

    def _encode(self, draft: Draft) -> TimedLine:
        time_ms, account_index, number, short_type, data = draft
        kind = KIND_OF_TYPE[short_type]
        account = self._accounts[account_index].profile.account
        value = orjson.dumps(
            {
                "specversion": "1.0",
                "id": f"{account}-{time_ms // DAY_MS - self.start_day}-{number}",
                "source": SOURCES[kind],
                "type": f"io.vitals.{short_type}.v1",
                "subject": account,
                "time": rfc3339(time_ms),
                "data": data,
            }
        )
        return TimedLine(time_ms, kind, account, value)

    def truth(self) -> Iterator[dict[str, Any]]:
        """Yield what was meant to happen to each account: its archetype and its days of joining and dying."""
        for account in self._accounts:
            profile = account.profile
            yield {
                "account": profile.account,
                "archetype": profile.archetype,
                "tier": profile.tier,
                "mrr_minor": profile.mrr_minor,
                "first_day": self._date(max(0, profile.join_day)),
                "decline_day": self._date(profile.decline_day),
                "death_day": self._date(profile.death_day),
            }

    def _date(self, day: int | None) -> str | None:
        return None if day is None else (EPOCH + timedelta(days=self.start_day + day)).isoformat()
