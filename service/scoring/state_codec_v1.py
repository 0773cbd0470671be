"""Reads the stored form of the release before, version 1, so that an upgrade keeps every account.

Nothing writes it any more. What version 1 did not keep (users, daily scores, features) begins with the upgrade.
"""

from __future__ import annotations

import json
import struct
from array import array
from math import isnan
from sys import intern
from typing import Any, Final

from service.scoring.people import MAX_KEY_USERS
from service.scoring.records import NEVER, STATUS_OPEN, Attributes, Invoice, SurveyAnswer, TicketRecord
from service.scoring.state import DAY_MS, RING_DAYS, SOURCES, AccountState, More
from service.scoring.views import Alert, Band, FactorChange

_SOURCES: Final = 6  # that version knew of no others
_BANDS: Final[tuple[Band, ...]] = ("unknown", "healthy", "at_risk", "endangered")
_NO_DUE: Final = -(1 << 63)
_WIDE_RING: Final = 1
_FINGERPRINT_BYTES: Final = 8
_FIELDS: Final = Attributes.FIELDS[:9]
_HEAD: Final = struct.Struct(f"<BBQq BBHHH qidd IQ IIii qqqq {_SOURCES}q 12s")
_RING: Final = struct.Struct(f"<{RING_DAYS}I")


def decode_v1(state: AccountState, value: bytes) -> None:
    """Fill the new `state` from a value of version 1; damage raises what reading it raises."""
    head = _HEAD.unpack_from(value)
    flags, state.revision, due_ms, band, alarm = head[1:6]
    state.clock_ms, state.day, score, state.coverage, state.seq, state.score_seq = head[9:15]
    state.recent_logins, state.previous_logins, state.first_login_day, state.first_usage_day = head[15:19]
    state.last_usage_ms, last_payment_ms, last_ticket_ms, state.recent_began_ms = head[19:23]
    state.applied = array("q", [*head[23 : 23 + _SOURCES], *[NEVER] * (SOURCES - _SOURCES)])
    state.next_due_ms = None if due_ms == _NO_DUE else due_ms
    state.band = state.computed_band = _BANDS[band]
    state.told = _BANDS[alarm]
    state.score = None if isnan(score) else score
    at = _decode_parts(state, value, flags, head[6:9])
    # Bits were counted from the account's day, now from the day of the latest usage.
    silence = max(0, state.day - state.last_usage_ms // DAY_MS) if state.last_usage_ms != NEVER else 0
    state.active_mask = int.from_bytes(head[-1], "little") >> silence
    state.first_seen_day = state.first_usage_day if state.first_usage_day != NEVER else state.day
    if last_payment_ms != NEVER or last_ticket_ms != NEVER:
        state.more = More()
        state.more.has_payments, state.more.has_tickets = last_payment_ms != NEVER, last_ticket_ms != NEVER
    if at < len(value):
        _decode_rest(state, json.loads(value[at:]))


def _decode_parts(state: AccountState, value: bytes, flags: int, lengths: tuple[int, int, int]) -> int:
    """Fill ring, recent ids and the mark of the model; returns where the rest begins."""
    at = _HEAD.size
    if flags & _WIDE_RING:
        state.logins = array("I", _RING.unpack_from(value, at))
        at += _RING.size
    else:
        state.logins = array("B", value[at : at + RING_DAYS])
        at += RING_DAYS
    new_end = at + lengths[0]
    old_end = new_end + lengths[1]
    end = old_end + lengths[2]
    if end > len(value):
        raise ValueError("cut short")
    state.recent_new, state.recent_old = value[at:new_end], value[new_end:old_end]
    if state.score is not None:  # any mark that no model has tells that another one made the score
        state.model_mark = value[old_end : old_end + _FINGERPRINT_BYTES] or bytes(_FINGERPRINT_BYTES)
    logged_in = (day for day in range(state.day, state.day - RING_DAYS, -1) if state.logins[day % RING_DAYS])
    state.last_login_day = next(logged_in, state.first_login_day)
    return end


def _decode_rest(state: AccountState, rest: dict[str, Any]) -> None:
    if "a" in rest:
        state.attributes = _attributes(rest["a"])
        if state.attributes.key_users:
            state.more = state.more or More()
            state.more.key_users = dict.fromkeys(state.attributes.key_users[:MAX_KEY_USERS])
    if "u" in rest:
        state.unsent = tuple(_alert(row) for row in rest["u"])
    if not rest.keys() & {"t", "i", "s", "f"}:
        return
    more = state.more = state.more or More()
    more.tickets = {key: _ticket(row) for key, row in rest.get("t", {}).items()}
    more.invoices = {key: _invoice(*row) for key, row in rest.get("i", {}).items()}
    more.surveys = {key: SurveyAnswer(*row) for key, row in rest.get("s", {}).items()}
    more.failures = {int(day): int(count) for day, count in rest.get("f", [])}


def _attributes(row: list[Any]) -> Attributes:
    attributes = Attributes()
    *values, latest, ages = row
    for field, value, age in zip(_FIELDS, values, ages, strict=True):
        if age is not None:
            attributes.offer(field, tuple(value) if isinstance(value, list) else value, latest - age)
    return attributes


def _invoice(last_ms: int, paid: bool, since_ms: int) -> Invoice:  # the fields of a stored row
    return Invoice(paid_ms=last_ms) if paid else Invoice(overdue_ms=last_ms, since_ms=since_ms)


def _ticket(row: list[Any]) -> TicketRecord:
    record = TicketRecord()
    last, record.status, status, record.severity, severity, tags, tagged, record.sentiment, felt = row
    record.last_ms, record.status_ms, record.severity_ms = last, last - status, last - severity
    record.tags, record.tags_ms, record.sentiment_ms = tuple(map(intern, tags)), last - tagged, last - felt
    record.is_opening_known = record.status == STATUS_OPEN
    record.first_ms = record.status_ms if record.is_opening_known else last
    return record


def _alert(row: list[Any]) -> Alert:
    row[-2] = tuple(FactorChange(*change) for change in row[-2])
    return Alert(*row)
