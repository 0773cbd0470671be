"""The stored form of an account: one versioned, self-contained value of bytes, lossless.

Layout, little-endian, version 3: the fixed head (`_HEAD`), the applied offsets that there are, the login ring (half a
byte per day, one, or four, as the busiest day needs), the daily scores if there are any, the two generations of recent
event ids, the baseline, the users, and, only when the account has such parts, the rest as compact JSON to the end.
`next_due_ms` and `revision` stand at fixed places for all versions, so that they can be read alone. Most events change
nothing in the rest, so its bytes are kept beside the state (`AccountState.rest`) until something does.

An account that was ever acted on has version 4: the same layout, with the offset of the actions among those applied and
the actions in the rest, so that a release that knows of no actions refuses it, and no other. Older versions
are still read: 2, which kept users unsorted, and 1 (`state_codec_v1`).
"""

from __future__ import annotations

import json
import struct
from array import array
from dataclasses import astuple, fields
from math import isnan, nan
from typing import Any, Final

from service.errors import StateError
from service.scoring.acting import Acting
from service.scoring.people import KeyUser, sorted_users
from service.scoring.records import NEVER, Attributes, Invoice, SurveyAnswer, TicketRecord
from service.scoring.state import RING_DAYS, SCORE_DAYS, SOURCES, AccountState, More, Purchases
from service.scoring.state_codec_v1 import decode_v1
from service.scoring.views import ActionTaken, Alert, Band, FactorChange

VERSION: Final = 3
ACTED_VERSION: Final = 4

_READ_VERSIONS: Final = frozenset((1, 2, VERSION, ACTED_VERSION))
_ACTION_SOURCE: Final = SOURCES - 1
_USER_V2: Final = struct.Struct("<IH")  # hash of the name, latest day
_BANDS: Final[tuple[Band, ...]] = ("unknown", "healthy", "at_risk", "endangered")
_BAND_CODES: Final = {band: code for code, band in enumerate(_BANDS)}
_NO_DUE: Final = -(1 << 63)
_WIDE_RING: Final = 1  # flags: four bytes per day, half a byte per day, daily scores follow, changed by a model
_NARROW_RING: Final = 2
_HAS_SCORES: Final = 4
_MODEL_CHANGED: Final = 8
_MASK_BYTES: Final = 12  # 90 bits
_MARK_BYTES: Final = 8
_HALF: Final = 15

# version, flags, revision, next due (the part that peeks read) |
# band, computed, better and told band, applied sources, lengths of mark, recent_new, recent_old, baseline, users |
# clock, day, score, coverage, seq, score_seq | recent and previous logins, first and last login, first usage,
# first seen day, last usage, start of the id generation | mask of days, mark of the model
_HEAD: Final = struct.Struct(f"<BBQq BBBBBBHHHH qidd IQ IIiiii qq {_MASK_BYTES}s {_MARK_BYTES}s")
_PEEK: Final = struct.Struct("<BBQq")
_MARK_LENGTH_AT: Final = 9  # among the values of the head
_RING: Final = struct.Struct(f"<{RING_DAYS}I")
_SCORES: Final = struct.Struct(f"<{SCORE_DAYS}H")

_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
_from_json = json.JSONDecoder().decode


def encode(state: AccountState) -> bytes:
    """Store everything but the cache."""
    ring_flag, ring = _encode_ring(state.logins)
    flags = ring_flag | (_HAS_SCORES if state.scores is not None else 0) | (_MODEL_CHANGED * state.model_changed)
    applied = [(source, offset) for source, offset in enumerate(state.applied) if offset != NEVER]
    is_acted_on = state.acting is not None or state.applied[_ACTION_SOURCE] != NEVER
    head = _HEAD.pack(
        ACTED_VERSION if is_acted_on else VERSION,
        flags,
        state.revision,
        _NO_DUE if state.next_due_ms is None else state.next_due_ms,
        _BAND_CODES[state.band],
        _BAND_CODES[state.computed_band],
        _BAND_CODES[state.better_band],
        _BAND_CODES[state.told],
        sum(1 << source for source, _ in applied),
        len(state.model_mark),
        len(state.recent_new),
        len(state.recent_old),
        len(state.baseline),
        len(state.users),
        state.clock_ms,
        state.day,
        nan if state.score is None else state.score,
        state.coverage,
        state.seq,
        state.score_seq,
        state.recent_logins,
        state.previous_logins,
        state.first_login_day,
        state.last_login_day,
        state.first_usage_day,
        state.first_seen_day,
        state.last_usage_ms,
        state.recent_began_ms,
        state.active_mask.to_bytes(_MASK_BYTES, "little"),
        state.model_mark,
    )
    offsets = struct.pack(f"<{len(applied)}q", *(offset for _, offset in applied))
    scores = b"" if state.scores is None else _SCORES.pack(*state.scores)
    if state.rest is None:
        state.rest = _encode_rest(state)
    parts = (state.recent_new, state.recent_old, state.baseline, state.users, state.rest)
    return b"".join((head, offsets, ring, scores, *parts))


def decode(account: str, value: bytes) -> AccountState:
    """Rebuild the state of `account`; raises StateError when the value is newer than this version or damaged."""
    version = _check_version(account, value)
    state = AccountState(account)
    try:
        if version == 1:
            decode_v1(state, value)
            return state
        end = _decode_head(state, value)
        if version == 2:
            state.users = sorted_users(_USER_V2.iter_unpack(state.users))
        state.rest = value[end:]
        if state.rest:
            _decode_rest(state, _from_json(state.rest.decode()))
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


def peek_model_mark(value: bytes) -> bytes | None:
    """Read only the mark of the model that made the stored score; None when the value is of an older version."""
    if _check_version("?", value) not in {VERSION, ACTED_VERSION}:
        return None
    head = _HEAD.unpack_from(value)
    return bytes(head[-1][: head[_MARK_LENGTH_AT]])


def _check_version(account: str, value: bytes) -> int:
    if len(value) < _PEEK.size:
        raise StateError(
            f"state of account {account!r} is cut short at {len(value)} bytes; rebuild it from the input topics"
        )
    if value[0] not in _READ_VERSIONS:
        raise StateError(
            f"state of account {account!r} has version {value[0]}, this program reads 1 to {ACTED_VERSION};"
            " run the release that wrote it"
        )
    return value[0]


def _encode_ring(logins: array[int]) -> tuple[int, bytes]:
    if logins.typecode != "B":
        return _WIDE_RING, _RING.pack(*logins)
    ring = logins.tobytes()
    if max(ring) > _HALF:
        return 0, ring
    # The days with an even index in the low halves, the next ones in the high halves: one addition of whole numbers.
    low, high = int.from_bytes(ring[::2], "little"), int.from_bytes(ring[1::2], "little")
    return _NARROW_RING, (low | high << 4).to_bytes(RING_DAYS // 2, "little")


def _decode_ring(value: bytes, at: int, flags: int) -> tuple[array[int], int]:
    if flags & _WIDE_RING:
        return array("I", _RING.unpack_from(value, at)), at + _RING.size
    if not flags & _NARROW_RING:
        return array("B", _cut(value, at, RING_DAYS)), at + RING_DAYS
    packed = _cut(value, at, RING_DAYS // 2)
    ring = bytearray(RING_DAYS)
    ring[::2] = bytes(byte & _HALF for byte in packed)
    ring[1::2] = bytes(byte >> 4 for byte in packed)
    return array("B", ring), at + RING_DAYS // 2


def _cut(value: bytes, at: int, length: int) -> bytes:
    if at + length > len(value):
        raise ValueError("cut short")
    return value[at : at + length]


def _decode_head(state: AccountState, value: bytes) -> int:
    """Fill everything but the rest; returns where the rest begins."""
    (
        _version,
        flags,
        state.revision,
        due_ms,
        band,
        computed,
        better,
        told,
        sources,
        mark_length,
        *lengths,
        state.clock_ms,
        state.day,
        score,
        state.coverage,
        state.seq,
        state.score_seq,
        state.recent_logins,
        state.previous_logins,
        state.first_login_day,
        state.last_login_day,
        state.first_usage_day,
        state.first_seen_day,
        state.last_usage_ms,
        state.recent_began_ms,
        mask,
        mark,
    ) = _HEAD.unpack_from(value)
    state.next_due_ms = None if due_ms == _NO_DUE else due_ms
    state.band, state.computed_band, state.better_band = _BANDS[band], _BANDS[computed], _BANDS[better]
    state.told = _BANDS[told]
    state.score = None if isnan(score) else score
    state.active_mask = int.from_bytes(mask, "little")
    state.model_mark = mark[:mark_length]
    state.model_changed = bool(flags & _MODEL_CHANGED)
    at = _HEAD.size
    for source in range(SOURCES):
        if sources >> source & 1:
            (state.applied[source],) = struct.unpack_from("<q", value, at)
            at += 8
    state.logins, at = _decode_ring(value, at, flags)
    if flags & _HAS_SCORES:
        state.scores = array("H", _SCORES.unpack_from(value, at))
        at += _SCORES.size
    parts = []
    for length in lengths:
        parts.append(_cut(value, at, length))
        at += length
    state.recent_new, state.recent_old, state.baseline, state.users = parts
    return at


# -- the rest --------------------------------------------------------------------------------------------


def _encode_rest(state: AccountState) -> bytes:
    rest: dict[str, Any] = {}
    if state.attributes is not None:
        rest["a"] = state.attributes.to_row()
    if state.more is not None:
        rest["m"] = _encode_more(state.more)
    if state.told_ms:
        rest["l"] = dict(state.told_ms)
    if state.rules:
        rest["r"] = dict(state.rules)
    if state.suppressed:
        rest["n"] = state.suppressed
    if state.better_since_ms != NEVER:
        rest["b"] = state.better_since_ms
    if state.returned_ms != NEVER:
        rest["w"] = state.returned_ms
    if state.unsent:
        rest["u"] = [astuple(alert) for alert in state.unsent]
    if state.acting is not None:
        rest["o"] = _encode_acting(state.acting)
    return _to_json(rest).encode() if rest else b""


def _decode_rest(state: AccountState, rest: dict[str, Any]) -> None:
    if "a" in rest:
        state.attributes = Attributes.from_row(rest["a"])
    if "m" in rest:
        state.more = _decode_more(rest["m"])
    state.told_ms = rest.get("l", state.told_ms)
    state.rules = rest.get("r", state.rules)
    state.suppressed = rest.get("n", 0)
    state.better_since_ms = rest.get("b", NEVER)
    state.returned_ms = rest.get("w", NEVER)
    state.unsent = tuple(_decode_alert(row) for row in rest.get("u", ()))
    if "o" in rest:
        state.acting = _decode_acting(rest["o"])


def _encode_acting(acting: Acting) -> list[Any]:
    told = [astuple(taken) for taken in acting.unsent]
    return [acting.seq, acting.snoozed_ms, acting.snoozed_until_ms, dict(acting.alerts), acting.ids.hex(), told]


def _decode_acting(row: list[Any]) -> Acting:
    acting = Acting()
    acting.seq, acting.snoozed_ms, acting.snoozed_until_ms, alerts, ids, told = row
    if alerts:
        acting.alerts = {int(seq): mark for seq, mark in alerts.items()}
    acting.ids = bytes.fromhex(ids)
    acting.unsent = tuple(ActionTaken(*taken) for taken in told)
    return acting


def _encode_more(more: More) -> dict[str, Any]:
    parts: dict[str, Any] = {"h": more.has_features | more.has_payments << 1 | more.has_tickets << 2}
    if more.key_users:
        parts["k"] = {name: known and [*known[:2], f"{known.ring:x}"] for name, known in more.key_users.items()}
    if more.features:
        parts["e"] = dict(more.features)
    if more.failures:
        parts["f"] = list(more.failures.items())
    if more.invoices:
        parts["i"] = {key: _ages(invoice) for key, invoice in more.invoices.items()}
    if more.mrr_facts:
        parts["m"] = more.mrr_facts
    if more.tickets:
        parts["t"] = {key: ticket.to_row() for key, ticket in more.tickets.items()}
    if more.surveys:
        parts["s"] = dict(more.surveys)
    if more.purchases is not None:
        parts["p"] = [more.purchases.first_day, [[day, *entry] for day, entry in more.purchases.days.items()]]
    return parts


def _decode_more(parts: dict[str, Any]) -> More:
    more = More()
    more.has_features, more.has_payments, more.has_tickets = (bool(parts["h"] >> bit & 1) for bit in range(3))
    if "k" in parts:
        more.key_users = {name: row and KeyUser(row[0], row[1], int(row[2], 16)) for name, row in parts["k"].items()}
    more.features = parts.get("e", more.features)
    if "f" in parts:
        more.failures = {int(day): int(count) for day, count in parts["f"]}
    if "i" in parts:
        more.invoices = {key: _invoice(row) for key, row in parts["i"].items()}
    more.mrr_facts = tuple((time_ms, mrr) for time_ms, mrr in parts.get("m", ()))
    if "t" in parts:
        more.tickets = {key: TicketRecord.from_row(row) for key, row in parts["t"].items()}
    if "s" in parts:
        more.surveys = {key: SurveyAnswer(*row) for key, row in parts["s"].items()}
    if "p" in parts:
        more.purchases = Purchases()
        more.purchases.first_day = parts["p"][0]
        more.purchases.days = {day: (count, amounts) for day, count, amounts in parts["p"][1]}
    return more


def _ages(invoice: Invoice) -> list[int | None]:
    """List the latest news and the milliseconds before it of each time (null = never), without the nulls at the end."""
    last = invoice.last_ms
    ages = [None if time_ms == NEVER else last - time_ms for time_ms in invoice]
    while ages and ages[-1] is None:
        ages.pop()
    return [last, *ages]


def _invoice(row: list[int | None]) -> Invoice:
    last, *ages = row
    return Invoice(*(NEVER if age is None or last is None else last - age for age in ages))


_FACTORS_AT: Final = [field.name for field in fields(Alert)].index("factors")


def _decode_alert(row: list[Any]) -> Alert:
    at = _FACTORS_AT
    row[at] = tuple(FactorChange(*change) for change in row[at])
    return Alert(*row)
