"""The health model as the engine uses it: frozen values, checked by the loader, compiled for speed.

Policy only: curves, weights, thresholds. Nothing here knows an account or a file.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from service.scoring.recording import ALL_SIGNAL_PARTS
from service.scoring.signals import Signal

OUTPUT_MAX: Final = 100.0
FINGERPRINT_BYTES: Final = 8


class Curve:
    """A piecewise-linear function from a signal's value to 0..100, flat before its first and after its last point."""

    __slots__ = ("last_x", "xs", "ys")

    def __init__(self, points: Sequence[tuple[float, float]]) -> None:
        self.xs = tuple(float(x) for x, _ in points)
        self.ys = tuple(float(y) for _, y in points)
        self.last_x = self.xs[-1]

    def at(self, x: float) -> float:
        """Give the output for the value `x`, within 0..100."""
        xs, ys = self.xs, self.ys
        if x >= self.last_x:
            return ys[-1]
        right = bisect_right(xs, x)
        if right == 0:
            return ys[0]
        x0, y0 = xs[right - 1], ys[right - 1]
        y = y0 + (ys[right] - y0) * ((x - x0) / (xs[right] - x0))
        if 0.0 <= y <= OUTPUT_MAX:
            return y
        return 0.0 if y < 0.0 else OUTPUT_MAX  # rounding passed the end of the scale


@dataclass(frozen=True, slots=True)
class Factor:
    """One weighted reason of the score; `sentence` is a template over {value} and the signal's own words."""

    name: str
    label: str
    signal: Signal
    weight: float
    curve: Curve
    sentence: str


@dataclass(frozen=True, slots=True)
class Thresholds:
    """A band is entered below `enter` and left at or above `leave`; `enter < leave` keeps it from flapping."""

    enter: float
    leave: float


class Model:
    """A whole model; never changed after it is made. `version` names its declared version and its content."""

    __slots__ = (
        "at_risk",
        "endangered",
        "factors",
        "fingerprint",
        "min_coverage",
        "readers",
        "total_weight",
        "version",
        "weights",
    )

    def __init__(
        self,
        version: str,
        min_coverage: float,
        at_risk: Thresholds,
        endangered: Thresholds,
        factors: Sequence[Factor],
    ) -> None:
        self.version = version
        self.min_coverage = min_coverage
        self.at_risk = at_risk
        self.endangered = endangered
        self.factors = tuple(factors)
        self.weights = tuple(factor.weight for factor in self.factors)
        self.total_weight = sum(self.weights)
        self.fingerprint = blake2b(version.encode(), digest_size=FINGERPRINT_BYTES).digest()
        # For every combination of touched parts, the factors that read one of them, with their position.
        self.readers = tuple(
            tuple((i, factor) for i, factor in enumerate(self.factors) if factor.signal.parts & touched)
            for touched in range(ALL_SIGNAL_PARTS + 1)
        )
