"""Times on the wire: RFC 3339 text with an explicit offset; in code always integer epoch milliseconds (UTC).

Fractions finer than a millisecond are cut off. No float takes part, so nothing is rounded.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND: Final = timedelta(milliseconds=1)
# Years outside are typing errors or epoch values in the wrong unit, never facts about a customer.
MIN_TIME_MS: Final = 946_684_800_000  # 2000-01-01T00:00:00Z
MAX_TIME_MS: Final = 4_102_444_799_999  # 2099-12-31T23:59:59.999Z
RFC3339_PATTERN: Final = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,12})?"
    r"(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"
)


def parse_time_ms(text: str) -> int:
    """Read RFC 3339 text as epoch milliseconds; raises ValueError outside the years 2000 to 2099."""
    try:
        time_ms = (datetime.fromisoformat(text) - EPOCH) // MILLISECOND
    except (ValueError, TypeError, OverflowError):
        raise ValueError("expected a date that exists, with time and offset") from None
    if not MIN_TIME_MS <= time_ms <= MAX_TIME_MS:
        raise ValueError("expected a year from 2000 to 2099")
    return time_ms


def time_text(time_ms: int) -> str:
    """Write epoch milliseconds as RFC 3339 text, UTC, with milliseconds and `Z`."""
    return (EPOCH + time_ms * MILLISECOND).isoformat(timespec="milliseconds")[:-6] + "Z"
