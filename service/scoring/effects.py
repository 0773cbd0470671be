"""What one call of the engine did, as bits that callers combine and test; nothing else lives here."""

from __future__ import annotations

from typing import Final

SKIPPED: Final = 1  # the source offset was applied before: nothing changed at all
DUPLICATE: Final = 2  # the event id was seen within the window: only the offset and the clock moved
LATE: Final = 4  # older than the ring: counted by the caller, not scored
CHANGED: Final = 8  # the state differs from before and must be stored
SCORED: Final = 16  # the published view (score, band, coverage, factors, attributes) changed
ALERTED: Final = 32  # `state.unsent` has at least one more alert

ACTED: Final = 64  # the state holds at least one more action whose outcome is to be told
MOVED: Final = 128  # the band is another, once at least
ERASED: Final = 256  # the account is to be erased: whoever holds the state drops it

COMBINATIONS: Final = 512  # every combination of effects is below
