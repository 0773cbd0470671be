"""How often accounts change their band, and how often they only come back: the measure of flapping.

An entry is a change from one known band to another; `unknown` in between does not count. It is a re-entry when the
account had left that very band at most seven days before. Values only; who notes them owns the clock.
"""

from __future__ import annotations

from typing import Final

from service.scoring.state import DAY_MS
from service.scoring.views import Band

FLAP_DAYS: Final = 7


class BandHistory:
    """The bands of one account as time passes; `entries` and `reentries` are counted from the second band on."""

    __slots__ = ("_left_ms", "band", "entries", "reentries")

    def __init__(self) -> None:
        self.band: Band = "unknown"  # the last known one
        self.entries = 0
        self.reentries = 0
        self._left_ms: dict[Band, int] = {}

    def note(self, band: Band, time_ms: int) -> None:
        """Take the band as of an instant; instants may not go back."""
        if band in {self.band, "unknown"}:
            return
        if self.band != "unknown":
            self.entries += 1
            self._left_ms[self.band] = time_ms
            left_ms = self._left_ms.get(band)
            if left_ms is not None and time_ms - left_ms <= FLAP_DAYS * DAY_MS:
                self.reentries += 1
        self.band = band


def flap_rate(entries: int, reentries: int) -> float:
    """Return the share of entries that only came back, 0 without any."""
    return reentries / entries if entries else 0.0
