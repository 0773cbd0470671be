"""The `data` of every action: what a person did about an account or one of its alerts, with who did it.

An alert is named by its `alert_seq`, its number among the account's own. The CloudEvent's `id` is the idempotency key
of the action and its `time` when the person acted. Once released, an action only grows, like every input.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from schemas.envelope import InputData
from schemas.fields import AlertSeq, Identifier, Name, Sentence, Sentiment, UtcTime


class _Action(InputData):
    """Who acted, and what they want to be remembered with it."""

    actor: Identifier
    note: Sentence | None = None


class AcknowledgeAlert(_Action):
    """Someone saw an alert and takes care of it."""

    alert_seq: AlertSeq


class SnoozeAlerts(_Action):
    """The account is to raise no alert until then; a time that is past ends an earlier snooze."""

    until_ms: UtcTime = Field(alias="until")
    alert_seq: AlertSeq | None = None


class ResolveAlert(_Action):
    """What an alert was about is dealt with."""

    alert_seq: AlertSeq


class OverrideBand(_Action):
    """The band is set by hand until then; a time that is past ends an earlier override."""

    band: Literal["healthy", "at_risk", "endangered"]
    reason: Name
    until_ms: UtcTime = Field(alias="until")


class SetSentiment(_Action):
    """How the customer success manager feels about the account."""

    sentiment: Sentiment


class AddNote(_Action):
    """Something to remember about the account."""

    note: Sentence


class EraseAccount(InputData):
    """Everything that is kept of the account is to be removed; `reason` stays in the audit, so it names no person."""

    actor: Identifier
    reason: Name
