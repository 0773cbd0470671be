"""Which event ids are known: two generations of them."""

from __future__ import annotations

from tests.oracle.wire import Wire

HOUR_MS = 3_600_000
GENERATION_MAX = 256


class RecentIds:
    """The present generation and the one before."""

    def __init__(self) -> None:
        self.began_ms = 0
        self.present: set[str] = set()
        self.before: set[str] = set()

    def is_new(self, event: Wire, clock_ms: int) -> bool:
        """Note the event's source and id; False when they are known."""
        key = f"{event['source']}\x1f{event['id']}"
        if key in self.present or key in self.before:
            return False
        age_ms = clock_ms - self.began_ms
        if self.present and (age_ms >= HOUR_MS or len(self.present) >= GENERATION_MAX):
            self.before = set() if age_ms >= 2 * HOUR_MS else self.present
            self.present = set()
        if not self.present:
            self.began_ms = clock_ms
        self.present.add(key)
        return True
