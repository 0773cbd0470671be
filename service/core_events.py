"""From checked messages to the core's events, field by field; nothing is judged here.

The message may be a model of `schemas.inputs` or a plain reading of it (`service.plain_events`): both have its fields.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from schemas import actions
from schemas import inputs as wire
from schemas.catalogue import INPUTS
from service.scoring.events import AccountUpdate, Action, Event, Payment, Survey, Ticket, Usage

ID_SEPARATOR: Final = "\x1f"  # no id or source can hold it, so two different pairs never look alike


def _login(data: wire.Login, account: str, event_id: str, time_ms: int) -> Usage:
    return Usage(account, event_id, time_ms, "login", data.user, data.role)


def _feature_used(data: wire.FeatureUsed, account: str, event_id: str, time_ms: int) -> Usage:
    return Usage(account, event_id, time_ms, "feature_used", data.user, data.role, data.feature)


def _session(data: wire.Session, account: str, event_id: str, time_ms: int) -> Usage:
    return Usage(account, event_id, time_ms, "session", data.user, data.role, None, data.duration_seconds)


def _invoice_paid(data: wire.InvoicePaid, account: str, event_id: str, time_ms: int) -> Payment:
    return Payment(account, event_id, time_ms, "invoice_paid", data.amount_minor, data.currency, data.invoice)


def _payment_failed(data: wire.PaymentFailed, account: str, event_id: str, time_ms: int) -> Payment:
    return Payment(account, event_id, time_ms, "payment_failed", data.amount_minor, data.currency, data.invoice)


def _invoice_overdue(data: wire.InvoiceOverdue, account: str, event_id: str, time_ms: int) -> Payment:
    return Payment(
        account, event_id, time_ms, "invoice_overdue", data.amount_minor, data.currency, data.invoice, None, data.due_ms
    )


def _subscription_changed(data: wire.SubscriptionChanged, account: str, event_id: str, time_ms: int) -> Payment:
    return Payment(account, event_id, time_ms, "subscription_changed", None, data.currency, None, data.mrr_minor)


def _purchase(data: wire.Purchase, account: str, event_id: str, time_ms: int) -> Payment:
    return Payment(account, event_id, time_ms, "purchase", data.amount_minor, data.currency)


def _ticket_opened(data: wire.TicketOpened, account: str, event_id: str, time_ms: int) -> Ticket:
    return Ticket(account, event_id, time_ms, "opened", data.ticket, data.severity, data.tags, data.sentiment)


def _ticket_updated(data: wire.TicketUpdated, account: str, event_id: str, time_ms: int) -> Ticket:
    return Ticket(account, event_id, time_ms, "updated", data.ticket, data.severity, data.tags, data.sentiment)


def _ticket_solved(data: wire.TicketSolved, account: str, event_id: str, time_ms: int) -> Ticket:
    return Ticket(account, event_id, time_ms, "solved", data.ticket, data.severity, data.tags, data.sentiment)


def _survey_answered(data: wire.SurveyAnswered, account: str, event_id: str, time_ms: int) -> Survey:
    return Survey(account, event_id, time_ms, data.kind, data.response, data.score, *data.scale())


def _account_updated(data: wire.AccountUpdated, account: str, event_id: str, time_ms: int) -> AccountUpdate:
    return AccountUpdate(
        account,
        event_id,
        time_ms,
        name=data.name,
        tier=data.tier,
        mrr_minor=data.mrr_minor,
        currency=data.currency,
        owner=data.owner,
        stage=data.stage,
        renewal_ms=data.renewal_ms,
        key_users=data.key_users,
        csm_sentiment=data.csm_sentiment,
        override_band=data.override_band,
        override_reason=data.override_reason,
        override_until_ms=data.override_until_ms,
    )


def _acknowledge_alert(data: actions.AcknowledgeAlert, account: str, event_id: str, time_ms: int) -> Action:
    return Action(account, event_id, time_ms, "acknowledge", data.actor, data.alert_seq, note=data.note)


def _snooze_alerts(data: actions.SnoozeAlerts, account: str, event_id: str, time_ms: int) -> Action:
    return Action(account, event_id, time_ms, "snooze", data.actor, data.alert_seq, data.until_ms, note=data.note)


def _resolve_alert(data: actions.ResolveAlert, account: str, event_id: str, time_ms: int) -> Action:
    return Action(account, event_id, time_ms, "resolve", data.actor, data.alert_seq, note=data.note)


def _override_band(data: actions.OverrideBand, account: str, event_id: str, time_ms: int) -> Action:
    return Action(
        account,
        event_id,
        time_ms,
        "override",
        data.actor,
        until_ms=data.until_ms,
        band=data.band,
        reason=data.reason,
        note=data.note,
    )


def _set_sentiment(data: actions.SetSentiment, account: str, event_id: str, time_ms: int) -> Action:
    return Action(account, event_id, time_ms, "sentiment", data.actor, sentiment=data.sentiment, note=data.note)


def _add_note(data: actions.AddNote, account: str, event_id: str, time_ms: int) -> Action:
    return Action(account, event_id, time_ms, "note", data.actor, note=data.note)


def _erase_account(data: actions.EraseAccount, account: str, event_id: str, time_ms: int) -> Action:
    return Action(account, event_id, time_ms, "erase", data.actor, reason=data.reason)


# By event type: data, account, event id (source and id joined by the separator), time.
BUILDERS: Final[dict[str, Callable[[Any, str, str, int], Event]]] = {
    INPUTS[short].type: builder
    for short, builder in (
        ("login", _login),
        ("feature_used", _feature_used),
        ("session", _session),
        ("invoice_paid", _invoice_paid),
        ("payment_failed", _payment_failed),
        ("invoice_overdue", _invoice_overdue),
        ("subscription_changed", _subscription_changed),
        ("purchase", _purchase),
        ("ticket_opened", _ticket_opened),
        ("ticket_updated", _ticket_updated),
        ("ticket_solved", _ticket_solved),
        ("survey_answered", _survey_answered),
        ("account_updated", _account_updated),
        ("acknowledge_alert", _acknowledge_alert),
        ("snooze_alerts", _snooze_alerts),
        ("resolve_alert", _resolve_alert),
        ("override_band", _override_band),
        ("set_sentiment", _set_sentiment),
        ("add_note", _add_note),
        ("erase_account", _erase_account),
    )
}
