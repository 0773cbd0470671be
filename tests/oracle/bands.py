"""The computed band: thresholds with hysteresis, caps, and the dwell before a better band."""

from __future__ import annotations

from dataclasses import dataclass

from tests.oracle.model import Document
from tests.oracle.wire import DAY_MS

LEVELS = {"healthy": 0, "at_risk": 1, "endangered": 2}


def milliseconds(days: float) -> int:
    """Give a duration of the model file in milliseconds."""
    return round(days * DAY_MS)


def worse_of(*bands: str) -> str:
    """Give the worst of these bands."""
    return max(bands, key=lambda band: LEVELS[band])


def target_of(model: Document, computed: str, score: float) -> str:
    """Give the band that the score alone asks for."""
    bands = model["bands"]
    endangered = bands["endangered"]["leave" if computed == "endangered" else "enter"]
    at_risk = bands["at_risk"]["leave" if computed in {"at_risk", "endangered"} else "enter"]
    return "endangered" if score < endangered else "at_risk" if score < at_risk else "healthy"


@dataclass
class Band:
    """The computed band, and since when which better one would be right."""

    computed: str = "unknown"
    better_since_ms: int | None = None
    worst_seen: str = "healthy"

    def forget(self) -> None:
        """Become unknown."""
        self.computed, self.better_since_ms = "unknown", None

    def move(self, model: Document, target: str, now_ms: int) -> None:
        """Follow a target at an evaluation."""
        if self.computed == "unknown" or LEVELS[target] >= LEVELS[self.computed]:
            self.computed, self.better_since_ms = target, None
            return
        if self.better_since_ms is None:
            self.better_since_ms, self.worst_seen = now_ms, target
        self.worst_seen = worse_of(self.worst_seen, target)
        if now_ms >= self.ends_ms(model):
            self.computed = self.worst_seen
            is_better_still = LEVELS[target] < LEVELS[self.computed]
            self.better_since_ms, self.worst_seen = (now_ms if is_better_still else None), target

    def ends_ms(self, model: Document) -> int:
        """Give the end of the dwell that runs."""
        assert self.better_since_ms is not None
        return self.better_since_ms + milliseconds(model["bands"]["dwell_days"])
