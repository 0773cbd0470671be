"""The usage signals once more, as slowly and plainly as possible: keep every event, count again each time.

Shares no code with the core, not even its constants.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta


def _utc_date(time_ms: int) -> date:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=time_ms)).date()


@dataclass
class LoginOracle:
    """Every usage event accepted so far, and the latest instant known."""

    now_ms: int = 0
    login_dates: list[date] = field(default_factory=list)
    usage_dates: list[date] = field(default_factory=list)

    @property
    def today(self) -> date:
        return _utc_date(self.now_ms)

    def add(self, time_ms: int, *, is_login: bool) -> None:
        """Take one event unless it is 90 days old or older on the day it arrives."""
        self.now_ms = max(self.now_ms, time_ms)
        happened = _utc_date(time_ms)
        if (self.today - happened).days >= 90:
            return
        self.usage_dates.append(happened)
        if is_login:
            self.login_dates.append(happened)

    def _logins_between(self, oldest_age: int, newest_age: int) -> int:
        return sum(newest_age <= (self.today - day).days <= oldest_age for day in self.login_dates)

    def last_30(self) -> int:
        return self._logins_between(29, 0)

    def previous_30(self) -> int:
        return self._logins_between(59, 30)

    def trend(self) -> float | None:
        if not self.login_dates or (self.today - min(self.login_dates)).days < 59:
            return None
        if self.previous_30() == self.last_30() == 0:
            return 0.0
        return min(2.0, (self.last_30() + 5) / (self.previous_30() + 5))

    def no_login_days(self) -> float | None:
        return float((self.today - max(self.login_dates)).days) if self.login_dates else None

    def active_days_trend(self) -> float | None:
        if not self.usage_dates or (self.today - min(self.usage_dates)).days < 59:
            return None
        ages = {(self.today - day).days for day in self.usage_dates}
        recent, previous = sum(age <= 29 for age in ages), sum(30 <= age <= 59 for age in ages)
        return min(2.0, (recent + 3) / (previous + 3)) if recent or previous else 0.0

    def recency_gaps(self) -> float | None:
        if not self.usage_dates:
            return None
        latest = max(self.usage_dates)
        days = {day for day in self.usage_dates if (latest - day).days <= 89}
        if len(days) < 8:
            return None
        gap = max(1.0, (latest - min(days)).days / (len(days) - 1))
        return (self.today - latest).days / gap

    def recency(self) -> float | None:
        return float((self.today - max(self.usage_dates)).days) if self.usage_dates else None

    def active_days(self) -> float | None:
        if not self.usage_dates or (self.today - min(self.usage_dates)).days < 29:
            return None
        return float(len({day for day in self.usage_dates if (self.today - day).days <= 29}))
