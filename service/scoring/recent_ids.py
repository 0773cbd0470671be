"""The window in which a repeated event id is recognised as the same event sent twice.

Two generations of concatenated 8-byte hashes. A generation closes after an hour of the account's clock or at
256 ids, so an id seen within the last hour is known, as long as fewer than 257 others came since.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from service.scoring.state import HOUR_MS, AccountState

HASH_BYTES: Final = 8  # 512 ids per account: a chance of about 3e-17 per event to take a new id for a known one
GENERATION_IDS: Final = 256  # bounds the state at 4 KiB for the busiest account
_FULL_BYTES: Final = GENERATION_IDS * HASH_BYTES


def remember(state: AccountState, event_id: str) -> bool:
    """Note the id at the account's clock; False when it is known already."""
    mark = blake2b(event_id.encode(), digest_size=HASH_BYTES).digest()
    recent = state.recent_new
    if _holds(recent, mark) or _holds(state.recent_old, mark):
        return False
    if not recent:
        state.recent_began_ms = state.clock_ms
        state.recent_new = mark
        return True
    age_ms = state.clock_ms - state.recent_began_ms
    if age_ms >= HOUR_MS or len(recent) >= _FULL_BYTES:
        # Ids join a generation within its first hour: two hours after its start all of them are out of the window.
        state.recent_old = b"" if age_ms >= 2 * HOUR_MS else recent
        state.recent_new = mark
        state.recent_began_ms = state.clock_ms
    else:
        state.recent_new = recent + mark
    return True


def _holds(marks: bytes, mark: bytes) -> bool:
    """Tell whether one of `marks` is `mark`; the same bytes across the border of two marks are not.

    `mark in marks` would first fail to take the mark for a number, which costs more than the search.
    """
    at = marks.find(mark)
    while at > 0 and at % HASH_BYTES:
        at = marks.find(mark, at + 1)
    return at >= 0
