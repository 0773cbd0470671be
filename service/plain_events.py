"""The short way to an event: one strict pass of msgspec, in a quarter of the time that the models take.

This module refuses nothing and explains nothing: None means that the decoder decides. It may be stricter than the
models, never laxer and never different; a test holds both ways to the same events. Bounds are taken from the models'
own JSON Schemas, so a message is described once. Messages with a rule that a schema cannot say, or with times in their
data, always go the long way, unless their rule stands in `_GUARDS`.

What a login of 280 bytes costs, of 1.3 us (two processors at 2 GHz; compare, do not take as given): the search for
escapes 0.05, msgspec 0.5, the time 0.2, the identity 0.1, the core's event 0.25.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from types import NoneType
from typing import Annotated, Any, Final, Literal, Union

import msgspec

from schemas.catalogue import INPUT_KINDS, INPUTS, InputMessage
from schemas.times import RFC3339_PATTERN, parse_time_ms
from service.core_events import BUILDERS, ID_SEPARATOR
from service.scoring.events import Event

_BACKSLASH: Final = 0x5C  # as numbers: one byte is found six times as fast as a string of one
_DELETE: Final = 0x7F
_ACCOUNT_MAX: Final = 64  # characters that take at most 256 bytes
_CONTROL_FREE: Final = r"^[^\x00-\x1f\x7f]*$"

_RFC3339: Final = re.compile(RFC3339_PATTERN)
_SECONDS: Final = {f"{second // 60:02d}:{second % 60:02d}": second * 1_000 for second in range(3_600)}
_MILLISECONDS: Final = {f".{millisecond:03d}Z": millisecond for millisecond in range(1_000)}
_TIMES_KEPT: Final = 100_000
_hours: dict[str, int] = {}
_whole_seconds: dict[str, int] = {}


def plain_event(kind: str | None, payload: bytes) -> Event | None:
    """Read a structured-mode event of a topic of this kind (None: of any kind); None when the decoder must decide.

    The payload may not be longer than a record may be; whether its time lies in the future is for the caller to see.
    """
    # Without escapes a string holds what it shows: no lone surrogate, no control character but DEL.
    if _BACKSLASH in payload or _DELETE in payload:
        return None
    try:
        event = _READERS[kind](payload)
        time = event.time
        second_ms = _whole_seconds.get(time[:19])
        if second_ms is None and (second_ms := _second_ms(time[:19])) is None:
            return None
        time_ms = second_ms + _MILLISECONDS[time[19:]]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, RecursionError):
        return None
    build, guard = _MADE_BY[event.__class__]
    data = event.data
    if guard is not None and not guard(data):
        return None
    return build(data, event.subject, f"{event.source}{ID_SEPARATOR}{event.id}", time_ms)


# -- times -----------------------------------------------------------------------------------------------


def _second_ms(text: str) -> int | None:
    """Read a time without its fraction and offset, as UTC; None when it is none."""
    hour_ms, second_ms = _hours.get(text[:14]) or _hour_ms(text[:14]), _SECONDS.get(text[14:])
    if hour_ms is None or second_ms is None:
        return None
    if len(_whole_seconds) >= _TIMES_KEPT:
        _whole_seconds.clear()
    _whole_seconds[text] = hour_ms + second_ms
    return hour_ms + second_ms


def _hour_ms(hour: str) -> int | None:
    text = hour + "00:00Z"
    if not _RFC3339.match(text):
        return None
    try:
        hour_ms = parse_time_ms(text)
    except ValueError:
        return None
    if len(_hours) < _TIMES_KEPT:  # eleven years
        _hours[hour] = hour_ms
    return hour_ms


# -- messages --------------------------------------------------------------------------------------------


def _has_currency(data: Any) -> bool:
    return data.amount_minor is None or data.currency is not None


_GUARDS: Final[dict[str, Callable[[Any], bool] | None]] = {
    "login": None,
    "feature_used": None,
    "session": None,
    "invoice_paid": _has_currency,
    "payment_failed": _has_currency,
    "purchase": _has_currency,
    "subscription_changed": None,
    "ticket_opened": None,
    "ticket_updated": None,
    "ticket_solved": None,
}
_ENVELOPE: Final[dict[str, Any]] = {
    "time": str,  # read by itself
    "subject": Annotated[str, msgspec.Meta(min_length=1, max_length=_ACCOUNT_MAX)],
    "datacontenttype": Literal["application/json"] | None,
}


def _struct(name: str, schema: dict[str, Any], given: dict[str, Any], tag: str | None = None) -> type[msgspec.Struct]:
    """Make the class of a JSON Schema's object; `given` types come before the schema's."""
    required: list[Any] = []
    optional: list[Any] = []
    for field, properties in schema["properties"].items():
        if tag is not None and field == "type":
            continue
        type_ = given[field] if field in given else _type_of(properties)
        if field in schema.get("required", ()):
            required.append((field, type_))
        else:
            default = properties["default"]
            optional.append((field, type_, tuple(default) if isinstance(default, list) else default))
    tagged: dict[str, Any] = {} if tag is None else {"tag": tag, "tag_field": "type"}
    return msgspec.defstruct(name, [*required, *optional], forbid_unknown_fields=True, gc=False, **tagged)


def _type_of(schema: dict[str, Any]) -> Any:
    """Give the type that takes what the schema takes, from payloads without control characters."""
    if "anyOf" in schema:
        return Union[tuple(_type_of(part) for part in schema["anyOf"])]  # noqa: UP007 - built from a tuple
    if "enum" in schema or "const" in schema:
        return Literal[tuple(schema.get("enum", [schema.get("const")]))]
    kind = schema["type"]
    if kind == "null":
        return NoneType
    if kind == "array":
        items: Any = tuple.__class_getitem__((_type_of(schema["items"]), ...))
        return Annotated[items, msgspec.Meta(max_length=schema["maxItems"])]
    if kind == "string":
        pattern = schema.get("pattern")
        limits = msgspec.Meta(
            min_length=schema.get("minLength"),
            max_length=schema.get("maxLength"),
            pattern=None if pattern == _CONTROL_FREE else pattern,
        )
        return Annotated[str, limits]
    number = {"integer": int, "number": float}[kind]
    return Annotated[number, msgspec.Meta(ge=schema["minimum"], le=schema["maximum"])]


def _event_struct(message: InputMessage) -> type[msgspec.Struct]:
    schema = message.event.model_json_schema()
    data = _struct(message.data.__name__, message.data.model_json_schema(), {})
    return _struct(message.event.__name__, schema, {**_ENVELOPE, "data": data}, message.type)


_STRUCTS: Final = {short: _event_struct(INPUTS[short]) for short in _GUARDS}
_MADE_BY: Final = {struct: (BUILDERS[INPUTS[short].type], _GUARDS[short]) for short, struct in _STRUCTS.items()}


def _reader(kind: str | None) -> Callable[[bytes], Any]:
    structs = tuple(struct for short, struct in _STRUCTS.items() if kind in {None, INPUTS[short].kind})
    if not structs:
        return _read_nothing
    return msgspec.json.Decoder(Union[structs]).decode  # noqa: UP007 - built from a tuple


def _read_nothing(_payload: bytes) -> Any:
    raise msgspec.DecodeError


_READERS: Final[dict[str | None, Callable[[bytes], Any]]] = {kind: _reader(kind) for kind in (None, *INPUT_KINDS)}
