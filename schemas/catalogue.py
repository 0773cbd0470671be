"""The one list of messages: short name, topic kind, current version, model. Whoever needs a message looks it up here.

A change that breaks readers or publishers is a new version beside the old one, never an edit of a released one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, TypeAlias, TypeVar, Union

from pydantic import BaseModel, Field, TypeAdapter, create_model

from schemas import actions, inputs, outputs
from schemas.envelope import InputData, InputEvent, OutputData, OutputEvent

InputKind: TypeAlias = Literal["usage", "payment", "ticket", "survey", "account", "action"]
OutputKind: TypeAlias = Literal["score", "alert", "audit", "dead_letter"]
INPUT_KINDS: Final[tuple[InputKind, ...]] = ("usage", "payment", "ticket", "survey", "account", "action")
TYPE_PATTERN: Final = re.compile(r"io\.vitals\.([a-z_]{1,64})\.v[0-9]{1,9}")


def type_name(short: str, version: int) -> str:
    """Return the CloudEvents `type` of a message version."""
    return f"io.vitals.{short}.v{version}"


@dataclass(frozen=True, slots=True)
class InputMessage:
    """An input event: where it is published and what it must look like."""

    short: str
    kind: InputKind
    version: int
    data: type[InputData]
    event: type[InputEvent[Any]]

    @property
    def type(self) -> str:
        """The CloudEvents `type`."""
        return type_name(self.short, self.version)


@dataclass(frozen=True, slots=True)
class OutputMessage:
    """An output: `event` is the whole value, or the dead letter's headers, which are no CloudEvent."""

    short: str
    kind: OutputKind
    version: int
    data: type[OutputData]
    event: type[BaseModel]

    @property
    def type(self) -> str:
        """The CloudEvents `type`."""
        return type_name(self.short, self.version)


ModelT = TypeVar("ModelT", bound=BaseModel)


def _named(base: type[ModelT], data: type[BaseModel], type_: str) -> type[ModelT]:
    """Make the event model whose `type` is exactly this one, so that a union of them tells events apart by it."""
    fields: dict[str, Any] = {"type": (Literal[type_], ...)}
    name = f"{data.__name__.removesuffix('Data')}Event"
    return create_model(name, __base__=base, __doc__=data.__doc__, **fields)


def _input(short: str, kind: InputKind, version: int, data: type[InputData]) -> InputMessage:
    base: type[InputEvent[Any]] = InputEvent.__class_getitem__(data)  # type: ignore[assignment]  # pydantic: a class
    return InputMessage(short, kind, version, data, _named(base, data, type_name(short, version)))


def _output(short: str, kind: OutputKind, version: int, data: type[OutputData]) -> OutputMessage:
    base: type[OutputEvent[Any]] = OutputEvent.__class_getitem__(data)  # type: ignore[assignment]  # pydantic: a class
    return OutputMessage(short, kind, version, data, _named(base, data, type_name(short, version)))


INPUTS: Final[dict[str, InputMessage]] = {
    message.short: message
    for message in (
        _input("login", "usage", 1, inputs.Login),
        _input("feature_used", "usage", 1, inputs.FeatureUsed),
        _input("session", "usage", 1, inputs.Session),
        _input("invoice_paid", "payment", 1, inputs.InvoicePaid),
        _input("payment_failed", "payment", 1, inputs.PaymentFailed),
        _input("invoice_overdue", "payment", 1, inputs.InvoiceOverdue),
        _input("subscription_changed", "payment", 1, inputs.SubscriptionChanged),
        _input("purchase", "payment", 1, inputs.Purchase),
        _input("ticket_opened", "ticket", 1, inputs.TicketOpened),
        _input("ticket_updated", "ticket", 1, inputs.TicketUpdated),
        _input("ticket_solved", "ticket", 1, inputs.TicketSolved),
        _input("survey_answered", "survey", 1, inputs.SurveyAnswered),
        _input("account_updated", "account", 1, inputs.AccountUpdated),
        _input("acknowledge_alert", "action", 1, actions.AcknowledgeAlert),
        _input("snooze_alerts", "action", 1, actions.SnoozeAlerts),
        _input("resolve_alert", "action", 1, actions.ResolveAlert),
        _input("override_band", "action", 1, actions.OverrideBand),
        _input("set_sentiment", "action", 1, actions.SetSentiment),
        _input("add_note", "action", 1, actions.AddNote),
        _input("erase_account", "action", 1, actions.EraseAccount),
    )
}
OUTPUTS: Final[dict[str, OutputMessage]] = {
    message.short: message
    for message in (
        _output("score", "score", 1, outputs.ScoreData),
        _output("alert", "alert", 1, outputs.AlertData),
        _output("rule_alert", "alert", 1, outputs.RuleAlertData),
        _output("action_taken", "audit", 1, outputs.ActionTakenData),
        _output("erasure_completed", "audit", 1, outputs.ErasureCompletedData),
        OutputMessage("dead_letter", "dead_letter", 1, outputs.DeadLetter, outputs.DeadLetter),
    )
}
INPUTS_BY_TYPE: Final = {message.type: message for message in INPUTS.values()}

_ANY_INPUT: Any = Annotated[
    Union[tuple(message.event for message in INPUTS.values())],  # noqa: UP007 - built from a tuple
    Field(discriminator="type"),
]
# One reader for every input event: it picks the model by `type` and validates in a single pass.
INPUT_READER: Final[TypeAdapter[InputEvent[Any]]] = TypeAdapter(_ANY_INPUT)
