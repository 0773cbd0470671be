"""What leaves the core: a score with its reasons, and an alert with what changed.

Values only; how they are computed is in `explain`. Points are parts of the 0..100 score.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Band: TypeAlias = Literal["unknown", "healthy", "at_risk", "endangered"]
AlertKind: TypeAlias = Literal["at_risk", "endangered", "recovered"]


@dataclass(slots=True, frozen=True)
class FactorView:
    """One factor that has data: `contribution = weight * output` and `weight` is its share of those present (0..1)."""

    name: str
    label: str
    value: float
    output: float
    weight: float
    contribution: float
    points_lost: float
    sentence: str


@dataclass(slots=True, frozen=True)
class ScoreView:
    """The score of one account at `time_ms`; `score` is None while no factor has data."""

    account: str
    time_ms: int
    score: float | None
    band: Band
    coverage: float
    model_version: str
    factors: tuple[FactorView, ...]
    name: str | None
    tier: str | None
    mrr_minor: int | None
    currency: str | None
    owner: str | None
    stage: str | None
    score_seq: int


@dataclass(slots=True, frozen=True)
class FactorChange:
    """One factor now and before: when the account came to its previous band.

    `None` on one side: no data then, so the contribution of that side is 0. `points_change` is None when
    there is nothing to compare with: the account had no band yet, or its baseline is of another model.
    """

    name: str
    label: str
    value: float | None
    value_before: float | None
    output: float | None
    output_before: float | None
    contribution: float
    contribution_before: float | None
    points_change: float | None
    sentence: str


@dataclass(slots=True, frozen=True)
class Alert:
    """A band was entered or left; `id` is stable, `seq` counts the account's alerts from 1 without gaps."""

    id: str
    account: str
    seq: int
    kind: AlertKind
    time_ms: int
    band: Band
    previous_band: Band
    score: float
    previous_score: float | None
    coverage: float
    model_version: str
    name: str | None
    mrr_minor: int | None
    currency: str | None
    owner: str | None
    factors: tuple[FactorChange, ...]
    sentence: str
