"""From a Kafka record to a core event, or to a reason why not: the only reader of untrusted input.

Good records take one pass: parse and validate together, then copy to the core's own class; plain events have a
shorter way (`service.plain_events`). Only a record that fails is looked at again, to say why. Nothing here writes, logs
or counts accounts; details never carry payload text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any, Final

import orjson
from pydantic import ValidationError

from schemas.catalogue import INPUT_READER, INPUTS, INPUTS_BY_TYPE, OUTPUTS, TYPE_PATTERN
from schemas.envelope import STRUCTURED_HEADERS, InputEvent
from schemas.fields import ACCOUNT_MAX_BYTES
from schemas.outputs import DETAIL_MAX_LENGTH
from service.core_events import BUILDERS, ID_SEPARATOR
from service.errors import RecordRejected
from service.plain_events import plain_event
from service.scoring.events import Event

VALUE_MAX_BYTES: Final = 64 * 1024
HEADERS_MAX_BYTES: Final = 8 * 1024
HEADERS_MAX_COUNT: Final = 64
FUTURE_TOLERANCE_MS: Final = 5 * 60 * 1_000
# Context attributes that binary mode carries in headers; `datacontenttype` travels as `content-type`.
BINARY_ATTRIBUTES: Final = frozenset({"specversion", "id", "source", "type", "subject", "time"})


class Decoder:
    """Decodes records; `now_ms` is the wall clock and `unknown_fields` counts ignored fields by event type."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._accepted_ms = 0  # no event up to here lies in the future; the clock is asked for later ones only
        self._read = INPUT_READER.validator.validate_json
        self.unknown_fields: dict[str, int] = {}

    def decode(
        self, kind: str | None, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes | None]]
    ) -> Event:
        """Decode a record of a topic of this kind (None: of any kind); raises RecordRejected."""
        if value and key and not headers and len(value) <= VALUE_MAX_BYTES:
            plain = self._plain(kind, value)
            if plain is not None and key == plain.account.encode():
                return plain
        return self._decode(kind, key, value, headers)

    def _decode(
        self, kind: str | None, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes | None]]
    ) -> Event:
        payload = _payload(value)
        if not key:
            raise RecordRejected("missing_key", "key: expected the account id in UTF-8")
        if len(key) > ACCOUNT_MAX_BYTES:
            raise RecordRejected("too_large", f"key: expected at most {ACCOUNT_MAX_BYTES} bytes")
        if headers and (len(headers) > 1 or headers[0] != STRUCTURED_HEADERS[0]):
            payload = _structured(payload, headers)
        plain = self._plain(kind, payload)
        if plain is not None and key == plain.account.encode():
            return plain
        event = self._validated(kind, payload)
        if key != event.subject.encode():
            raise RecordRejected("key_mismatch", "key: expected the same account id as the event's subject")
        return self._core_event(event)

    def decode_value(self, kind: str | None, value: bytes | None) -> Event:
        """Decode a structured event without key and headers, such as a line of a file; raises RecordRejected."""
        payload = _payload(value)
        plain = self._plain(kind, payload)
        if plain is not None:
            return plain
        event = self._validated(kind, payload)
        if len(event.subject.encode()) > ACCOUNT_MAX_BYTES:
            raise RecordRejected("invalid_event", f"subject: expected at most {ACCOUNT_MAX_BYTES} bytes in UTF-8")
        return self._core_event(event)

    def is_future(self, time_ms: int) -> bool:
        """Tell whether an event of this time would be refused as one from the future."""
        if time_ms <= self._accepted_ms:
            return False
        self._accepted_ms = self._now_ms() + FUTURE_TOLERANCE_MS
        return time_ms > self._accepted_ms

    def _plain(self, kind: str | None, payload: bytes) -> Event | None:
        """Take the short way when it leads there; whatever is odd, also in time or topic, goes the long way."""
        plain = plain_event(kind, payload)
        if plain is None or (plain.time_ms > self._accepted_ms and self.is_future(plain.time_ms)):
            return None
        return plain

    def _validated(self, kind: str | None, payload: bytes) -> InputEvent[Any]:
        # `N` and `I` are rare in events, and one byte is found much faster than a word.
        if (b"N" in payload and b"NaN" in payload) or (b"I" in payload and b"Infinity" in payload):
            _parsed(payload)
        try:
            event: InputEvent[Any] = self._read(payload)
        except ValidationError:
            raise _explained(kind, payload) from None
        message = INPUTS_BY_TYPE[event.type]
        if kind is not None and message.kind != kind:
            raise _wrong_topic(message.kind)
        if event.__pydantic_extra__ or event.data.__pydantic_extra__:
            _refuse_odd_numbers(event, payload)
        if self.is_future(event.time_ms):
            raise RecordRejected("future_time", "time: expected at most 5 minutes after the time of reading")
        return event

    def _core_event(self, event: InputEvent[Any]) -> Event:
        type_ = event.type
        unknown = event.data.__pydantic_extra__
        if unknown:
            short = INPUTS_BY_TYPE[type_].short
            self.unknown_fields[short] = self.unknown_fields.get(short, 0) + len(unknown)
        return BUILDERS[type_](event.data, event.subject, event.source + ID_SEPARATOR + event.id, event.time_ms)


# -- the record ------------------------------------------------------------------------------------------


def _payload(value: bytes | None) -> bytes:
    if not value:
        raise RecordRejected("empty_value", "value: expected a CloudEvent")
    if len(value) > VALUE_MAX_BYTES:
        raise RecordRejected("too_large", f"value: expected at most {VALUE_MAX_BYTES} bytes")
    return value


def _structured(value: bytes, headers: Sequence[tuple[str, bytes | None]]) -> bytes:
    """Return the whole event as JSON, whichever content mode it came in."""
    if len(headers) > HEADERS_MAX_COUNT:
        raise RecordRejected("too_large", f"headers: expected at most {HEADERS_MAX_COUNT}")
    size_bytes = 0
    content_type: bytes | None = None
    attributes: dict[str, bytes | None] = {}
    for name, text in headers:
        size_bytes += len(name) + len(text or b"")
        lower = name.lower()
        if lower == "content-type":
            content_type = text
        elif lower.startswith("ce_"):
            if lower in attributes:
                raise RecordRejected("invalid_event", "headers: expected each ce_ header once")
            attributes[lower] = text
    if size_bytes > HEADERS_MAX_BYTES:
        raise RecordRejected("too_large", f"headers: expected at most {HEADERS_MAX_BYTES} bytes")
    if "ce_specversion" not in attributes or (content_type or b"").lower().startswith(b"application/cloudevents"):
        return value
    return _joined(value, attributes, content_type)


def _joined(data: bytes, headers: Mapping[str, bytes | None], content_type: bytes | None) -> bytes:
    """Put a binary-mode event into the structured form, so that one reader serves both modes."""
    _parsed(data)  # it must be one whole JSON value, or it could smuggle in attributes of its own
    attributes: dict[str, str] = {}
    try:
        for name in BINARY_ATTRIBUTES:
            text = headers.get("ce_" + name)
            if text is not None:
                attributes[name] = text.decode()
        if content_type is not None:
            attributes["datacontenttype"] = content_type.decode()
    except UnicodeDecodeError:
        raise RecordRejected("invalid_event", "headers: expected CloudEvents attributes in UTF-8") from None
    return orjson.dumps(attributes)[:-1] + b',"data":' + data + b"}"


# -- why not ---------------------------------------------------------------------------------------------


def _parsed(payload: bytes) -> Any:
    """Parse strictly: RFC 8259 in UTF-8, without NaN, infinities, overflowing numbers and lone surrogates."""
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise RecordRejected(
            "not_json", _detail("value", f"expected strict JSON, {error.msg}, at {error.pos}")
        ) from None


def _explained(kind: str | None, payload: bytes) -> RecordRejected:
    """Say why a payload could not be read: what it claims to be comes before what is wrong inside."""
    document = _parsed(payload)
    if not isinstance(document, dict):
        return RecordRejected("invalid_event", "value: expected a JSON object")
    claimed = document.get("type")
    if not isinstance(claimed, str):
        return RecordRejected("invalid_event", "type: expected a string, such as io.vitals.login.v1")
    message = INPUTS_BY_TYPE.get(claimed)
    if message is None:
        return _not_an_input(claimed)
    if kind is not None and message.kind != kind:
        return _wrong_topic(message.kind)
    try:
        message.event.__pydantic_validator__.validate_json(payload)
    except ValidationError as invalid:
        first = invalid.errors(include_url=False, include_context=False, include_input=False)[0]
        if first["type"] == "json_invalid":  # what the strict parser lets pass: nesting beyond 200 levels
            return RecordRejected("not_json", _detail("value", first["msg"]))
        path = ".".join(str(part) for part in first["loc"]) or "value"
        return RecordRejected("invalid_event", _detail(path, first["msg"].removeprefix("Value error, ")))
    raise AssertionError("the reader of all types and the reader of one type differ")


def _not_an_input(claimed: str) -> RecordRejected:
    match = TYPE_PATTERN.fullmatch(claimed)
    short = match[1] if match else ""
    message = INPUTS.get(short) or OUTPUTS.get(short)
    if message is None:
        return RecordRejected(
            "unknown_type", "type: expected io.vitals.<event>.v<version> of an event that is documented"
        )
    if claimed != message.type:
        return RecordRejected("unknown_version", f"type: expected {message.type}, the version read here")
    return _wrong_topic(message.kind)


def _wrong_topic(kind: str) -> RecordRejected:
    return RecordRejected("wrong_topic", f"type: expected on the topic of kind {kind}")


def _refuse_odd_numbers(event: InputEvent[Any], payload: bytes) -> None:
    """Hold ignored fields to the same rule as read ones: every number is finite and fits 64 bits."""
    rest: list[Any] = [event.__pydantic_extra__, event.data.__pydantic_extra__]
    while rest:
        value = rest.pop()
        if isinstance(value, dict):
            rest.extend(value.values())
        elif isinstance(value, list):
            rest.extend(value)
        elif isinstance(value, float) and not isfinite(value):
            _parsed(payload)
        elif isinstance(value, int) and not -(2**63) <= value < 2**64:
            raise RecordRejected(
                "invalid_event", "value: expected whole numbers of at most 64 bits, also in ignored fields"
            )


def _detail(path: str, text: str) -> str:
    """Join place and expectation, printable and short whatever they hold."""
    printable = "".join(character if character.isprintable() else "?" for character in f"{path}: {text}")
    return printable[:DETAIL_MAX_LENGTH]
