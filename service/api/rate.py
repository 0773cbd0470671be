"""How many requests a caller may make: a bucket for each, filled again evenly, one second's worth deep."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

CALLERS_MAX: Final = 10_000  # the least recently heard is forgotten, which leaves it a full bucket


class Allowance(NamedTuple):
    """Whether a request may be made, how many more may follow at once, and when the next may when none may."""

    allowed: bool
    left: int
    wait_seconds: float


class RateLimit:
    """The buckets of all callers of this process."""

    def __init__(self, per_second: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_second = per_second
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str) -> Allowance:
        """Count one request of a caller."""
        now = self._clock()
        tokens, filled_at = self._buckets.pop(caller, (float(self.per_second), now))
        tokens = min(self.per_second, tokens + (now - filled_at) * self.per_second)
        allowed = tokens >= 1
        tokens -= allowed
        self._buckets[caller] = (tokens, now)
        if len(self._buckets) > CALLERS_MAX:
            self._buckets.popitem(last=False)
        return Allowance(allowed, int(tokens), 0.0 if tokens >= 1 else (1 - tokens) / self.per_second)
