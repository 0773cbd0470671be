"""The `data` of every output event, and the dead letter's headers. Points are parts of the 0..100 score.

Fields mirror the core's views, so that a view validates as it is; only its times change their form.
Once released, a message keeps every field and only gains new ones.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Final, Literal

from pydantic import AliasChoices, Field

from schemas.envelope import OutputData
from schemas.fields import (
    AccountId,
    AlertSeq,
    Currency,
    Identifier,
    Label,
    MinorUnits,
    Name,
    Score,
    Sentence,
    Sentiment,
    Share,
    Source,
    UtcTime,
)
from schemas.times import parse_time_ms

Band = Literal["unknown", "healthy", "at_risk", "endangered"]
DeadLetterReason = Literal[
    "empty_value",
    "too_large",
    "not_json",
    "invalid_event",
    "unknown_type",
    "unknown_version",
    "missing_key",
    "key_mismatch",
    "future_time",
    "wrong_topic",
]
ActionName = Literal["acknowledge", "snooze", "resolve", "override", "sentiment", "note"]
ActionRefusal = Literal["unknown_alert", "old_alert", "resolved_alert", "superseded", "churned"]
ErasedStore = Literal["state", "changelog", "scores"]
ErasedFollower = Literal["alerts", "copy"]
DEAD_LETTER_PREFIX: Final = "dlq."
DETAIL_MAX_LENGTH: Final = 300
ATTEMPTS_HEADER: Final = DEAD_LETTER_PREFIX + "attempts"


class Factor(OutputData):
    """A factor of the score: `contribution` are its points, the contributions sum to the score."""

    name: Label
    label: Name
    value: float
    output: float
    weight: float
    contribution: float
    points_lost: float
    sentence: Sentence


class ScoreData(OutputData):
    """An account's score as of a time; `score` is null while no factor has data, `seq` grows with each change.

    `computed_band` is what the band would be without the override; `rules` are those that hold; `trend_7` and
    `trend_30` are points won or lost in so many days; `model_changed` marks a jump that a new model caused. Until
    `snoozed_until` no alert is raised; `csm_sentiment` is the last word of the account's manager, and when it was said.
    """

    account: AccountId
    seq: Annotated[int, Field(ge=0, validation_alias=AliasChoices("seq", "score_seq"))]
    as_of_ms: Annotated[UtcTime, Field(validation_alias=AliasChoices("as_of", "time_ms"), serialization_alias="as_of")]
    score: Score | None
    band: Band
    coverage: Share
    model_version: Label
    factors: tuple[Factor, ...]
    name: Name | None
    tier: Literal["high_touch", "low_touch"] | None
    mrr_minor: MinorUnits | None
    currency: Currency | None
    owner: Identifier | None
    stage: Literal["onboarding", "active", "renewal", "churned"] | None
    profile: Label | None = None
    computed_band: Band | None = None
    override_reason: Sentence | None = None
    override_until_ms: Annotated[
        UtcTime | None,
        Field(
            validation_alias=AliasChoices("override_until", "override_until_ms"), serialization_alias="override_until"
        ),
    ] = None
    rules: tuple[Label, ...] = ()
    trend_7: float | None = None
    trend_30: float | None = None
    model_changed: bool = False
    returned_ms: Annotated[
        UtcTime | None,
        Field(validation_alias=AliasChoices("returned_at", "returned_ms"), serialization_alias="returned_at"),
    ] = None
    snoozed_until_ms: Annotated[
        UtcTime | None,
        Field(validation_alias=AliasChoices("snoozed_until", "snoozed_until_ms"), serialization_alias="snoozed_until"),
    ] = None
    csm_sentiment: Sentiment | None = None
    csm_sentiment_ms: Annotated[
        UtcTime | None,
        Field(
            validation_alias=AliasChoices("csm_sentiment_at", "csm_sentiment_ms"),
            serialization_alias="csm_sentiment_at",
        ),
    ] = None


class FactorChange(OutputData):
    """A factor now and before: at the last alert, or at the first score with a band; null: no data then.

    `points_change` is what this factor itself moved the score by; the changes add up to the score's.
    """

    name: Label
    label: Name
    value: float | None
    value_before: float | None
    output: float | None
    output_before: float | None
    contribution: float
    contribution_before: float | None
    points_change: float | None
    sentence: Sentence


class AlertData(OutputData):
    """An account entered or left a band; `id` is stable, `seq` counts the account's alerts from 1 without gaps.

    `suppressed` counts alerts held back by a cool-down since the last one; `rule` is the rule that decided the band.
    """

    id: Identifier
    account: AccountId
    seq: Annotated[int, Field(ge=1)]
    kind: Literal["at_risk", "endangered", "recovered"]
    as_of_ms: Annotated[UtcTime, Field(validation_alias=AliasChoices("as_of", "time_ms"), serialization_alias="as_of")]
    band: Band
    previous_band: Band
    score: Score
    previous_score: Score | None
    coverage: Share
    model_version: Label
    name: Name | None
    mrr_minor: MinorUnits | None
    currency: Currency | None
    owner: Identifier | None
    factors: tuple[FactorChange, ...]
    sentence: Sentence
    suppressed: Annotated[int, Field(ge=0)] = 0
    rule: Label | None = None


class RuleAlertData(AlertData):
    """A rule of the model began to hold: like an alert, but `kind` is the rule's name; `seq` counts both alike."""

    kind: Label  # type: ignore[assignment]  # wider than a band's kinds, which is why it is another message


class ActionTakenData(OutputData):
    """What became of an action: `action_id` and `source` are those of its event, `acted_at` is the event's time.

    `seq` counts the account's actions from 1 without gaps. `refusal` tells why it changed nothing; null: it was
    applied, and `alert_state` is what the alert is since. The rest is what the action said.
    """

    account: AccountId
    seq: Annotated[int, Field(ge=1)]
    action_id: Identifier
    source: Source
    action: ActionName
    actor: Identifier
    acted_ms: Annotated[
        UtcTime, Field(validation_alias=AliasChoices("acted_at", "acted_ms"), serialization_alias="acted_at")
    ]
    as_of_ms: Annotated[UtcTime, Field(validation_alias=AliasChoices("as_of", "time_ms"), serialization_alias="as_of")]
    refusal: ActionRefusal | None = None
    alert_seq: AlertSeq | None = None
    alert_state: Literal["acknowledged", "snoozed", "resolved"] | None = None
    until_ms: Annotated[
        UtcTime | None, Field(validation_alias=AliasChoices("until", "until_ms"), serialization_alias="until")
    ] = None
    band: Literal["healthy", "at_risk", "endangered"] | None = None
    reason: Sentence | None = None
    sentiment: Sentiment | None = None
    note: Sentence | None = None


class ErasureCompletedData(OutputData):
    """An account is erased; it is named by the SHA-256 of its id alone. `seq` counts its erasures from 1.

    `stores` have acknowledged that nothing of it is left, `followers` remove it as they read that. Events of the
    account up to `as_of` are dropped from now on. `found` tells whether there was anything to erase.
    """

    account_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    seq: Annotated[int, Field(ge=1)]
    action_id: Identifier
    source: Source
    actor: Identifier
    reason: Name
    acted_ms: Annotated[
        UtcTime, Field(validation_alias=AliasChoices("acted_at", "acted_ms"), serialization_alias="acted_at")
    ]
    as_of_ms: Annotated[UtcTime, Field(validation_alias=AliasChoices("as_of", "time_ms"), serialization_alias="as_of")]
    found: bool
    stores: tuple[ErasedStore, ...]
    followers: tuple[ErasedFollower, ...]


class DeadLetter(OutputData):
    """Why a record was set aside and where it came from: the headers `dlq.<field>` beside the untouched record.

    `attempts` counts how often it was refused: 1 at first, one more each time that it fails again after a redrive.
    """

    reason: DeadLetterReason
    detail: Annotated[str, Field(max_length=DETAIL_MAX_LENGTH)]
    topic: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")]
    partition: Annotated[int, Field(ge=0)]
    offset: Annotated[int, Field(ge=0)]
    failed_at_ms: UtcTime = Field(alias="failed_at")
    app_version: Label
    attempts: Annotated[int, Field(ge=1)] = 1

    def to_headers(self) -> tuple[tuple[str, bytes], ...]:
        """Write the headers that are added to the record's own."""
        fields = self.model_dump(by_alias=True)
        return tuple((DEAD_LETTER_PREFIX + name, str(value).encode()) for name, value in fields.items())

    @classmethod
    def from_headers(cls, headers: Sequence[tuple[str, bytes]]) -> DeadLetter:
        """Read the headers back; the last of a name counts, as a record may fail again after it was redriven.

        Raises ValueError when they are not those of a dead letter.
        """
        found: dict[str, object] = {
            name.removeprefix(DEAD_LETTER_PREFIX): value.decode()
            for name, value in headers
            if name.startswith(DEAD_LETTER_PREFIX)
        }
        for name in ("partition", "offset"):
            found[name] = int(str(found.get(name, "")))
        if "attempts" in found:
            found["attempts"] = int(str(found["attempts"]))
        found["failed_at"] = parse_time_ms(str(found.get("failed_at", "")))
        return cls.model_validate(found, extra="ignore")


def failed_attempts(headers: Sequence[tuple[str, bytes | None]]) -> int:
    """Return how often a record was refused before, as the header of its redrive tells; 0 for any other record."""
    told = next((text for name, text in reversed(headers) if name == ATTEMPTS_HEADER), None) or b""
    return int(told) if re.fullmatch(rb"[0-9]{1,4}", told) else 0
