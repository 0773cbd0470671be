"""Compiles a checked model file into the model of the scoring core; nothing is checked or read here."""

from __future__ import annotations

from math import inf, nextafter
from typing import Final

from service.model.file_format import ConditionFile, FactorFile, ModelFile, ProfileFile, RuleFile, ThresholdsFile
from service.scoring.model import Bands, Condition, Curve, Factor, Model, Profile, Rule, Thresholds
from service.scoring.signals import SIGNALS

_DAY_MS: Final = 86_400_000


def build_model(checked: ModelFile, version: str) -> Model:
    """Compile the checked file under this version."""
    bands = checked.bands
    return Model(
        version=version,
        bands=Bands(
            checked.min_coverage,
            _thresholds(bands.at_risk),
            _thresholds(bands.endangered),
            _milliseconds(bands.dwell_days),
            _milliseconds(bands.cool_down_days),
        ),
        factors=[_factor(name, part, part.weight, None) for name, part in checked.factors.items()],
        rules=[_rule(name, part, bands.cool_down_days) for name, part in checked.rules.items()],
        profiles=[_profile(name, part, checked) for name, part in checked.profiles.items()],
        key_features=checked.key_features,
    )


def _milliseconds(days: float) -> int:
    return round(days * _DAY_MS)


def _thresholds(part: ThresholdsFile) -> Thresholds:
    return Thresholds(part.enter, part.leave)


def _factor(name: str, part: FactorFile, weight: float, curve: list[tuple[float, float]] | None) -> Factor:
    return Factor(name, part.label, SIGNALS[part.signal], weight, Curve(curve or part.curve), part.sentence)


def _profile(name: str, part: ProfileFile, checked: ModelFile) -> Profile:
    weights = checked.weights_of(part)
    curves = {factor: change.curve for factor, change in part.factors.items()}
    factors = [_factor(key, factor, weights[key], curves.get(key)) for key, factor in checked.factors.items()]
    return Profile(name, part.when.tier, part.when.stage, tuple(factors))


def _rule(name: str, part: RuleFile, cool_down_days: float) -> Rule:
    days = cool_down_days if part.cool_down_days is None else part.cool_down_days
    groups = tuple(tuple(_condition(condition) for condition in group) for group in part.groups())
    return Rule(name, part.label, groups, part.cap, part.alert, _milliseconds(days), part.sentence)


def _condition(part: ConditionFile) -> Condition:
    """Write the comparison as an interval that holds both of its ends."""
    comparison, number = part.bound()
    low, high = {
        "at_least": (number, inf),
        "at_most": (-inf, number),
        "above": (nextafter(number, inf), inf),
        "below": (-inf, nextafter(number, -inf)),
    }[comparison]
    return Condition(part.signal or "", low, high)
