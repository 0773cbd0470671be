"""What leaves the core: a score with its reasons, and an alert with what changed.

Values only, which nobody changes; how they are computed is in `explain`. Not frozen: making a frozen one takes four
times as long. Points are parts of the 0..100 score.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Band: TypeAlias = Literal["unknown", "healthy", "at_risk", "endangered"]
BandAlertKind: TypeAlias = Literal["at_risk", "endangered", "recovered"]
Refusal: TypeAlias = Literal["unknown_alert", "old_alert", "resolved_alert", "superseded", "churned"]
AlertState: TypeAlias = Literal["acknowledged", "snoozed", "resolved"]
BAND_ALERT_KINDS: Final = ("at_risk", "endangered", "recovered")


@dataclass(slots=True)
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


@dataclass(slots=True)
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
    profile: str | None = None  # of the model, None = the plain one
    computed_band: Band = "unknown"  # what the band is without an override
    override_reason: str | None = None
    override_until_ms: int | None = None
    rules: tuple[str, ...] = ()  # those that hold
    trend_7: float | None = None
    trend_30: float | None = None
    model_changed: bool = False
    returned_ms: int | None = None  # when a churned account came back
    snoozed_until_ms: int | None = None
    csm_sentiment: float | None = None  # the last word, however old
    csm_sentiment_ms: int | None = None


@dataclass(slots=True)
class FactorChange:
    """One factor now and before: at the account's last alert about a band, or its first with one.

    `None` on one side: no data then, so the contribution of that side is 0. `points_change` is what this factor itself
    moved the score by, None when there is nothing to compare with: no band yet, or a baseline of another model.
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


@dataclass(slots=True)
class Alert:
    """A band was entered or left, or a rule began to hold; `id` is stable, `seq` counts from 1 without gaps.

    `kind` is a band alert's kind or the name of the rule. `rule` names the rule that alerts or that forced the band.
    """

    id: str
    account: str
    seq: int
    kind: str
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
    suppressed: int = 0  # alerts held back since the last one sent
    rule: str | None = None


@dataclass(slots=True)
class ActionTaken:
    """What became of an action: applied, or refused for a reason; `seq` counts from 1 without gaps.

    `acted_ms` is when the person acted, `time_ms` the account's clock when it was applied.
    """

    account: str
    seq: int
    action_id: str
    source: str
    action: str
    actor: str
    acted_ms: int
    time_ms: int
    refusal: Refusal | None
    alert_seq: int | None
    alert_state: AlertState | None
    until_ms: int | None
    band: str | None
    reason: str | None
    sentiment: float | None
    note: str | None
