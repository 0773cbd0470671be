"""Who of an account uses the product: the latest day of each user, and the logins of each key user.

Both are bounded and independent of the order of events inside their bounds; nothing is judged here. Days are UTC.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple
from zlib import crc32

MAX_USERS: Final = 64
MAX_KEY_USERS: Final = 8
KEY_RING_DAYS: Final = 60
MAX_DAILY_LOGINS: Final = 15  # four bits a day

# An entry is the latest day and a hash of the name, big-endian, and entries are sorted: by day, as bytes sort.
_DAY_BYTES: Final = 2
_MARK_BYTES: Final = 4
ENTRY_BYTES: Final = _DAY_BYTES + _MARK_BYTES
_RING_MASK: Final = (1 << (4 * KEY_RING_DAYS)) - 1
_WINDOW_MASK: Final = (1 << (4 * 30)) - 1
_LOW_HALVES: Final = int.from_bytes(b"\x0f" * (KEY_RING_DAYS // 2), "little")


def note_user(users: bytes, user: str, day: int, oldest_day: int) -> bytes:
    """Note that `user` was active on `day`; returns `users` itself when that was known.

    A new user makes room by dropping those last seen before `oldest_day`, then the one seen longest ago.
    """
    mark = crc32(user.encode()).to_bytes(_MARK_BYTES, "big")
    at = users.find(mark)
    while at >= 0 and at % ENTRY_BYTES != _DAY_BYTES:
        at = users.find(mark, at + 1)
    if at >= 0:
        if users[at - 2] << 8 | users[at - 1] >= day:
            return users
        users = users[: at - _DAY_BYTES] + users[at + _MARK_BYTES :]
    else:
        users = users[users_before(users, oldest_day) * ENTRY_BYTES :]
    entry = day.to_bytes(_DAY_BYTES, "big") + mark
    low, high = users_before(users, day), len(users) // ENTRY_BYTES
    while low < high:  # among those of the same day, by hash
        middle = (low + high) >> 1
        if users[middle * ENTRY_BYTES : (middle + 1) * ENTRY_BYTES] < entry:
            low = middle + 1
        else:
            high = middle
    users = users[: low * ENTRY_BYTES] + entry + users[low * ENTRY_BYTES :]
    return users if len(users) <= MAX_USERS * ENTRY_BYTES else users[ENTRY_BYTES:]


def users_before(users: bytes, day: int) -> int:
    """Count the users whose latest day is before `day`: they come first."""
    low, high = 0, len(users) // ENTRY_BYTES
    if not high or users[0] << 8 | users[1] >= day:
        return 0  # so nearly always
    while low < high:
        middle = (low + high) >> 1
        at = middle * ENTRY_BYTES
        if users[at] << 8 | users[at + 1] < day:
            low = middle + 1
        else:
            high = middle
    return low


def user_day(users: bytes, index: int) -> int:
    """Give the latest day of the user at `index`."""
    return users[index * ENTRY_BYTES] << 8 | users[index * ENTRY_BYTES + 1]


def sorted_users(entries: Iterable[tuple[int, int]]) -> bytes:
    """Build the entries of users given as hash and latest day."""
    days = sorted((day, mark) for mark, day in entries)
    return b"".join(day.to_bytes(_DAY_BYTES, "big") + mark.to_bytes(_MARK_BYTES, "big") for day, mark in days)


class KeyUser(NamedTuple):
    """Logins of one key user: four bits a day, the lowest for `last_day`, over the 60 days that end with it."""

    first_day: int
    last_day: int
    ring: int

    def with_login(self, day: int) -> KeyUser:
        """Count one login, at most 15 a day."""
        first_day, last_day, ring = min(self.first_day, day), self.last_day, self.ring
        if day > last_day:
            passed = day - last_day
            ring = (ring << (4 * passed)) & _RING_MASK if passed < KEY_RING_DAYS else 0
            last_day = day
        age = last_day - day
        if age < KEY_RING_DAYS and ring >> (4 * age) & MAX_DAILY_LOGINS < MAX_DAILY_LOGINS:
            ring += 1 << (4 * age)
        return KeyUser(first_day, last_day, ring)

    def windows(self, today: int) -> tuple[int, int]:
        """Count the logins of the last 30 days and of the 30 before."""
        ring = self._ring_at(today)
        return _sum_days(ring & _WINDOW_MASK), _sum_days(ring >> (4 * 30))

    def next_change_day(self, today: int) -> int | None:
        """Give the next day on which a login leaves one of the windows."""
        ring = self._ring_at(today)
        days = [
            today + 30 - (window.bit_length() - 1) // 4 for window in (ring & _WINDOW_MASK, ring >> (4 * 30)) if window
        ]
        return min(days, default=None)

    def _ring_at(self, today: int) -> int:
        passed = today - self.last_day
        return (self.ring << (4 * passed)) & _RING_MASK if passed < KEY_RING_DAYS else 0


def _sum_days(window: int) -> int:
    halves = (window & _LOW_HALVES) + (window >> 4 & _LOW_HALVES)
    return sum(halves.to_bytes(KEY_RING_DAYS // 2, "little"))


def first_login(day: int) -> KeyUser:
    """Start the record of a key user."""
    return KeyUser(day, day, 1)
