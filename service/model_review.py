"""What is allowed in a model and still cannot be meant: weights that never act, bands out of reach.

Warnings only, each naming its field; what is wrong was refused by the loader. A warning is given when it is certain
for every account, so a model without warnings may still be a poor one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf
from typing import Final

from service.scoring.model import OUTPUT_MAX, Factor, Model

Range = tuple[float, float]

# The values that a signal can take; one that is not listed is taken to reach everything.
SIGNAL_RANGES: Final[dict[str, Range]] = {
    "login_trend": (0.0, 2.0),
    "recency_days": (0.0, inf),
    "active_days": (0.0, 30.0),
    "failed_payments": (0.0, inf),
    "overdue_days": (0.0, inf),
    "ticket_load": (0.0, inf),
    "latest_survey": (0.0, 100.0),
    "csm_sentiment": (-1.0, 1.0),
}
LEAST_POINTS: Final = 0.05  # less never shows in a score of one decimal


def review_model(model: Model) -> list[str]:
    """List the warnings about a model, in the order of its file."""
    return [*_coverage_warnings(model), *_band_warnings(model), *_factor_warnings(model)]


def _coverage_warnings(model: Model) -> Iterator[str]:
    if model.min_coverage == 0:
        yield "min_coverage: is 0, so one event gives an account a band; coverage below it is what keeps it unknown"


def _factor_warnings(model: Model) -> Iterator[str]:
    for factor in model.factors:
        place = f"factors.{factor.name}"
        low, high = _outputs(factor)
        if not factor.signal.parts:
            yield f"{place}.signal: no event feeds {factor.signal.name}, so the factor never has data"
        elif low == high:
            yield (
                f"{place}.curve: gives {low:g} for every value that {factor.signal.name} can take,"
                " so the factor tells no account from another"
            )
        elif (points := _most_points(factor, model) * (high - low)) < LEAST_POINTS:
            yield f"{place}.weight: too small to act: it moves no score by more than {points:.3f} points"
        for index, (x, y) in enumerate(zip(factor.curve.xs, factor.curve.ys, strict=True)):
            if not _acts(factor, index):
                yield f"{place}.curve.{index}: [{x:g}, {y:g}] lies beyond the values of {factor.signal.name}"


def _acts(factor: Factor, index: int) -> bool:
    """Tell whether a point shapes the curve inside the signal's range; the nearest one outside does."""
    low, high = _range(factor)
    xs = factor.curve.xs
    before_range = index + 1 < len(xs) and xs[index + 1] <= low and xs[index] < low
    after_range = index > 0 and xs[index - 1] >= high and xs[index] > high
    return not (before_range or after_range)


def _most_points(factor: Factor, model: Model) -> float:
    """Return the greatest share of the weight that the factor can have in an account with a band."""
    least_present = max(factor.weight, model.min_coverage * model.total_weight)
    return factor.weight / least_present


def _band_warnings(model: Model) -> Iterator[str]:
    lowest = _extreme_score(model, lowest=True)
    highest = _extreme_score(model, lowest=False)
    for band, thresholds in (("at_risk", model.at_risk), ("endangered", model.endangered)):
        if lowest >= thresholds.enter:
            yield (
                f"bands.{band}.enter: no score falls below {thresholds.enter:g}"
                f" (the lowest that the factors give is {lowest:.1f})"
            )
        if highest < thresholds.leave:
            yield (
                f"bands.{band}.leave: no score reaches {thresholds.leave:g}"
                f" (the highest that the factors give is {highest:.1f}), so {band} is never left"
            )


def _extreme_score(model: Model, *, lowest: bool) -> float:
    """Bound the scores of accounts with a band: the best or worst outputs first, until the least coverage is full."""
    parts = sorted((_outputs(factor), factor.weight) for factor in model.factors if factor.signal.parts)
    ordered: Sequence[tuple[float, float]] = [(low, weight) for (low, _), weight in parts]
    if not lowest:
        ordered = sorted(((high, weight) for (_, high), weight in parts), reverse=True)
    if not ordered:
        return OUTPUT_MAX if lowest else 0.0
    room = model.min_coverage * model.total_weight
    if room <= 0.0:
        return ordered[0][0]
    taken = points = 0.0
    for output, weight in ordered:
        part = min(weight, room - taken)
        points += part * output
        taken += part
        if taken >= room:
            break
    return points / taken


def _range(factor: Factor) -> Range:
    return SIGNAL_RANGES.get(factor.signal.name, (-inf, inf))


def _outputs(factor: Factor) -> Range:
    """Return the least and the greatest output over the values that the signal can take."""
    low, high = _range(factor)
    curve = factor.curve
    ends = [curve.at(low) if low > -inf else curve.ys[0], curve.at(high) if high < inf else curve.ys[-1]]
    inside = [y for x, y in zip(curve.xs, curve.ys, strict=True) if low <= x <= high]
    return min(ends + inside), max(ends + inside)
