"""What a model file means: profiles, curves, score and coverage, rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

Document = dict[str, Any]
Reading = Callable[[str], float | None]


@dataclass(frozen=True)
class Output:
    """One factor that has data: its signal's value, its output and its weight."""

    value: float
    output: float
    weight: float


@dataclass(frozen=True)
class Scored:
    """What the factors give; `factors` holds those that have data, in the order of the file."""

    profile: str | None
    factors: dict[str, Output]
    score: float | None
    coverage: float

    def share(self, name: str) -> float:
        """Give the factor's part of the weight that has data."""
        return self.factors[name].weight / sum(part.weight for part in self.factors.values())

    def contribution(self, name: str) -> float:
        """Give the points that the factor adds to the score."""
        return self.share(name) * self.factors[name].output


def curve_at(points: list[list[float]], value: float) -> float:
    """Read a curve: straight between its points, flat outside them."""
    if value < points[0][0]:
        return points[0][1]
    for (x0, y0), (x1, y1) in pairwise(points):
        if value < x1:
            return min(100.0, max(0.0, y0 + (y1 - y0) * ((value - x0) / (x1 - x0))))
    return points[-1][1]


def profile_of(model: Document, tier: str | None, stage: str | None) -> str | None:
    """Name the first profile that fits; a churned account is weighed by the plain model."""
    for name, profile in model.get("profiles", {}).items():
        when = profile["when"]
        if stage != "churned" and when.get("tier", tier) == tier and when.get("stage", stage) == stage:
            return str(name)
    return None


def score(model: Document, profile: str | None, read: Reading) -> Scored:
    """Weigh what the signals say."""
    changes = model["profiles"][profile]["factors"] if profile is not None else {}
    factors: dict[str, Output] = {}
    total = 0.0
    for name, factor in model["factors"].items():
        change = changes.get(name, {})
        weight = change.get("weight", factor["weight"])
        if weight == 0:
            continue
        total += weight
        value = read(factor["signal"])
        if value is not None:
            factors[name] = Output(value, curve_at(change.get("curve", factor["curve"]), value), weight)
    if not factors:
        return Scored(profile, factors, None, 0.0)
    known = points = 0.0
    for part in factors.values():  # in the order of the file; sum() would round in another way
        known += part.weight
        points += part.weight * part.output
    return Scored(profile, factors, min(100.0, points / known), known / total)


def _is_true(condition: Document, read: Reading) -> bool:
    if "any" in condition:
        return any(_is_true(one, read) for one in condition["any"])
    value = read(condition["signal"])
    if value is None:
        return False
    return bool(
        value >= condition.get("at_least", value)
        and value <= condition.get("at_most", value)
        and ("above" not in condition or value > condition["above"])
        and ("below" not in condition or value < condition["below"])
    )


def holds(rule: Document, read: Reading) -> bool:
    """Tell whether a rule holds."""
    if "any" in rule:
        return any(_is_true(condition, read) for condition in rule["any"])
    return all(_is_true(condition, read) for condition in rule["all"])
