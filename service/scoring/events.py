"""The facts the core understands, already checked and translated from the wire.

Plain values only. Validation happens once, at the edge: numbers here are finite, strings are encodable as
UTF-8, `scale_min < scale_max`, sentiments lie in -1..1, times are epoch milliseconds (UTC) and not in the future.
`event_id` is the source and the id of the CloudEvent joined by the unit separator (U+001F).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

UsageAction: TypeAlias = Literal["login", "feature_used", "session"]
PaymentAction: TypeAlias = Literal[
    "invoice_paid", "payment_failed", "invoice_overdue", "subscription_changed", "purchase"
]
TicketAction: TypeAlias = Literal["opened", "updated", "solved"]
Severity: TypeAlias = Literal["low", "normal", "high", "urgent"]
SurveyKind: TypeAlias = Literal["nps", "csat", "ces"]
Tier: TypeAlias = Literal["high_touch", "low_touch"]
OverrideBand: TypeAlias = Literal["healthy", "at_risk", "endangered"]
ActionName: TypeAlias = Literal["acknowledge", "snooze", "resolve", "override", "sentiment", "note", "erase"]
Stage: TypeAlias = Literal["onboarding", "active", "renewal", "churned"]


@dataclass(slots=True)
class Usage:
    """Someone of the account used the product."""

    account: str
    event_id: str
    time_ms: int
    action: UsageAction
    user: str
    role: str | None = None
    feature: str | None = None
    duration_seconds: float | None = None


@dataclass(slots=True)
class Payment:
    """Money: an invoice, a charge, a purchase or a change of the subscription."""

    account: str
    event_id: str
    time_ms: int
    action: PaymentAction
    amount_minor: int | None = None
    currency: str | None = None
    invoice: str | None = None
    mrr_minor: int | None = None
    due_ms: int | None = None


@dataclass(slots=True)
class Ticket:
    """A support ticket was opened, updated or solved; `None` and no tags mean unchanged."""

    account: str
    event_id: str
    time_ms: int
    action: TicketAction
    ticket: str
    severity: Severity | None
    tags: tuple[str, ...] = ()
    sentiment: float | None = None


@dataclass(slots=True)
class Survey:
    """An answer on its own scale, higher is better; the same response id again is an edit."""

    account: str
    event_id: str
    time_ms: int
    kind: SurveyKind
    response: str
    score: float
    scale_min: float
    scale_max: float


@dataclass(slots=True)
class AccountUpdate:
    """Facts about the account itself; every `None` means unchanged. The three of an override come together."""

    account: str
    event_id: str
    time_ms: int
    name: str | None = None
    tier: Tier | None = None
    mrr_minor: int | None = None
    currency: str | None = None
    owner: str | None = None
    stage: Stage | None = None
    renewal_ms: int | None = None
    key_users: tuple[str, ...] | None = None
    csm_sentiment: float | None = None
    override_band: OverrideBand | None = None
    override_reason: str | None = None
    override_until_ms: int | None = None


@dataclass(slots=True)
class Action:
    """A person did something about the account or one of its alerts; what its kind does not need is `None`."""

    account: str
    event_id: str
    time_ms: int
    action: ActionName
    actor: str
    alert_seq: int | None = None
    until_ms: int | None = None
    band: OverrideBand | None = None
    reason: str | None = None
    sentiment: float | None = None
    note: str | None = None


Event: TypeAlias = Usage | Payment | Ticket | Survey | AccountUpdate | Action


def is_erasure(event: Event) -> bool:
    """Tell whether an event is a command to erase its account."""
    return type(event) is Action and event.action == "erase"
