"""Where the parts of pictures lie; templates draw them. A picture is never the only place where something is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

BAND_ORDER: Final = ("endangered", "at_risk", "unknown", "healthy")


class Bar(NamedTuple):
    """A factor as a bar: as long as its weight, in per cent of the longest: what it gives and what it costs."""

    given: float
    lost: float


def factor_bars(factors: Sequence[Mapping[str, Any]]) -> list[Bar]:
    """Draw every factor on one scale."""
    longest = max((factor["weight"] for factor in factors), default=0.0)
    bars = []
    for factor in factors:
        whole = 100 * factor["weight"] / longest if longest else 0.0
        given = whole * min(100.0, max(0.0, factor["output"])) / 100
        bars.append(Bar(round(given, 2), round(whole - given, 2)))
    return bars


class Slice(NamedTuple):
    """The part of one band in a column of accounts, from the top; both in per cent."""

    band: str
    top: float
    height: float


def band_column(accounts_by_band: Mapping[str, int]) -> list[Slice]:
    """Stack the bands of one day, worst on top."""
    total = sum(accounts_by_band.values())
    slices, top = [], 0.0
    for band in BAND_ORDER:
        height = 100 * accounts_by_band.get(band, 0) / total if total else 0.0
        if height:
            slices.append(Slice(band, round(top, 2), round(height, 2)))
        top += height
    return slices
