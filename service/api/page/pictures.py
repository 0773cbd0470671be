"""Where the parts of pictures lie; templates draw them. A picture is never the only place where something is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from service.account_copy.reader import HistoryDay

SPARK_DAYS: Final = 30


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


class Spark(NamedTuple):
    """The scores of the last days as lines for SVG: a step for a day, from 0 at the bottom to 100; and the two ends."""

    lines: list[str]
    first: float
    last: float


def spark(days: Sequence[HistoryDay], until_day: int) -> Spark | None:
    """Draw the 30 days up to a day out of the days that brought a score, oldest first; None when none has one.

    A score stands until the next, so a day that brought none has that of the day before. A score that became unknown
    breaks the line.
    """
    start = until_day - SPARK_DAYS + 1
    brought = {max(day.day, start): day.score for day in days if day.day <= until_day}
    lines: list[list[str]] = []
    scores: list[float] = []
    score, is_broken = None, True
    for day in range(start, until_day + 1):
        score = brought.get(day, score)
        if score is not None:
            if is_broken:
                lines.append([])
            lines[-1].append(f"{day - start},{100 - score:g}")
            scores.append(score)
        is_broken = score is None
    if not scores:
        return None
    return Spark([" ".join(points if len(points) > 1 else points * 2) for points in lines], scores[0], scores[-1])
