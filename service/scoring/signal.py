"""What a signal is, and the small arithmetic that signals share.

Each signal is a pure function of the state at its own day (UTC); none reads a clock. None means that there is nothing
to judge yet, so the factor is left out and the other weights share its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import floor
from typing import Final, TypeAlias

from service.scoring.state import AccountState

Read: TypeAlias = Callable[[AccountState], float | None]
NextDay: TypeAlias = Callable[[AccountState, float, float], int]
Words: TypeAlias = Mapping[str, str]

NO_DAY: Final = 2**31 - 1
TREND_MAX: Final = 2.0  # at least doubled
_MARGIN: Final = 1e-6  # a day computed from a rounded product may be early, never late


@dataclass(frozen=True, slots=True)
class Signal:
    """One entry of the registry.

    `parts` are the PART_* bits whose change can change it. `next_day(state, low, high)` is the next day on which time
    alone can change it, NO_DAY for never; below `low` and above `high` a change does not count. `words` are what a
    sentence may name besides its value. `step` is how far before a threshold `next_day` must begin to look.
    """

    name: str
    read: Read
    parts: int
    next_day: NextDay
    words: Callable[[AccountState], Words]
    word_names: frozenset[str]
    step: float


def signal(
    read: Read, parts: int, next_day: NextDay, words: Callable[[AccountState], Words], step: float = 1.0
) -> Signal:
    """Make the entry of a signal, named like the function that reads it."""
    return Signal(read.__name__, read, parts, next_day, words, frozenset(words(AccountState(""))), step)


def ratio(recent: float, previous: float, smoothing: float) -> float:
    """Compare two counts, at most 2; both zero is silence, which is 0."""
    if not recent and not previous:
        return 0.0
    return min((recent + smoothing) / (previous + smoothing), TREND_MAX)


def growing_next(zero_day: int, today: int, low: float, high: float, unit_days: float = 1.0) -> int:
    """Give the next day on which the time since `zero_day`, in units, is greater than `low`, if not past `high`."""
    if (today - zero_day) / unit_days >= high:
        return NO_DAY
    first = zero_day + floor(max(low, -1.0) * unit_days - _MARGIN) + 1 if low < NO_DAY else NO_DAY
    return max(today + 1, first)


def earlier(day: int | None, other: int | None) -> int | None:
    """Give the earlier of two days that may be missing."""
    if day is None or other is None:
        return other if day is None else day
    return min(day, other)


def count_of(number: int, noun: str) -> str:
    """Say a number of things."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def never_next(_state: AccountState, _low: float, _high: float) -> int:
    """For signals that time alone does not change."""
    return NO_DAY


def no_words(_state: AccountState) -> Words:
    """For signals that have nothing to say but their value."""
    return {}


def leaving(state: AccountState, days: Iterable[int], window_days: int) -> int:
    """Give the day on which the first of these days leaves the window that it is in."""
    return min((day + window_days for day in days if day + window_days > state.day), default=NO_DAY)
