"""Counts of durations by upper bound, which one call can add to many times; nothing else lives here."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

# They straddle the objectives of deploy/prometheus: 10 seconds to a score, 30 to an alert.
LATENCY_BOUNDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
SHORT_BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Buckets:
    """How many values lay below each bound; unlike the client's own, it takes a whole batch at once."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def add(self, value: float, count: int = 1) -> None:
        """Count a value so many times; one below 0 counts as 0, as clocks of two machines may differ."""
        value = max(value, 0.0)
        self.counts[bisect_left(self.bounds, value)] += count
        self.sum += value * count

    def cumulative(self) -> list[tuple[str, float]]:
        """List every bound as it is written, with the count of values up to it."""
        rows: list[tuple[str, float]] = []
        total = 0
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            total += count
            rows.append(("+Inf" if bound == float("inf") else repr(float(bound)), float(total)))
        return rows
