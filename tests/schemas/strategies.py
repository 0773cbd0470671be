"""Strategies for valid input events, written beside the models on purpose, so that neither follows the other."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from schemas.catalogue import INPUTS
from schemas.times import MIN_TIME_MS, time_text

LAST_MS = 1_800_000_000_000


def texts(max_size: int) -> st.SearchStrategy[str]:
    """Any text that can be written, without control characters."""
    characters = st.characters(codec="utf-8", exclude_characters=[chr(n) for n in [*range(32), 127]])
    return st.text(characters, min_size=1, max_size=max_size)


names = texts(40)
labels = texts(64)
minor_units = st.integers(0, 2**53 - 1)
currencies = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=3, max_size=3)
sentiments = st.floats(-1, 1)
times = st.integers(MIN_TIME_MS, LAST_MS).map(time_text)
tags = st.lists(labels, max_size=50)
alert_seqs = st.integers(1, 2**53 - 1)
notes = {"note": texts(200)}
invoices = {"amount_minor": minor_units, "invoice": names}


def fields(
    required: dict[str, st.SearchStrategy[Any]], optional: dict[str, st.SearchStrategy[Any]]
) -> st.SearchStrategy[dict[str, Any]]:
    """Make dictionaries whose optional fields may be missing or null."""
    return st.fixed_dictionaries(required, optional={name: st.none() | item for name, item in optional.items()})


tickets = {"severity": st.sampled_from(["low", "normal", "high", "urgent"]), "sentiment": sentiments}
ticket_data = st.builds(
    lambda data, given: {**data, **given},
    fields({"ticket": names}, tickets),
    st.fixed_dictionaries({}, optional={"tags": tags}),
)
amounts = {"currency": currencies}
DATA: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "login": fields({"user": names}, {"role": labels}),
    "feature_used": fields({"user": names, "feature": labels}, {"role": labels}),
    "session": fields({"user": names, "duration_seconds": st.floats(0, 86_400)}, {"role": labels}),
    "invoice_paid": fields(amounts, invoices),
    "payment_failed": fields(amounts, invoices),
    "invoice_overdue": fields({**amounts, "invoice": names}, {"amount_minor": minor_units, "due": times}),
    "subscription_changed": fields({"mrr_minor": minor_units, "currency": currencies}, {}),
    "purchase": fields(amounts, {"amount_minor": minor_units}),
    "ticket_opened": ticket_data,
    "ticket_updated": ticket_data,
    "ticket_solved": ticket_data,
    "survey_answered": fields(
        {
            "kind": st.sampled_from(["nps", "csat", "ces"]),
            "response": names,
            "score": st.floats(1, 5),
            "scale_min": st.floats(-1_000, 1),
            "scale_max": st.floats(5, 1_000),
        },
        {},
    ),
    "account_updated": fields(
        amounts,
        {
            "name": names,
            "tier": st.sampled_from(["high_touch", "low_touch"]),
            "mrr_minor": minor_units,
            "owner": names,
            "stage": st.sampled_from(["onboarding", "active", "renewal", "churned"]),
            "renewal": times,
            "key_users": st.lists(names, max_size=50),
            "csm_sentiment": sentiments,
        },
    ),
    "acknowledge_alert": fields({"actor": names, "alert_seq": alert_seqs}, notes),
    "snooze_alerts": fields({"actor": names, "until": times}, {**notes, "alert_seq": alert_seqs}),
    "resolve_alert": fields({"actor": names, "alert_seq": alert_seqs}, notes),
    "override_band": fields(
        {
            "actor": names,
            "band": st.sampled_from(["healthy", "at_risk", "endangered"]),
            "reason": names,
            "until": times,
        },
        notes,
    ),
    "set_sentiment": fields({"actor": names, "sentiment": sentiments}, notes),
    "add_note": fields({"actor": names, "note": texts(200)}, {}),
    "erase_account": fields({"actor": names, "reason": names}, {}),
}


@st.composite
def input_events(draw: st.DrawFn) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Draw a short name, its data, and the arguments of `encode_input` besides."""
    short = draw(st.sampled_from(sorted(INPUTS)))
    envelope = {
        "event_id": draw(names),
        "source": draw(names),
        "account": draw(texts(64)),
        "time_ms": draw(st.integers(MIN_TIME_MS, LAST_MS)),
    }
    return short, draw(DATA[short]), envelope
