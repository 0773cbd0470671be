"""What a model file may say: the fields, their bounds, and the rules between them.

Only the shape of the file lives here; reading it and naming lines is the loader's work. Run this module to print the
JSON Schema that is stored beside it for editors.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import pairwise
from string import Formatter
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema, model_validator

from service.scoring.signals import SCORE_SIGNALS, SIGNALS
from service.scoring.views import BAND_ALERT_KINDS

MAX_CURVE_POINTS: Final = 32  # a person cannot follow a longer curve
MAX_FACTORS: Final = 64  # every score lists them all
MAX_CURVE_X: Final = 1_000_000.0
MAX_RULES: Final = 32
MAX_CONDITIONS: Final = 16
MAX_PROFILES: Final = 16
MAX_KEY_FEATURES: Final = 16
MAX_DAYS: Final = 365
FEATURE_SIGNALS: Final = frozenset(("key_features_used", "key_features_unused"))
COMPARISONS: Final = ("at_least", "at_most", "above", "below")

NAME_PATTERN: Final = r"^[a-z][a-z0-9_]{0,39}$"
TEXT_PATTERN: Final = r"^\S(.*\S)?$"

_Score = Annotated[float, Field(ge=0, le=100)]
_Point = Annotated[
    tuple[Annotated[float, Field(ge=-MAX_CURVE_X, le=MAX_CURVE_X)], _Score],
    Field(strict=False, description="[signal value, output 0..100]"),  # YAML has lists only
]
_Text = Annotated[str, Field(min_length=1, max_length=200, pattern=TEXT_PATTERN)]
_Bound = Annotated[float, Field(ge=-MAX_CURVE_X, le=MAX_CURVE_X)]
FactorName = Annotated[str, Field(pattern=NAME_PATTERN)]
FeatureName = Annotated[str, Field(min_length=1, max_length=64)]


def _known_signal(name: str) -> str:
    if name not in SIGNALS:
        raise ValueError(f"unknown signal; known: {', '.join(sorted(SIGNALS))}")
    return name


def _distinct(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise ValueError("names a feature twice")
    return names


def _rising(curve: list[_Point]) -> list[_Point]:
    xs = [x for x, _ in curve]
    for before, after in pairwise(xs):
        if before >= after:
            raise ValueError(f"signal values must rise from point to point ({before:g} is followed by {after:g})")
    return curve


def _known_rule_signal(name: str) -> str:
    if name not in SIGNALS and name not in SCORE_SIGNALS:
        raise ValueError(f"unknown signal; known: {', '.join(sorted((*SIGNALS, *SCORE_SIGNALS)))}")
    return name


def check_template(sentence: str, known: frozenset[str]) -> None:
    """Raise ValueError when a sentence names anything but these words."""
    try:
        fields = [(name, spec, how) for _, name, spec, how in Formatter().parse(sentence) if name is not None]
    except ValueError as error:
        raise ValueError(f"sentence is no valid template: {error}") from None
    for name, spec, how in fields:
        if name not in known or spec or how:
            shown = ", ".join(f"{{{word}}}" for word in sorted(known)) or "nothing"
            raise ValueError(f"sentence may only name {shown} (got {{{name}}})")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class ThresholdsFile(_Strict):
    """A band is entered below `enter` and left at or above `leave`."""

    enter: _Score
    leave: _Score

    @model_validator(mode="after")
    def _leave_above_enter(self) -> ThresholdsFile:
        if self.leave <= self.enter:
            raise ValueError(f"leave must be > enter ({self.leave:g} is not above {self.enter:g})")
        return self


class BandsFile(_Strict):
    """The two bands below healthy, how long a better score must last, how long an alert is not repeated."""

    at_risk: ThresholdsFile
    endangered: ThresholdsFile
    dwell_days: float = Field(default=0, ge=0, le=MAX_DAYS, description="days that better must last before it counts")
    cool_down_days: float = Field(default=0, ge=0, le=MAX_DAYS, description="days between two alerts of one kind")

    @model_validator(mode="after")
    def _endangered_below_at_risk(self) -> BandsFile:
        faults = [
            f"endangered.{edge} must be < at_risk.{edge} ({low:g} is not below {high:g})"
            for edge in ("enter", "leave")
            if (low := getattr(self.endangered, edge)) >= (high := getattr(self.at_risk, edge))
        ]
        if faults:
            raise ValueError("; ".join(faults))
        return self


class FactorFile(_Strict):
    """One weighted factor: a signal, a curve from its value to 0..100, and how to say it."""

    label: _Text = Field(description="the name people see")
    signal: Annotated[
        str,
        AfterValidator(_known_signal),
        WithJsonSchema({"type": "string", "enum": sorted(SIGNALS)}),
    ]
    weight: float = Field(gt=0, le=1000, description="relative to the other factors that have data")
    curve: Annotated[list[_Point], AfterValidator(_rising)] = Field(min_length=2, max_length=MAX_CURVE_POINTS)
    sentence: _Text = Field(description="a template over {value} and the words of the signal")

    @model_validator(mode="after")
    def _sentence_words(self) -> FactorFile:
        check_template(self.sentence, SIGNALS[self.signal].word_names | {"value"})
        return self


class ConditionFile(_Strict):
    """One comparison of a signal with a number, or a list of them of which one must be true."""

    signal: (
        Annotated[
            str,
            AfterValidator(_known_rule_signal),
            WithJsonSchema({"type": "string", "enum": sorted((*SIGNALS, *SCORE_SIGNALS))}),
        ]
        | None
    ) = None
    at_least: _Bound | None = None
    at_most: _Bound | None = None
    above: _Bound | None = None
    below: _Bound | None = None
    any_of: Annotated[list[ConditionFile], Field(min_length=1, max_length=MAX_CONDITIONS)] | None = Field(
        default=None, alias="any"
    )

    @model_validator(mode="after")
    def _is_one_comparison(self) -> ConditionFile:
        given = [name for name in COMPARISONS if getattr(self, name) is not None]
        if self.any_of is not None:
            if self.signal is not None or given:
                raise ValueError("any stands alone in its condition")
            if any(inner.any_of is not None for inner in self.any_of):
                raise ValueError("any may not hold another any")
        elif self.signal is None or len(given) != 1:
            raise ValueError(f"must be a signal and one of {', '.join(COMPARISONS)}")
        return self

    def comparisons(self) -> list[ConditionFile]:
        """List the comparisons of which one must be true."""
        return [self] if self.any_of is None else self.any_of

    def bound(self) -> tuple[str, float]:
        """Give the comparison and its number."""
        return next((name, value) for name in COMPARISONS if (value := getattr(self, name)) is not None)


class RuleFile(_Strict):
    """A list of conditions with an effect: a cap on the band, an alert of its own, or both."""

    label: _Text = Field(description="the name people see")
    all_of: Annotated[list[ConditionFile], Field(min_length=1, max_length=MAX_CONDITIONS)] | None = Field(
        default=None, alias="all"
    )
    any_of: Annotated[list[ConditionFile], Field(min_length=1, max_length=MAX_CONDITIONS)] | None = Field(
        default=None, alias="any"
    )
    cap: Literal["at_risk", "endangered"] | None = Field(default=None, description="the best band while it holds")
    alert: bool = Field(default=False, description="alert when it begins to hold; the kind is the rule's name")
    cool_down_days: float | None = Field(default=None, ge=0, le=MAX_DAYS)
    sentence: _Text = Field(description="a template over the signals of its conditions and their words")

    @model_validator(mode="after")
    def _is_whole(self) -> RuleFile:
        if (self.all_of is None) == (self.any_of is None):
            raise ValueError("must have either all or any")
        if any(item.any_of is not None for item in self.any_of or ()):
            raise ValueError("any may not hold another any")
        if self.cap is None and not self.alert:
            raise ValueError("has no effect; give it a cap, alert: true, or both")
        names = self.signals()
        if self.cap is not None and "band_level" in names:
            raise ValueError("a rule with a cap may not read band_level, which the cap decides")
        words = {word for name in names & SIGNALS.keys() for word in (name, *SIGNALS[name].word_names)}
        check_template(self.sentence, frozenset(words))
        return self

    def groups(self) -> list[list[ConditionFile]]:
        """List the groups of comparisons: one of each must be true."""
        if self.any_of is not None:
            return [self.any_of]
        return [item.comparisons() for item in self.all_of or ()]

    def signals(self) -> set[str]:
        """Name the signals that its conditions read."""
        return {condition.signal for group in self.groups() for condition in group if condition.signal is not None}


class WhenFile(_Strict):
    """Which accounts a profile is for; what is left out may be anything."""

    tier: Literal["high_touch", "low_touch"] | None = None
    stage: Literal["onboarding", "active", "renewal"] | None = None

    @model_validator(mode="after")
    def _says_something(self) -> WhenFile:
        if self.tier is None and self.stage is None:
            raise ValueError("must name a tier, a stage, or both")
        return self


class FactorChangeFile(_Strict):
    """What a profile changes in one factor."""

    weight: float | None = Field(default=None, ge=0, le=1000, description="0 leaves the factor out")
    curve: Annotated[list[_Point], AfterValidator(_rising)] | None = Field(
        default=None, min_length=2, max_length=MAX_CURVE_POINTS
    )


class ProfileFile(_Strict):
    """Weights and curves of its own for accounts of one tier or stage."""

    when: WhenFile
    factors: dict[FactorName, FactorChangeFile] = Field(min_length=1)


class ModelFile(_Strict):
    """A health model of Vitals."""

    version: str = Field(pattern=r"^[A-Za-z0-9._-]{1,32}$", description="yours to raise when the model changes")
    min_coverage: float = Field(ge=0, le=1, description="weight with data / total weight below which there is no band")
    bands: BandsFile
    key_features: Annotated[list[FeatureName], AfterValidator(_distinct)] = Field(
        default_factory=list, max_length=MAX_KEY_FEATURES, description="features whose adoption is judged"
    )
    factors: dict[FactorName, FactorFile] = Field(min_length=1, max_length=MAX_FACTORS)
    rules: dict[FactorName, RuleFile] = Field(default_factory=dict, max_length=MAX_RULES)
    profiles: dict[FactorName, ProfileFile] = Field(default_factory=dict, max_length=MAX_PROFILES)

    @model_validator(mode="after")
    def _fits_together(self) -> ModelFile:
        if faults := "\n".join(self._misfits()):
            raise ValueError(faults)
        return self

    def _misfits(self) -> Iterator[str]:
        """Say what does not fit together, each with its field first."""
        for name in self.rules:
            if name in BAND_ALERT_KINDS:
                yield f"rules.{name}: is the name of a band's alert; choose another name"
        for name, profile in self.profiles.items():
            for unknown in sorted(profile.factors.keys() - self.factors.keys()):
                yield f"profiles.{name}.factors.{unknown}: is not a factor of this model"
            if not any(weight > 0 for weight in self.weights_of(profile).values()):
                yield f"profiles.{name}: leaves no factor with a weight"
        read = {factor.signal for factor in self.factors.values()}.union(*(r.signals() for r in self.rules.values()))
        if read & FEATURE_SIGNALS and not self.key_features:
            yield f"key_features: is missing, but {min(read & FEATURE_SIGNALS)} reads them"

    def weights_of(self, profile: ProfileFile) -> dict[str, float]:
        """Give every factor's weight as the profile sees it."""
        changed = {name: change.weight for name, change in profile.factors.items() if change.weight is not None}
        return {name: changed.get(name, factor.weight) for name, factor in self.factors.items()}


def json_schema() -> dict[str, Any]:
    """Describe the model file as JSON Schema (draft 2020-12)."""
    schema = ModelFile.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Vitals health model", **schema}


def schema_text() -> str:
    """Render the schema as it is stored in `schema.json`."""
    return json.dumps(json_schema(), indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema_text())
