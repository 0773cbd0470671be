"""Who of an account uses the product: the latest day of each user, and the logins of each key user.

Both are bounded and independent of the order of events inside their bounds; nothing is judged here. Days are UTC.
"""

from __future__ import annotations

import struct
from array import array
from typing import Final, NamedTuple
from zlib import crc32

MAX_USERS: Final = 64
MAX_KEY_USERS: Final = 8
KEY_RING_DAYS: Final = 60
MAX_DAILY_LOGINS: Final = 15  # four bits a day

_ENTRY: Final = struct.Struct("<IH")  # hash of the name, latest day
_ENTRY_BYTES: Final = _ENTRY.size
_MARK: Final = struct.Struct("<I")
_RING_MASK: Final = (1 << (4 * KEY_RING_DAYS)) - 1
_WINDOW_MASK: Final = (1 << (4 * 30)) - 1
_LOW_HALVES: Final = int.from_bytes(b"\x0f" * (KEY_RING_DAYS // 2), "little")


def note_user(users: bytes, user: str, day: int, oldest_day: int) -> bytes:
    """Note that `user` was active on `day`; returns `users` itself when that was known.

    A new user makes room by dropping those last seen before `oldest_day`, then the one seen longest ago.
    """
    mark = _MARK.pack(crc32(user.encode()))
    at = users.find(mark)
    while at > 0 and at % _ENTRY_BYTES:
        at = users.find(mark, at + 1)
    if at >= 0:
        known_day = users[at + 4] | users[at + 5] << 8
        if day <= known_day:
            return users
        return users[: at + 4] + day.to_bytes(2, "little") + users[at + _ENTRY_BYTES :]
    entries = [entry for entry in _ENTRY.iter_unpack(users) if entry[1] >= oldest_day]
    entries.append((_MARK.unpack(mark)[0], day))
    if len(entries) > MAX_USERS:
        entries.remove(min(entries, key=lambda entry: (entry[1], entry[0])))
    return b"".join(_ENTRY.pack(*entry) for entry in entries)


def user_days(users: bytes) -> array[int]:
    """Give the latest day of every user."""
    return array("H", users)[2::3]


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
