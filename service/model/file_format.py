"""What a model file may say: the fields, their bounds, and the rules between them.

Only the shape of the file lives here; reading it and naming lines is the loader's work. Run this module to print the
JSON Schema that is stored beside it for editors.
"""

from __future__ import annotations

import json
import sys
from itertools import pairwise
from string import Formatter
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema, model_validator

from service.scoring.signals import SIGNALS

MAX_CURVE_POINTS: Final = 32  # a person cannot follow a longer curve
MAX_FACTORS: Final = 64  # every score lists them all
MAX_CURVE_X: Final = 1_000_000.0

NAME_PATTERN: Final = r"^[a-z][a-z0-9_]{0,39}$"
TEXT_PATTERN: Final = r"^\S(.*\S)?$"

_Score = Annotated[float, Field(ge=0, le=100)]
_Point = Annotated[
    tuple[Annotated[float, Field(ge=-MAX_CURVE_X, le=MAX_CURVE_X)], _Score],
    Field(strict=False, description="[signal value, output 0..100]"),  # YAML has lists only
]
_Text = Annotated[str, Field(min_length=1, max_length=200, pattern=TEXT_PATTERN)]
FactorName = Annotated[str, Field(pattern=NAME_PATTERN)]


def _known_signal(name: str) -> str:
    if name not in SIGNALS:
        raise ValueError(f"unknown signal; known: {', '.join(sorted(SIGNALS))}")
    return name


def _rising(curve: list[_Point]) -> list[_Point]:
    xs = [x for x, _ in curve]
    for before, after in pairwise(xs):
        if before >= after:
            raise ValueError(f"signal values must rise from point to point ({before:g} is followed by {after:g})")
    return curve


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
    """The two bands below healthy."""

    at_risk: ThresholdsFile
    endangered: ThresholdsFile

    @model_validator(mode="after")
    def _endangered_below_at_risk(self) -> BandsFile:
        for edge in ("enter", "leave"):
            low, high = getattr(self.endangered, edge), getattr(self.at_risk, edge)
            if low >= high:
                raise ValueError(f"endangered.{edge} must be < at_risk.{edge} ({low:g} is not below {high:g})")
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
        known = SIGNALS[self.signal].word_names | {"value"}
        try:
            fields = [(name, spec, how) for _, name, spec, how in Formatter().parse(self.sentence) if name is not None]
        except ValueError as error:
            raise ValueError(f"sentence is no valid template: {error}") from None
        for name, spec, how in fields:
            if name not in known or spec or how:
                shown = ", ".join(f"{{{word}}}" for word in sorted(known))
                raise ValueError(f"sentence may only name {shown} (got {{{name}}})")
        return self


class ModelFile(_Strict):
    """A health model of Vitals."""

    version: str = Field(pattern=r"^[A-Za-z0-9._-]{1,32}$", description="yours to raise when the model changes")
    min_coverage: float = Field(ge=0, le=1, description="weight with data / total weight below which there is no band")
    bands: BandsFile
    factors: dict[FactorName, FactorFile] = Field(min_length=1, max_length=MAX_FACTORS)


def json_schema() -> dict[str, Any]:
    """Describe the model file as JSON Schema (draft 2020-12)."""
    schema = ModelFile.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Vitals health model", **schema}


def schema_text() -> str:
    """Render the schema as it is stored in `schema.json`."""
    return json.dumps(json_schema(), indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema_text())
