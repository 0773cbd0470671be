"""The `data` of every input event. All amounts are in minor units (cents) of a stated currency; null means not known.

Once released, a message only grows: new fields are optional, bounds only widen (`schemas.compat` holds that).
"""

from __future__ import annotations

from typing import Final, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from schemas.envelope import InputData
from schemas.fields import (
    Currency,
    DurationSeconds,
    Identifier,
    KeyUsers,
    Label,
    MinorUnits,
    Name,
    ScaleValue,
    Sentiment,
    Tags,
    UtcTime,
)

Severity = Literal["low", "normal", "high", "urgent"]
NPS_SCALE: Final = (0.0, 10.0)


def _needs_currency(amount: str) -> JsonDict:
    """Say in JSON Schema what the validators say in code."""
    return {
        "if": {"required": [amount], "properties": {amount: {"type": "integer"}}},
        "then": {"required": ["currency"], "properties": {"currency": {"type": "string"}}},
    }


class Login(InputData):
    """A user logged in."""

    user: Identifier
    role: Label | None = None


class FeatureUsed(InputData):
    """A user used a feature of the product."""

    user: Identifier
    feature: Label
    role: Label | None = None


class Session(InputData):
    """A user's session ended; the event's time is its end."""

    user: Identifier
    duration_seconds: DurationSeconds
    role: Label | None = None


class _Amount(InputData):
    """An amount is optional, but it never stands without its currency."""

    model_config = ConfigDict(json_schema_extra=_needs_currency("amount_minor"))

    amount_minor: MinorUnits | None = None
    currency: Currency | None = None

    @model_validator(mode="after")
    def _has_currency(self) -> Self:
        if self.amount_minor is not None and self.currency is None:
            raise ValueError("amount_minor needs currency")
        return self


class InvoicePaid(_Amount):
    """An invoice was paid."""

    invoice: Identifier | None = None


class PaymentFailed(_Amount):
    """A charge was refused."""

    invoice: Identifier | None = None


class InvoiceOverdue(_Amount):
    """An invoice passed its due time unpaid."""

    invoice: Identifier
    due_ms: UtcTime | None = Field(default=None, alias="due")


class SubscriptionChanged(InputData):
    """The subscription has a new monthly recurring revenue; 0 when it was cancelled."""

    mrr_minor: MinorUnits
    currency: Currency


class Purchase(_Amount):
    """A purchase outside the subscription."""


class TicketOpened(InputData):
    """A support ticket was opened."""

    ticket: Identifier
    severity: Severity | None = None
    tags: Tags = ()
    sentiment: Sentiment | None = None


class TicketUpdated(TicketOpened):
    """A support ticket changed; what is left out is unchanged."""


class TicketSolved(TicketOpened):
    """A support ticket was solved."""


class SurveyAnswered(InputData):
    """A survey was answered, or its answer edited (same `response` again); higher is better on the stated scale."""

    kind: Literal["nps", "csat", "ces"]
    response: Identifier
    score: ScaleValue
    scale_min: ScaleValue | None = None
    scale_max: ScaleValue | None = None

    def scale(self) -> tuple[float, float]:
        """Return the least and the best possible score; NPS without a scale is 0 to 10."""
        if self.scale_min is not None and self.scale_max is not None:
            return self.scale_min, self.scale_max
        return NPS_SCALE

    @model_validator(mode="after")
    def _is_on_scale(self) -> Self:
        given = (self.scale_min is not None) + (self.scale_max is not None)
        if given == 1 or (given == 0 and self.kind != "nps"):
            raise ValueError("scale_min and scale_max are needed together (only nps may leave out both)")
        low, high = self.scale()
        if low >= high:
            raise ValueError("scale_min must be less than scale_max")
        if not low <= self.score <= high:
            raise ValueError("score must lie between scale_min and scale_max")
        return self


class AccountUpdated(InputData):
    """Facts about the account; what is left out, or null, is unchanged."""

    model_config = ConfigDict(json_schema_extra=_needs_currency("mrr_minor"))

    name: Name | None = None
    tier: Literal["high_touch", "low_touch"] | None = None
    mrr_minor: MinorUnits | None = None
    currency: Currency | None = None
    owner: Identifier | None = None
    stage: Literal["onboarding", "active", "renewal", "churned"] | None = None
    renewal_ms: UtcTime | None = Field(default=None, alias="renewal")
    key_users: KeyUsers | None = None
    csm_sentiment: Sentiment | None = None
    override_band: Literal["healthy", "at_risk", "endangered"] | None = None
    override_reason: Name | None = None
    override_until_ms: UtcTime | None = Field(default=None, alias="override_until")

    @model_validator(mode="after")
    def _has_currency(self) -> Self:
        if self.mrr_minor is not None and self.currency is None:
            raise ValueError("mrr_minor needs currency")
        return self

    @model_validator(mode="after")
    def _override_is_whole(self) -> Self:
        if len({self.override_band is None, self.override_reason is None, self.override_until_ms is None}) > 1:
            raise ValueError("override_band, override_reason and override_until are needed together")
        return self
