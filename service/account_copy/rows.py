"""What of a score, an alert or a stored state goes into the copy: the row that scripts read, and the data itself.

Messages are ours, but the topic may hold what others wrote: whatever is not a whole message of ours, under its own
key, is refused with ValueError and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeAlias

import cramjam
import msgspec
from msgspec import Meta, Raw, Struct

from schemas.catalogue import OUTPUTS
from schemas.fields import ACCOUNT_MAX
from schemas.times import parse_time_ms
from service.account_copy.layout import BANDS, DAY_MS
from service.account_topics import digest_key

FACTOR_POINTS_MIN: Final = 5.0  # a factor that costs less is not among an account's factors to filter by
NAME_WORDS_MAX: Final = 3
WORD_MAX: Final = 64
_AT_RISK: Final = frozenset({"at_risk", "endangered"})
_NO_TREND: Final = "-101"  # below the worst that a trend can sort as

_Text = Annotated[str, Meta(min_length=1, max_length=256)]
_Name = Annotated[str, Meta(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]*$")]  # NUL ends words
_Account = Annotated[str, Meta(min_length=1, max_length=ACCOUNT_MAX, pattern=r"^[^\x00-\x1f\x7f]*$")]
_Points = Annotated[float, Meta(ge=0, le=100)]
_Share = Annotated[float, Meta(ge=0, le=1)]
_Count = Annotated[int, Meta(ge=0, le=2**53 - 1)]


class _Event(Struct):
    type: str
    data: Raw


class _Factor(Struct):
    name: _Text
    points_lost: float


class _Score(Struct):
    account: _Account
    seq: _Count
    as_of: str
    score: _Points | None
    band: Literal["unknown", "healthy", "at_risk", "endangered"]
    coverage: _Share
    model_version: _Text
    factors: list[_Factor]
    name: _Name | None = None
    tier: Literal["high_touch", "low_touch"] | None = None
    mrr_minor: _Count | None = None
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$")] | None = None
    owner: _Name | None = None
    stage: Literal["onboarding", "active", "renewal", "churned"] | None = None
    trend_7: float | None = None
    model_changed: bool = False


class _Alert(Struct):
    account: _Account
    seq: Annotated[int, Meta(ge=1, le=2**53 - 1)]
    kind: _Text
    as_of: str
    band: Literal["unknown", "healthy", "at_risk", "endangered"]
    owner: _Name | None = None


class _Action(Struct):
    account: _Account
    seq: Annotated[int, Meta(ge=1, le=2**53 - 1)]
    action: Literal["acknowledge", "snooze", "resolve", "override", "sentiment", "note"]
    as_of: str
    refusal: _Text | None = None
    alert_seq: Annotated[int, Meta(ge=1, le=2**53 - 1)] | None = None
    alert_state: Literal["acknowledged", "snoozed", "resolved"] | None = None
    until: str | None = None


class _Erasure(Struct):
    account_sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class Item(NamedTuple):
    """One record as the scripts take it: the row as MessagePack, the packed data, and the model that made the score."""

    row: bytes
    data: bytes
    model_version: str = ""


_SCORE_TYPE: Final = OUTPUTS["score"].type
_ALERT_TYPES: Final = frozenset({OUTPUTS["alert"].type, OUTPUTS["rule_alert"].type})
_ACTION_TYPE: Final = OUTPUTS["action_taken"].type
_ERASURE_TYPE: Final = OUTPUTS["erasure_completed"].type
_read_event = msgspec.json.Decoder(_Event).decode
_read_score = msgspec.json.Decoder(_Score).decode
_read_alert = msgspec.json.Decoder(_Alert).decode
_read_action = msgspec.json.Decoder(_Action).decode
_read_erasure = msgspec.json.Decoder(_Erasure).decode
_write = msgspec.msgpack.Encoder().encode
read_row = msgspec.msgpack.Decoder().decode


def score_item(key: bytes | None, value: bytes | None, offset: int, departed_seconds: int) -> Item:
    """Make the item of a score or, of a record without a value, of an account that is erased. Raises ValueError.

    A churned account is kept for `departed_seconds`, outside the indexes and counts.
    """
    if value is None:
        return Item(_write({"a": _account_of(key), "o": offset}), b"")
    event = _read_event(value)
    if event.type != _SCORE_TYPE:
        raise ValueError(f"not a score: {event.type[:80]}")
    score = _read_score(event.data)
    if key != score.account.encode():
        raise ValueError("a score under another key")
    row = _row(score, offset)
    if score.stage == "churned":
        row["z"] = departed_seconds
    return Item(_write(row), pack(bytes(event.data)), score.model_version)


def alert_item(key: bytes | None, value: bytes | None, offset: int) -> Item:
    """Make the item of an alert or, of a record without a value, of an account that is erased. Raises ValueError."""
    if value is None:
        return Item(_write({"a": _account_of(key), "o": offset}), b"")
    event = _read_event(value)
    if event.type not in _ALERT_TYPES:
        raise ValueError(f"not an alert: {event.type[:80]}")
    alert = _read_alert(event.data)
    if key != alert.account.encode():
        raise ValueError("an alert under another key")
    head = {
        "a": alert.account,
        "o": offset,
        "q": alert.seq,
        "t": parse_time_ms(alert.as_of),
        "k": alert.kind,
        "b": alert.band,
        "u": alert.owner,
    }
    return Item(_write(head), pack(bytes(event.data)))


def action_item(key: bytes | None, value: bytes | None, offset: int) -> Item:
    """Make the item of what became of an action, or of an erasure, which names its account by a digest.

    Raises ValueError.
    """
    event = _read_event(value or b"")
    if event.type == _ERASURE_TYPE:
        digest = _read_erasure(event.data).account_sha256
        if key != digest.encode():
            raise ValueError("an erasure under another key")
        return Item(_write({"x": digest, "o": offset}), b"")
    if event.type != _ACTION_TYPE:
        raise ValueError(f"not an action: {event.type[:80]}")
    action = _read_action(event.data)
    if key != action.account.encode():
        raise ValueError("an action under another key")
    head: dict[str, Any] = {
        "a": action.account,
        "x": digest_key(action.account).decode(),
        "o": offset,
        "q": action.seq,
        "t": parse_time_ms(action.as_of),
        "k": action.action,
    }
    if action.alert_seq is not None:
        head["l"] = action.alert_seq
        if action.alert_state is not None:
            head["m"] = action.alert_state
    if action.action == "snooze" and action.refusal is None and action.until is not None:
        head["e"] = parse_time_ms(action.until)
    return Item(_write(head), pack(bytes(event.data)))


# Reads epoch, revision and encoded state of a record of the changelog; None for one that is no account's.
ReadState: TypeAlias = Callable[[bytes, bytes], tuple[int, int, bytes] | None]


def state_item(key: bytes | None, value: bytes | None, offset: int, read_state: ReadState) -> Item | None:
    """Make the item of a stored state, or of its tombstone; None for a record of the worker's own.

    Raises ValueError, and what `read_state` raises for a format that it does not know.
    """
    if value is None:
        return Item(_write({"a": _account_of(key), "o": offset}), b"")
    found = read_state(key or b"", value)
    if found is None:
        return None
    epoch, revision, stored = found
    return Item(_write({"a": _account_of(key), "o": offset, "e": epoch, "r": revision}), stored)


def _row(score: _Score, offset: int) -> dict[str, Any]:
    as_of_ms = parse_time_ms(score.as_of)
    mrr = score.mrr_minor or 0
    sets = [f"band:{score.band}", f"tier:{score.tier or 'none'}"]
    if score.owner:
        sets.append("owner:" + score.owner)
    sets += ["factor:" + factor.name for factor in score.factors if factor.points_lost >= FACTOR_POINTS_MIN]
    points = "" if score.score is None else round(score.score * 100)
    changed = {"y": 1} if score.model_changed else {}
    return changed | {
        "a": score.account,
        "q": score.seq,
        "o": offset,
        "b": score.band,
        "s": score.score,
        "n": as_of_ms,
        "g": f"{score.band}|{score.tier or 'none'}|{score.currency or ''}",
        "m": mrr,
        "c": round(score.coverage * 10_000),
        "i": sets,
        "w": words_of(score.account, score.name),
        # As Redis reads them: it would write out a number of Lua first, with all its digits.
        "r": "-1" if score.score is None else f"{100 - score.score:.4f}",
        "x": str(mrr) if score.band in _AT_RISK else "0",
        "t": _NO_TREND if score.trend_7 is None else f"{-score.trend_7:.4f}",
        "d": as_of_ms // DAY_MS,
        "h": f"{points}:{BANDS.index(score.band)}",
        "v": score.model_version,
    }


def words_of(account: str, name: str | None) -> list[str]:
    """List what an account is found by: the start of its id, and of the first words of its name."""
    words = (name or "").casefold().split()[:NAME_WORDS_MAX]
    starts = [" ".join(words[index:]) for index in range(len(words))]
    return list(dict.fromkeys(word[:WORD_MAX] for word in [account.casefold(), *starts]))


def _account_of(key: bytes | None) -> str:
    account = (key or b"").decode()
    if not account or len(account) > ACCOUNT_MAX:
        raise ValueError("a record without an account")
    return account


def pack(data: bytes) -> bytes:
    """Compress data for the copy."""
    return bytes(cramjam.lz4.compress_block(data))  # a sixth of Zstandard's time, for half as many bytes again


def unpack(packed: bytes) -> bytes:
    """Return the data that was packed."""
    return bytes(cramjam.lz4.decompress_block(packed))
