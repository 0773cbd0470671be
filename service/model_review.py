"""What is allowed in a model and still cannot be meant: weights, curves, thresholds and profiles that can never act.

Warnings only, each naming its field; what is wrong was refused by the loader. A warning is given when it is certain
for every account, so a model without warnings may still be a poor one. Rules are `service.rule_review`'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf

from service.rule_review import Range, review_rules, signal_range
from service.scoring.model import OUTPUT_MAX, Factor, Model, Plan, Profile
from service.scoring.state import DAY_MS

LEAST_POINTS = 0.05  # less never shows in a score of one decimal


def review_model(model: Model) -> list[str]:
    """List the warnings about a model, in the order of its file."""
    plain = model.plain
    return [
        *_coverage_warnings(model),
        *_band_warnings(plain, "bands"),
        *_cool_down_warnings(model),
        *_key_feature_warnings(model),
        *(warning for factor in plain.factors for warning in _factor_warnings(factor, plain, f"factors.{factor.name}")),
        *review_rules(model, _extreme_scores(model)),
        *_profile_warnings(model),
    ]


def _plans(model: Model) -> list[Plan]:
    return [model.plain, *(plan for _, plan in model.plans)]


def _coverage_warnings(model: Model) -> Iterator[str]:
    least = min(min(plan.weights) / plan.total_weight for plan in _plans(model))
    if model.min_coverage <= least:
        yield (
            f"min_coverage: {model.min_coverage:g} is not above the share of the lightest factor ({least:.3g}),"
            " so any data gives an account a band; coverage below it is what keeps it unknown"
        )


def _cool_down_warnings(model: Model) -> Iterator[str]:
    bands = model.bands
    rules_wait = any(rule.alerts and rule.cool_down_ms == bands.cool_down_ms for rule in model.rules)
    if 0 < bands.cool_down_ms <= bands.dwell_ms and not rules_wait:
        yield (
            f"bands.cool_down_days: {bands.cool_down_ms / DAY_MS:g} days never hold an alert back: a computed band"
            f" takes the {bands.dwell_ms / DAY_MS:g} days of the dwell before it can be told again"
        )


def _key_feature_warnings(model: Model) -> Iterator[str]:
    read = {factor.signal.name for factor in model.factors}
    read |= {condition.signal for rule in model.rules for group in rule.groups for condition in group}
    if model.key_features and not any(name.startswith("key_features_") for name in read):
        yield "key_features: no factor and no rule reads them"


# -- factors ---------------------------------------------------------------------------------------------


def _factor_warnings(factor: Factor, plan: Plan, place: str) -> Iterator[str]:
    low, high = _outputs(factor, plan.model)
    if low == high:
        yield (
            f"{place}.curve: gives {low:g} for every value that {factor.signal.name} can take,"
            " so the factor tells no account from another"
        )
    elif (points := _most_points(factor, plan) * (high - low)) < LEAST_POINTS:
        yield f"{place}.weight: too small to act: it moves no score by more than {points:.3f} points"
    for index, (x, y) in enumerate(zip(factor.curve.xs, factor.curve.ys, strict=True)):
        if not _acts(factor, index, plan.model):
            yield f"{place}.curve.{index}: [{x:g}, {y:g}] lies beyond the values of {factor.signal.name}"


def _acts(factor: Factor, index: int, model: Model) -> bool:
    """Tell whether a point shapes the curve inside the signal's range; the nearest one outside does."""
    low, high = signal_range(factor.signal.name, model)
    xs = factor.curve.xs
    before_range = index + 1 < len(xs) and xs[index + 1] <= low and xs[index] < low
    after_range = index > 0 and xs[index - 1] >= high and xs[index] > high
    return not (before_range or after_range)


def _most_points(factor: Factor, plan: Plan) -> float:
    """Return the greatest share of the weight that the factor can have in an account with a band."""
    return factor.weight / max(factor.weight, plan.model.min_coverage * plan.total_weight)


def _outputs(factor: Factor, model: Model) -> Range:
    """Return the least and the greatest output over the values that the signal can take."""
    low, high = signal_range(factor.signal.name, model)
    curve = factor.curve
    ends = [curve.at(low) if low > -inf else curve.ys[0], curve.at(high) if high < inf else curve.ys[-1]]
    inside = [y for x, y in zip(curve.xs, curve.ys, strict=True) if low <= x <= high]
    return min(ends + inside), max(ends + inside)


# -- bands -----------------------------------------------------------------------------------------------


def _band_warnings(plan: Plan, place: str) -> Iterator[str]:
    bands = plan.model.bands
    lowest, highest = _extreme_score(plan, lowest=True), _extreme_score(plan, lowest=False)
    for band, thresholds in (("at_risk", bands.at_risk), ("endangered", bands.endangered)):
        if lowest >= thresholds.enter:
            yield (
                f"{place}.{band}.enter: no score falls below {thresholds.enter:g}"
                f" (the lowest that the factors give is {lowest:.1f})"
            )
        if highest < thresholds.leave:
            yield (
                f"{place}.{band}.leave: no score reaches {thresholds.leave:g}"
                f" (the highest that the factors give is {highest:.1f}), so {band} is never left"
            )


def _extreme_scores(model: Model) -> Range:
    plans = _plans(model)
    return min(_extreme_score(p, lowest=True) for p in plans), max(_extreme_score(p, lowest=False) for p in plans)


def _extreme_score(plan: Plan, *, lowest: bool) -> float:
    """Bound the scores of accounts with a band: the best or worst outputs first, until the least coverage is full."""
    parts = [(_outputs(factor, plan.model), factor.weight) for factor in plan.factors]
    ordered: Sequence[tuple[float, float]] = sorted((low, weight) for (low, _), weight in parts)
    if not lowest:
        ordered = sorted(((high, weight) for (_, high), weight in parts), reverse=True)
    room = plan.model.min_coverage * plan.total_weight
    if room <= 0.0:
        return ordered[0][0]
    taken = points = 0.0
    for output, weight in ordered:
        part = min(weight, room - taken)
        points += part * output
        taken += part
        if taken >= room:
            break
    return min(points / taken, OUTPUT_MAX)


# -- profiles --------------------------------------------------------------------------------------------


def _profile_warnings(model: Model) -> Iterator[str]:
    plain = {factor.name: factor for factor in model.factors}
    before: list[Profile] = []
    for profile, plan in model.plans:
        place = f"profiles.{profile.name}"
        if taken := next((other for other in before if other.fits(profile.tier, profile.stage)), None):
            yield f"{place}.when: never in force: profile {taken.name} before it fits all of its accounts"
        before.append(profile)
        changed = [factor for factor in profile.factors if not _is_same(factor, plain[factor.name])]
        if not changed:
            yield f"{place}.factors: change nothing: every weight and curve is that of the plain model"
            continue
        for factor in changed:
            if factor.weight > 0:
                yield from _factor_warnings(factor, plan, f"{place}.factors.{factor.name}")
        of_all = set(_band_warnings(model.plain, "bands"))
        yield from (f"{place}: {warning}" for warning in _band_warnings(plan, "bands") if warning not in of_all)


def _is_same(factor: Factor, other: Factor) -> bool:
    same_curve = (factor.curve.xs, factor.curve.ys) == (other.curve.xs, other.curve.ys)
    return same_curve and factor.weight == other.weight
