"""The stored form of an account: one versioned, self-contained value of bytes, lossless.

Layout, little-endian, version 1: the fixed head (`_HEAD`), the login ring (one byte per day, or four when a day
exceeds 255), the two generations of recent event ids, the baseline, and, only when the account has such parts, the
rest (tickets, invoices, surveys, failures, attributes, unsent alerts) as compact JSON to the end of the value.
`next_due_ms` and `revision` stand at fixed places for all versions, so that they can be read alone.
"""

from __future__ import annotations

import json
import struct
from array import array
from dataclasses import astuple
from math import isnan, nan
from typing import Any, Final

from service.errors import StateError
from service.scoring.records import Attributes, Invoice, SurveyAnswer, TicketRecord
from service.scoring.state import RING_DAYS, SOURCES, AccountState
from service.scoring.views import Alert, Band, FactorChange

VERSION: Final = 1

_BANDS: Final[tuple[Band, ...]] = ("unknown", "healthy", "at_risk", "endangered")
_BAND_CODES: Final = {band: code for code, band in enumerate(_BANDS)}
_NO_DUE: Final = -(1 << 63)
_WIDE_RING: Final = 1  # flag: four bytes per day
_MASK_BYTES: Final = 12  # 90 bits

# version, flags, revision, next due (the part that peeks read) |
# band, alarm, lengths of recent_new, recent_old, baseline |
# clock, day, score, coverage, seq, score_seq | recent and previous logins, first days, last times,
# start of the id generation | applied offsets | mask
_HEAD: Final = struct.Struct(f"<BBQq BBHHH qidd IQ IIii qqqq {SOURCES}q {_MASK_BYTES}s")
_PEEK: Final = struct.Struct("<BBQq")
_RING: Final = struct.Struct(f"<{RING_DAYS}I")

_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
_from_json = json.JSONDecoder().decode


def encode(state: AccountState) -> bytes:
    """Store everything but the cache."""
    logins = state.logins
    if logins.typecode == "B":
        flags, ring = 0, logins.tobytes()
    else:
        flags, ring = _WIDE_RING, _RING.pack(*logins)
    head = _HEAD.pack(
        VERSION,
        flags,
        state.revision,
        _NO_DUE if state.next_due_ms is None else state.next_due_ms,
        _BAND_CODES[state.band],
        _BAND_CODES[state.alarm],
        len(state.recent_new),
        len(state.recent_old),
        len(state.baseline),
        state.clock_ms,
        state.day,
        nan if state.score is None else state.score,
        state.coverage,
        state.seq,
        state.score_seq,
        state.recent_logins,
        state.previous_logins,
        state.first_login_day,
        state.first_usage_day,
        state.last_usage_ms,
        state.last_payment_ms,
        state.last_ticket_ms,
        state.recent_began_ms,
        *state.applied,
        state.active_mask.to_bytes(_MASK_BYTES, "little"),
    )
    return b"".join((head, ring, state.recent_new, state.recent_old, state.baseline, _encode_rest(state)))


def decode(account: str, value: bytes) -> AccountState:
    """Rebuild the state of `account`; raises StateError when the value is newer than this version or damaged."""
    _check_version(account, value)
    state = AccountState(account)
    try:
        end = _decode_head(state, value)
        if end < len(value):
            _decode_rest(state, _from_json(value[end:].decode()))
    except (struct.error, ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        raise StateError(
            f"state of account {account!r} is damaged ({error}); rebuild it from the input topics"
        ) from error
    return state


def peek_next_due(value: bytes) -> int | None:
    """Read only `next_due_ms` of a stored state."""
    _check_version("?", value)
    due_ms: int = _PEEK.unpack_from(value)[3]
    return None if due_ms == _NO_DUE else due_ms


def peek_revision(value: bytes) -> int:
    """Read only `revision` of a stored state."""
    _check_version("?", value)
    return int(_PEEK.unpack_from(value)[2])


def _check_version(account: str, value: bytes) -> None:
    if len(value) < _HEAD.size:
        raise StateError(
            f"state of account {account!r} is cut short at {len(value)} bytes; rebuild it from the input topics"
        )
    if value[0] != VERSION:
        raise StateError(
            f"state of account {account!r} has version {value[0]}, this program reads {VERSION};"
            " run the release that wrote it"
        )


def _decode_head(state: AccountState, value: bytes) -> int:
    """Fill everything but the rest; returns where the rest begins."""
    (
        _version,
        flags,
        state.revision,
        due_ms,
        band,
        alarm,
        new_length,
        old_length,
        baseline_length,
        state.clock_ms,
        state.day,
        score,
        state.coverage,
        state.seq,
        state.score_seq,
        state.recent_logins,
        state.previous_logins,
        state.first_login_day,
        state.first_usage_day,
        state.last_usage_ms,
        state.last_payment_ms,
        state.last_ticket_ms,
        state.recent_began_ms,
        *applied,
        mask,
    ) = _HEAD.unpack_from(value)
    state.next_due_ms = None if due_ms == _NO_DUE else due_ms
    state.band = _BANDS[band]
    state.alarm = _BANDS[alarm]
    state.score = None if isnan(score) else score
    state.applied = array("q", applied)
    state.active_mask = int.from_bytes(mask, "little")
    return _decode_parts(state, value, flags, (new_length, old_length, baseline_length))


def _decode_parts(state: AccountState, value: bytes, flags: int, lengths: tuple[int, int, int]) -> int:
    """Fill ring, recent ids and baseline, which follow the head; returns where they end."""
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
    state.recent_new = value[at:new_end]
    state.recent_old = value[new_end:old_end]
    state.baseline = value[old_end:end]
    return end


def _encode_rest(state: AccountState) -> bytes:
    rest: dict[str, Any] = {}
    if state.attributes is not None:
        rest["a"] = state.attributes.to_row()
    if state.tickets:
        rest["t"] = {key: ticket.to_row() for key, ticket in state.tickets.items()}
    if state.invoices:
        rest["i"] = state.invoices
    if state.surveys:
        rest["s"] = state.surveys
    if state.failures:
        rest["f"] = list(state.failures.items())
    if state.unsent:
        rest["u"] = [astuple(alert) for alert in state.unsent]
    return _to_json(rest).encode() if rest else b""


def _decode_rest(state: AccountState, rest: dict[str, Any]) -> None:
    if "a" in rest:
        state.attributes = Attributes.from_row(rest["a"])
    if "t" in rest:
        state.tickets = {key: TicketRecord.from_row(row) for key, row in rest["t"].items()}
    if "i" in rest:
        state.invoices = {key: Invoice(*row) for key, row in rest["i"].items()}
    if "s" in rest:
        state.surveys = {key: SurveyAnswer(*row) for key, row in rest["s"].items()}
    if "f" in rest:
        state.failures = dict(rest["f"])
    if "u" in rest:
        state.unsent = tuple(_decode_alert(row) for row in rest["u"])


def _decode_alert(row: list[Any]) -> Alert:
    row[-2] = tuple(FactorChange(*change) for change in row[-2])
    return Alert(*row)
