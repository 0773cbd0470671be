"""Many simulated accounts as one time-ordered stream of CloudEvents lines.

The stream goes day by day, so that memory is bounded by the accounts and one day of events.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from random import Random
from typing import Any, NamedTuple

from schemas.catalogue import INPUTS, InputKind
from schemas.codec import encode_input
from service.simulation.account import DAY_MS, Draft, SimulatedAccount
from service.simulation.behaviour import EPOCH
from service.simulation.profile import Profile, draw_profile

DEFAULT_START_DAY = (date(2025, 1, 1) - EPOCH).days
SOURCES: dict[InputKind, str] = {
    "usage": "sim/product",
    "payment": "sim/billing",
    "ticket": "sim/helpdesk",
    "survey": "sim/survey",
    "account": "sim/crm",
}


class TimedLine(NamedTuple):
    """One simulated event, encoded as structured-mode CloudEvents JSON without the line's end."""

    time_ms: int
    kind: InputKind
    account: str
    value: bytes


class Simulation:
    """The stream and the truth behind it; `lines` may be called once.

    Accounts do not know of each other, so a part of them, from number `first` on, does the same as within the whole.
    """

    def __init__(
        self, accounts: int, days: int, seed: int, start_day: int = DEFAULT_START_DAY, *, first: int = 0
    ) -> None:
        self.days = days
        self.start_day = start_day
        self._first = first
        self._accounts = [
            SimulatedAccount(draw_profile(seed, index, days), seed, start_day)
            for index in range(first, first + accounts)
        ]

    @property
    def profiles(self) -> list[Profile]:
        """What stays fixed about each account, in order."""
        return [account.profile for account in self._accounts]

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
        kind = INPUTS[short_type].kind
        account = self._accounts[account_index - self._first].profile.account
        event_id = f"{account}-{time_ms // DAY_MS - self.start_day}-{number}"
        value = encode_input(
            short_type, data, event_id=event_id, source=SOURCES[kind], account=account, time_ms=time_ms
        )
        return TimedLine(time_ms, kind, account, value)

    def truth(self) -> Iterator[dict[str, Any]]:
        """Yield what was meant to happen to each account: its archetype, its days of joining, dying and leaving."""
        for profile in self.profiles:
            yield {
                "account": profile.account,
                "archetype": profile.archetype,
                "tier": profile.tier,
                "mrr_minor": profile.mrr_minor,
                "first_day": self._date(max(0, profile.join_day)),
                "decline_day": self._date(profile.decline_day),
                "death_day": self._date(profile.death_day),
                "end_day": self._date(profile.end_day),
            }

    def _date(self, day: int | None) -> str | None:
        return None if day is None else (EPOCH + timedelta(days=self.start_day + day)).isoformat()
