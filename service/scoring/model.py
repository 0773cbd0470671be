"""The health model as the engine uses it: frozen values, checked by the loader, compiled for speed.

Policy only: curves, weights, thresholds, rules, profiles. Nothing here knows a file, and no account but its tier and
stage. A plan is the model as one profile sees it: what to compute when a part of a state changed, in one table.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from math import isinf
from typing import Final, Literal, NamedTuple

from service.scoring.records import Attributes
from service.scoring.signal import Signal
from service.scoring.signals import SCORE_SIGNALS, SIGNALS
from service.scoring.state import AccountState
from service.scoring.views import BAND_ALERT_KINDS

OUTPUT_MAX: Final = 100.0
FINGERPRINT_BYTES: Final = 8
BAND_LEVEL: Final = "band_level"
CHANGE_DAYS: Final = {"score_change_7": 7, "score_change_30": 30}
CapBand = Literal["at_risk", "endangered"]


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


class Condition(NamedTuple):
    """True while the signal's value lies in `low..high`, both included; never true of a signal without data."""

    signal: str
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Rule:
    """Holds while every group has a condition that is true; `sentence` is a template over signals and their words."""

    name: str
    label: str
    groups: tuple[tuple[Condition, ...], ...]
    cap: CapBand | None
    alerts: bool
    cool_down_ms: int
    sentence: str


@dataclass(frozen=True, slots=True)
class Profile:
    """Factors of its own for accounts of one tier, one stage, or both."""

    name: str
    tier: str | None
    stage: str | None
    factors: tuple[Factor, ...]

    def fits(self, tier: str | None, stage: str | None) -> bool:
        """Tell whether an account of this tier and stage is meant."""
        return self.tier in {None, tier} and self.stage in {None, stage}


@dataclass(frozen=True, slots=True)
class Bands:
    """When a band is entered and left, how long better must last, and how long an alert is not repeated."""

    min_coverage: float
    at_risk: Thresholds
    endangered: Thresholds
    dwell_ms: int
    cool_down_ms: int


class Model:
    """A whole model; never changed after it is made. `version` names its declared version and its content."""

    __slots__ = (
        "_chosen",
        "bands",
        "cool_downs",
        "factors",
        "fingerprint",
        "key_features",
        "plain",
        "plans",
        "rules",
        "version",
    )

    def __init__(  # noqa: PLR0917  # the parts of a model file, in its order
        self,
        version: str,
        bands: Bands,
        factors: Sequence[Factor],
        rules: Sequence[Rule] = (),
        profiles: Sequence[Profile] = (),
        key_features: Sequence[str] = (),
    ) -> None:
        self.version = version
        self.bands = bands
        self.factors = tuple(factors)
        self.rules = tuple(rules)
        self.key_features = tuple(key_features)
        self.cool_downs = dict.fromkeys(BAND_ALERT_KINDS, bands.cool_down_ms)
        self.cool_downs.update((rule.name, rule.cool_down_ms) for rule in self.rules)
        self.fingerprint = _fingerprint(version)
        self.plain = Plan(self, None, self.factors)
        self.plans = tuple((profile, Plan(self, profile.name, profile.factors)) for profile in profiles)
        self._chosen: dict[tuple[str | None, str | None], Plan] = {}

    @property
    def min_coverage(self) -> float:
        """The share of the weight that must have data before there is a band."""
        return self.bands.min_coverage

    def plan_for(self, facts: Attributes | None) -> Plan:
        """Choose the plan for an account with these facts; a churned one is read by the plain model."""
        if facts is None:
            key: tuple[str | None, str | None] = (None, None)
        elif facts.stage == "churned":
            return self.plain
        else:
            key = (facts.tier, facts.stage)
        plan = self._chosen.get(key)
        if plan is None:
            plan = next((plan for profile, plan in self.plans if profile.fits(*key)), self.plain)
            self._chosen[key] = plan
        return plan


class Reading:
    """One signal with all that depends on it; a change outside of the `spans` of its values changes nothing.

    `index` is its place in `AccountState.dues`.
    """

    __slots__ = ("conditions", "curves", "index", "next_day", "read", "signal", "spans")

    def __init__(
        self,
        index: int,
        signal: Signal,
        curves: Sequence[tuple[int, Curve]],  # with the position of the factor
        conditions: Sequence[tuple[int, float, float]],  # bit, lowest and highest value that make it true
        spans: Sequence[tuple[float, float]],
    ) -> None:
        self.index = index
        self.signal = signal
        self.read = signal.read
        self.next_day = signal.next_day
        self.curves = list(curves)
        self.conditions = list(conditions)
        self.spans = list(spans)


class CompiledRule(NamedTuple):
    """A rule over the bits of its conditions."""

    rule: Rule
    masks: tuple[int, ...]

    def holds(self, truths: int) -> bool:
        """Tell whether every group has a true condition."""
        return all(truths & mask for mask in self.masks)


class Verdict(NamedTuple):
    """What the rules say: the worst cap with its rule, and the rules with alerts that hold."""

    cap: Rule | None
    alerting: tuple[Rule, ...]
    holding: tuple[str, ...]


class Plan:
    """The model as one profile sees it, compiled: the readings, and which of them read which part of a state."""

    __slots__ = (
        "_readers",
        "_verdicts",
        "band_conditions",
        "factors",
        "fingerprint",
        "key_features",
        "model",
        "name",
        "readings",
        "rules",
        "score_conditions",
        "score_days",
        "total_weight",
        "weights",
    )

    def __init__(self, model: Model, name: str | None, factors: Sequence[Factor]) -> None:
        self.model = model
        self.name = name
        self.key_features = model.key_features
        self.factors = tuple(factor for factor in factors if factor.weight > 0)
        self.weights = tuple(factor.weight for factor in self.factors)
        self.total_weight = sum(self.weights)
        self.fingerprint = model.fingerprint if name is None else _fingerprint(f"{model.version}\x1f{name}")
        bits = _number_conditions(model.rules)
        self.rules = tuple(
            CompiledRule(rule, tuple(sum(bits[condition] for condition in set(group)) for group in rule.groups))
            for rule in model.rules
        )
        of_score = [(bit, *condition) for condition, bit in bits.items() if _is_of_score(condition)]
        self.score_conditions = tuple(entry for entry in of_score if entry[1] != BAND_LEVEL)
        self.band_conditions = tuple(entry for entry in of_score if entry[1] == BAND_LEVEL)
        self.score_days = max((CHANGE_DAYS[entry[1]] for entry in of_score if entry[1] in CHANGE_DAYS), default=0)
        self.readings = _readings(self.factors, {c: bit for c, bit in bits.items() if not _is_of_score(c)})
        self._readers: dict[int, list[Reading]] = {}
        self._verdicts: dict[int, Verdict] = {}

    def readers(self, parts: int) -> list[Reading]:
        """Give the readings that read one of `parts`."""
        found = self._readers.get(parts)
        if found is None:
            found = [reading for reading in self.readings if reading.signal.parts & parts]
            self._readers[parts] = found
        return found

    def judge(self, truths: int) -> Verdict:
        """Apply every rule to the bits of its conditions."""
        verdict = self._verdicts.get(truths)
        if verdict is None:
            rules = [entry.rule for entry in self.rules if entry.holds(truths)]
            caps = sorted((rule for rule in rules if rule.cap), key=lambda rule: rule.cap != "endangered")
            alerting = tuple(rule for rule in rules if rule.alerts)
            verdict = Verdict(caps[0] if caps else None, alerting, tuple(rule.name for rule in rules))
            self._verdicts[truths] = verdict
        return verdict


def plan_of(state: AccountState) -> Plan:
    """Give the plan that the state's cache is of; every way into the engine loads one first."""
    plan = state.plan
    if plan is None:
        raise AssertionError("the state has no plan yet")
    return plan


def _fingerprint(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=FINGERPRINT_BYTES).digest()


def _is_of_score(condition: Condition) -> bool:
    return condition.signal in SCORE_SIGNALS


def _number_conditions(rules: Sequence[Rule]) -> dict[Condition, int]:
    """Give every distinct condition a bit of its own."""
    bits: dict[Condition, int] = {}
    for rule in rules:
        for group in rule.groups:
            for condition in group:
                bits.setdefault(condition, 1 << len(bits))
    return bits


def _readings(factors: Sequence[Factor], bits: Mapping[Condition, int]) -> list[Reading]:
    names = list(dict.fromkeys([*(factor.signal.name for factor in factors), *(c.signal for c in bits)]))
    readings: list[Reading] = []
    for name in names:
        curves = tuple((i, factor.curve) for i, factor in enumerate(factors) if factor.signal.name == name)
        conditions = tuple((bit, c.low, c.high) for c, bit in bits.items() if c.signal == name)
        # Around a threshold, one step to each side matters; of a curve, what lies between its ends.
        edges = [edge for c in bits if c.signal == name for edge in (c.low, c.high) if not isinf(edge)]
        step = SIGNALS[name].step
        spans = [(curve.xs[0], curve.last_x) for _, curve in curves] + [(edge - step, edge + step) for edge in edges]
        readings.append(Reading(len(readings), SIGNALS[name], curves, conditions, _merged(spans)))
    return readings


def _merged(spans: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Join the spans that overlap."""
    merged: list[tuple[float, float]] = []
    for low, high in sorted(spans):
        if merged and low <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(merged)
