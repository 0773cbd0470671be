"""Usage: logins, active days, users, key users and key features."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from zlib import crc32

from tests.oracle.wire import Wire, day_of, instant, kind_of, stated

USERS_MAX = 64
KEY_USERS_MAX = 8
KEY_USER_LOGINS_A_DAY = 15
EVENTS = frozenset({"login", "feature_used", "session"})


class Usage:
    """What was counted, per day."""

    def __init__(self) -> None:
        self.logins: Counter[int] = Counter()
        self.active: set[int] = set()
        self.users: dict[int, int] = {}
        self.key_users: dict[str, Counter[int]] = {}
        self.features: dict[str, int] = {}
        self.any_feature = False

    def list_key_users(self, names: Iterable[str]) -> None:
        """Put a list of key users in force: a name that is not in it loses its count."""
        listed = list(names)[:KEY_USERS_MAX]
        self.key_users = {name: self.key_users.get(name, Counter()) for name in listed}

    def count(self, event: Wire, key_features: Iterable[str]) -> None:
        """Count one usage event in its own day."""
        day, user = day_of(instant(event["time"])), stated(event, "user")
        self.active.add(day)
        self._see(crc32(user.encode()), day)
        if kind_of(event) == "login":
            self.logins[day] += 1
            if user in self.key_users:
                self.key_users[user][day] += 1
        elif kind_of(event) == "feature_used":
            self.any_feature = True
            feature = stated(event, "feature")
            if feature in key_features and day > self.features.get(feature, -1):
                # A model that names other features makes the account forget the old ones, at its next use of a new one.
                self.features = {name: last for name, last in self.features.items() if name in key_features}
                self.features[feature] = day

    def _see(self, user: int, day: int) -> None:
        self.users[user] = max(day, self.users.get(user, day))
        if len(self.users) > USERS_MAX:
            del self.users[min(self.users, key=lambda known: (self.users[known], known))]


def _between(counts: Counter[int], first: int, last: int) -> int:
    return sum(counts[day] for day in range(first, last + 1))


def _active(usage: Usage, first: int, last: int) -> int:
    return sum(day in usage.active for day in range(first, last + 1))


def _ratio(recent: float, before: float, grace: int) -> float:
    return 0.0 if recent == before == 0 else min(2.0, (recent + grace) / (before + grace))


def _login_trend(usage: Usage, today: int) -> float | None:
    if not usage.logins or today - min(usage.logins) < 59:
        return None
    return _ratio(_between(usage.logins, today - 29, today), _between(usage.logins, today - 59, today - 30), 5)


def _no_login_days(usage: Usage, today: int) -> float | None:
    return today - max(usage.logins) if usage.logins else None


def _recency_days(usage: Usage, today: int) -> float | None:
    return today - max(usage.active) if usage.active else None


def usual_gap(days: Iterable[int]) -> float:
    """Give the usual gap between these days, at least 1."""
    known = sorted(days)
    return max(1.0, (known[-1] - known[0]) / (len(known) - 1))


def _recency_gaps(usage: Usage, today: int) -> float | None:
    if not usage.active:
        return None
    latest = max(usage.active)
    days = [day for day in range(latest - 89, latest + 1) if day in usage.active]
    return (today - latest) / usual_gap(days) if len(days) >= 8 else None


def _is_known_for(usage: Usage, today: int, days: int) -> bool:
    return bool(usage.active) and today - min(usage.active) >= days


def _active_days(usage: Usage, today: int) -> float | None:
    return _active(usage, today - 29, today) if _is_known_for(usage, today, 29) else None


def _active_days_trend(usage: Usage, today: int) -> float | None:
    if not _is_known_for(usage, today, 59):
        return None
    return _ratio(_active(usage, today - 29, today), _active(usage, today - 59, today - 30), 3)


def _users_of_last(usage: Usage, today: int, days: int) -> int:
    return sum(today - day < days for day in usage.users.values())


def _active_users(usage: Usage, today: int) -> float | None:
    return _users_of_last(usage, today, 30) if _is_known_for(usage, today, 29) else None


def _active_user_share(usage: Usage, today: int) -> float | None:
    if not _is_known_for(usage, today, 59):
        return None
    known = _users_of_last(usage, today, 90)
    return _users_of_last(usage, today, 30) / known if known else 0.0


def _windows(logins: Counter[int], today: int) -> tuple[int, int]:
    capped = Counter({day: min(count, KEY_USER_LOGINS_A_DAY) for day, count in logins.items()})
    return _between(capped, today - 29, today), _between(capped, today - 59, today - 30)


def _key_user_trend(usage: Usage, today: int) -> float | None:
    trends = [
        _ratio(*_windows(logins, today), 3)
        for logins in usage.key_users.values()
        if logins and today - min(logins) >= 59
    ]
    return min(trends, default=None)


def _key_user_drop(usage: Usage, today: int) -> float | None:
    windows = [_windows(logins, today) for logins in usage.key_users.values()]
    return max((1 - recent / before for recent, before in windows if before >= 4), default=None)


SIGNALS: dict[str, Callable[[Usage, int], float | None]] = {
    "login_trend": _login_trend,
    "no_login_days": _no_login_days,
    "recency_days": _recency_days,
    "recency_gaps": _recency_gaps,
    "active_days": _active_days,
    "active_days_trend": _active_days_trend,
    "active_users": _active_users,
    "active_user_share": _active_user_share,
    "key_user_trend": _key_user_trend,
    "key_user_drop": _key_user_drop,
}


def key_features_used(usage: Usage, today: int, key_features: Iterable[str]) -> float | None:
    """Count the key features whose latest use lies in the last 30 days."""
    if not usage.any_feature or not _is_known_for(usage, today, 29):
        return None
    return sum(name in usage.features and today - usage.features[name] < 30 for name in key_features)


def key_features_unused(usage: Usage, key_features: Iterable[str]) -> float | None:
    """Count the key features that were never used."""
    return sum(name not in usage.features for name in key_features) if usage.any_feature else None
