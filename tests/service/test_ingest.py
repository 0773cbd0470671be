"""The decoder: golden events, each kind of bad record with its reason, both content modes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from schemas.catalogue import INPUTS, InputMessage
from schemas.envelope import STRUCTURED_HEADERS
from schemas.times import parse_time_ms, time_text
from service.errors import RecordRejected
from service.ingest import FUTURE_TOLERANCE_MS, VALUE_MAX_BYTES, Decoder
from service.scoring.events import Usage
from tests.schemas.golden import INPUT_EXAMPLES, examples_of

NOW_MS = parse_time_ms("2027-01-01T00:00:00Z")
GOLDEN_CORE: dict[str, list[dict[str, Any]]] = json.loads(
    Path(__file__).with_name("golden_core_events.json").read_text(encoding="utf-8")
)
LOGIN = examples_of(INPUTS["login"])[0]
SURVEY = examples_of(INPUTS["survey_answered"])[0]
Headers = Sequence[tuple[str, bytes | None]]


def decoder() -> Decoder:
    return Decoder(lambda: NOW_MS)


def value(event: dict[str, Any] = LOGIN, **changes: Any) -> bytes:
    """Write an event with attributes changed; one set to ... is left out."""
    changed = {name: item for name, item in {**event, **changes}.items() if item is not ...}
    return json.dumps(changed).encode()


def with_data(event: dict[str, Any] = LOGIN, **changes: Any) -> bytes:
    """Write an event with fields of its data changed; one set to ... is left out."""
    data = {name: item for name, item in {**event["data"], **changes}.items() if item is not ...}
    return value(event, data=data)


def raw(text: str, event: dict[str, Any] = LOGIN) -> bytes:
    """Write an event with an ignored field `x` of its data that holds this text as it is."""
    return with_data(event, x="@").replace(b'"@"', text.encode("utf-8", "surrogatepass"))


def binary(event: dict[str, Any] = LOGIN, **changes: bytes | None) -> list[tuple[str, bytes | None]]:
    """Write the headers of an event in binary mode."""
    attributes = {name: str(item).encode() for name, item in event.items() if name not in {"data", "datacontenttype"}}
    return [("content-type", b"application/json"), *((f"ce_{k}", v) for k, v in {**attributes, **changes}.items())]


def rejected(
    payload: bytes | None, key: bytes | None = b"acme", headers: Headers = (), kind: str = "usage"
) -> RecordRejected:
    with pytest.raises(RecordRejected) as caught:
        decoder().decode(kind, key, payload, headers)
    assert len(caught.value.detail) <= 300
    assert caught.value.detail.isprintable()
    return caught.value


@pytest.mark.parametrize("message", INPUTS.values(), ids=lambda message: message.short)
def test_golden_events_are_read_as_ever(message: InputMessage) -> None:
    """Every stored example still becomes the very core event that was stored beside it, with and without its key."""
    read = []
    for example in examples_of(message):
        payload = orjson.dumps(example)
        event = decoder().decode(message.kind, example["subject"].encode(), payload, STRUCTURED_HEADERS)
        assert decoder().decode_value(None, payload) == event
        read.append({"class": type(event).__name__, **dataclasses.asdict(event)})
    assert json.loads(json.dumps(read)) == GOLDEN_CORE[f"{message.short}.v{message.version}"]


@pytest.mark.parametrize(("message", "example"), INPUT_EXAMPLES, ids=lambda item: getattr(item, "short", ""))
def test_binary_mode_is_read_alike(message: InputMessage, example: dict[str, Any]) -> None:
    """The same event in headers and value gives the same core event as in one JSON object."""
    key = example["subject"].encode()
    whole = decoder().decode(message.kind, key, orjson.dumps(example), ())
    assert decoder().decode(message.kind, key, orjson.dumps(example["data"]), binary(example)) == whole


BAD: list[tuple[str, bytes | None, str, str]] = [
    ("no value", None, "empty_value", "value"),
    ("empty value", b"", "empty_value", "value"),
    ("64 KiB and one byte", b"x" * (VALUE_MAX_BYTES + 1), "too_large", "value"),
    ("2 MB", with_data(x="y" * 2_000_000), "too_large", "value"),
    ("not JSON", b"hello", "not_json", "value"),
    ("bytes that are no text", b"\xff\xfe\x00", "not_json", "value"),
    ("cut off", value()[:-5], "not_json", "value"),
    ("trailing data", value() + b"{}", "not_json", "value"),
    ("byte order mark", b"\xef\xbb\xbf" + value(), "not_json", "value"),
    ("UTF-16", value().decode().encode("utf-16"), "not_json", "value"),
    ("bad UTF-8 in an ignored field", raw('"@"').replace(b"@", b"\xff", 2), "not_json", "value"),
    ("NaN in an ignored field", raw("NaN"), "not_json", "value"),
    ("NaN that a duplicate hides", raw('NaN, "x": 1'), "not_json", "value"),
    ("-Infinity in an ignored field", raw("[[-Infinity]]"), "not_json", "value"),
    ("1e400 in an ignored field", raw("1e400"), "not_json", "value"),
    ("1e400 deep in an ignored field", raw('{"y": [1, {"z": -1e400}]}'), "not_json", "value"),
    ("1e400 in an extension", value(traceparent="@").replace(b'"@"', b"1e400"), "not_json", "value"),
    ("NaN in a read field", with_data(SURVEY, score=float("nan")), "not_json", "value"),
    ("lone surrogate in an ignored field", raw(r'"\ud800"'), "not_json", "value"),
    ("lone low surrogate in an id", with_data(user="\udc00"), "not_json", "value"),
    ("raw lone surrogate", raw('"\ud800"'), "not_json", "value"),
    ("integer beyond 64 bits in an ignored field", raw(str(2**64)), "invalid_event", "value"),
    ("negative integer beyond 64 bits", raw(f"[{-(2**63) - 1}]"), "invalid_event", "value"),
    ("integer of 5000 digits", raw("9" * 5_000), "not_json", "value"),
    ("nested 250 deep", raw("[" * 250 + "]" * 250), "not_json", "value"),
    ("nested 2000 deep", raw("[" * 2_000 + "]" * 2_000), "not_json", "value"),
    ("nested 30000 deep", raw("[" * 30_000 + "]" * 30_000), "not_json", "value"),
    ("nested without end", b'{"a":' * 10_000, "not_json", "value"),
    ("a list", b"[]", "invalid_event", "value"),
    ("null", b"null", "invalid_event", "value"),
    ("a string", b'"NaN"', "invalid_event", "value"),
    ("no type", value(type=...), "invalid_event", "type"),
    ("type of another type", value(type=["io.vitals.login.v1"]), "invalid_event", "type"),
    ("unknown type", value(type="io.vitals.logout.v1"), "unknown_type", "type"),
    ("foreign type", value(type="com.example.login.v1"), "unknown_type", "type"),
    ("type without version", value(type="io.vitals.login"), "unknown_type", "type"),
    ("type in capitals", value(type="IO.VITALS.LOGIN.V1"), "unknown_type", "type"),
    ("unknown version", value(type="io.vitals.login.v2"), "unknown_version", "type"),
    ("unknown version of an output", value(type="io.vitals.score.v7"), "unknown_version", "type"),
    ("event of another topic", value(SURVEY), "wrong_topic", "type"),
    ("broken event of another topic", value(SURVEY, data=1), "wrong_topic", "type"),
    ("output on an input topic", value(type="io.vitals.score.v1"), "wrong_topic", "type"),
    ("CloudEvents 0.3", value(specversion="0.3"), "invalid_event", "specversion"),
    ("version as a number", value(specversion=1.0), "invalid_event", "specversion"),
    ("no id", value(id=...), "invalid_event", "id"),
    ("empty id", value(id=""), "invalid_event", "id"),
    ("id as a number", value(id=7), "invalid_event", "id"),
    ("long id", value(id="i" * 257), "invalid_event", "id"),
    ("separator in the source", value(source="a\x1fb"), "invalid_event", "source"),
    ("no subject", value(subject=...), "invalid_event", "subject"),
    ("line break in the subject", value(subject="ac\nme"), "invalid_event", "subject"),
    ("NUL in a user", with_data(user="a\x00"), "invalid_event", "data.user"),
    ("data is XML", value(datacontenttype="text/xml"), "invalid_event", "datacontenttype"),
    ("no data", value(data=...), "invalid_event", "data"),
    ("null data", value(data=None), "invalid_event", "data"),
    ("data in Base64", value(data=..., data_base64="e30="), "invalid_event", "data"),
    ("no user", with_data(user=...), "invalid_event", "data.user"),
    ("user as a number", with_data(user=5), "invalid_event", "data.user"),
    ("user as a list", with_data(user=["a"]), "invalid_event", "data.user"),
    ("no time", value(time=...), "invalid_event", "time"),
    ("naive time", value(time="2026-03-02T08:15:30"), "invalid_event", "time"),
    ("date only", value(time="2026-03-02"), "invalid_event", "time"),
    ("epoch seconds", value(time=1_772_439_330), "invalid_event", "time"),
    ("epoch seconds in text", value(time="1772439330"), "invalid_event", "time"),
    ("time with a space", value(time="2026-03-02 08:15:30Z"), "invalid_event", "time"),
    ("day that does not exist", value(time="2026-02-30T08:15:30Z"), "invalid_event", "time"),
    ("24:00", value(time="2026-02-20T24:00:00Z"), "invalid_event", "time"),
    ("year 1", value(time="0001-01-01T00:00:00+23:59"), "invalid_event", "time"),
    ("year 9999", value(time="9999-12-31T23:59:59-23:59"), "invalid_event", "time"),
    ("year 2100", value(time="2100-01-01T00:00:00Z"), "invalid_event", "time"),
    ("far future", value(time="2031-01-01T00:00:00Z"), "future_time", "time"),
    ("just too far ahead", value(time=time_text(NOW_MS + FUTURE_TOLERANCE_MS + 1)), "future_time", "time"),
]


@pytest.mark.parametrize(("payload", "reason", "place"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_bad_value_is_rejected(payload: bytes | None, reason: str, place: str) -> None:
    """Every bad value is refused with its reason, and the detail begins with the place."""
    found = rejected(payload)
    assert (found.reason, found.detail.split(": ")[0]) == (reason, place)


BAD_DATA: list[tuple[str, dict[str, Any], str]] = [
    ("session", {"duration_seconds": "60"}, "data.duration_seconds"),
    ("session", {"duration_seconds": True}, "data.duration_seconds"),
    ("session", {"duration_seconds": -1}, "data.duration_seconds"),
    ("session", {"duration_seconds": 1e300}, "data.duration_seconds"),
    ("purchase", {"amount_minor": -1}, "data.amount_minor"),
    ("purchase", {"amount_minor": 2**53}, "data.amount_minor"),
    ("purchase", {"amount_minor": 2**70}, "data.amount_minor"),
    ("purchase", {"amount_minor": 10.5}, "data.amount_minor"),
    ("purchase", {"amount_minor": 10.0}, "data.amount_minor"),
    ("purchase", {"amount_minor": "10"}, "data.amount_minor"),
    ("purchase", {"currency": "eur"}, "data.currency"),
    ("purchase", {"currency": "EURO"}, "data.currency"),
    ("purchase", {"currency": ...}, "data"),
    ("subscription_changed", {"mrr_minor": -1}, "data.mrr_minor"),
    ("subscription_changed", {"mrr_minor": ...}, "data.mrr_minor"),
    ("account_updated", {"currency": ...}, "data"),
    ("account_updated", {"tier": "gold"}, "data.tier"),
    ("account_updated", {"key_users": ["u"] * 51}, "data.key_users"),
    ("account_updated", {"renewal": "2026-12-31"}, "data.renewal"),
    ("invoice_overdue", {"due": "2026-12-31T00:00:00"}, "data.due"),
    ("ticket_opened", {"severity": "blocker"}, "data.severity"),
    ("ticket_opened", {"tags": ["t"] * 51}, "data.tags"),
    ("ticket_opened", {"tags": "bug"}, "data.tags"),
    ("ticket_opened", {"tags": ["bug", ""]}, "data.tags.1"),
    ("ticket_opened", {"sentiment": 1.01}, "data.sentiment"),
    ("survey_answered", {"score": 6}, "data"),
    ("survey_answered", {"score": "4"}, "data.score"),
    ("survey_answered", {"score": 10**30}, "data.score"),
    ("survey_answered", {"scale_min": 5, "scale_max": 5}, "data"),
    ("survey_answered", {"scale_max": ...}, "data"),
    ("survey_answered", {"scale_min": ..., "scale_max": ...}, "data"),
    ("survey_answered", {"kind": "nps", "scale_max": ...}, "data"),
]


@pytest.mark.parametrize(("short", "changes", "place"), BAD_DATA, ids=str)
def test_bad_data_is_rejected(short: str, changes: dict[str, Any], place: str) -> None:
    """A field of a wrong type or out of its range is refused, and named."""
    message = INPUTS[short]
    found = rejected(with_data(examples_of(message)[0], **changes), kind=message.kind)
    assert (found.reason, found.detail.split(": ")[0]) == ("invalid_event", place)


BAD_RECORDS: list[tuple[str, bytes, bytes | None, Headers, str]] = [
    ("no key", value(), None, (), "missing_key"),
    ("empty key", value(), b"", (), "missing_key"),
    ("key of another account", value(), b"other", (), "key_mismatch"),
    ("key that is no text", value(), b"\xff", (), "key_mismatch"),
    ("long key", value(subject="k" * 257), b"k" * 257, (), "too_large"),
    ("65 headers", value(), b"acme", [("h", b"")] * 65, "too_large"),
    ("8 KiB of headers", value(), b"acme", [("h", b"x" * 8_192)], "too_large"),
    ("binary, no subject", b"{}", b"acme", binary(subject=None), "invalid_event"),
    ("binary, version 0.3", b"{}", b"acme", binary(specversion=b"0.3"), "invalid_event"),
    ("binary, header twice", b"{}", b"acme", [*binary(), ("CE_id", b"2")], "invalid_event"),
    ("binary, header no text", b"{}", b"acme", binary(id=b"\xff"), "invalid_event"),
    ("binary, naive time", b"{}", b"acme", binary(time=b"2026-03-02T08:15:30"), "invalid_event"),
    ("binary, data not JSON", b"user=ada", b"acme", binary(), "not_json"),
    ("binary, data a list", b"[]", b"acme", binary(), "invalid_event"),
    ("binary, smuggled subject", b'{"user":"a"},"subject":"other"', b"other", binary(), "not_json"),
    ("binary, whole event inside", value(), b"acme", binary(), "invalid_event"),
    ("binary, Avro", b"{}", b"acme", [*binary()[1:], ("content-type", b"application/avro")], "invalid_event"),
    ("structured, but Avro", b"\x00\x01", b"acme", [("content-type", b"application/cloudevents+avro")], "not_json"),
    (
        "batch",
        b"[" + value() + b"]",
        b"acme",
        [("content-type", b"application/cloudevents-batch+json")],
        "invalid_event",
    ),
]


@pytest.mark.parametrize(
    ("payload", "key", "headers", "reason"), [case[1:] for case in BAD_RECORDS], ids=[case[0] for case in BAD_RECORDS]
)
def test_bad_record_is_rejected(payload: bytes, key: bytes | None, headers: Headers, reason: str) -> None:
    """A record whose key or headers are wrong is refused with its reason."""
    assert rejected(payload, key, headers).reason == reason


@pytest.mark.parametrize(
    "headers",
    [
        (),
        STRUCTURED_HEADERS,
        [("Content-Type", b"APPLICATION/CloudEvents+JSON")],
        [("content-type", b"application/json")],
        [("trace", None), ("other", b"\xff")],
        [*STRUCTURED_HEADERS, *binary(id=b"another")[1:]],
    ],
    ids=["none", "ours", "any case", "plain JSON", "foreign", "structured wins"],
)
def test_value_is_the_whole_event_unless_headers_say_binary(headers: Headers) -> None:
    """Structured mode is recognised by its content type; without CloudEvents headers it is assumed."""
    event = decoder().decode("usage", b"acme", value(), headers)
    assert isinstance(event, Usage)
    assert event.event_id == f"{LOGIN['source']}\x1f{LOGIN['id']}"


def test_limits_are_inclusive() -> None:
    """Exactly 64 KiB, exactly 256 bytes of key and exactly five minutes ahead are still read."""
    account = "ü" * 128
    payload = value(subject=account, time=time_text(NOW_MS + FUTURE_TOLERANCE_MS), data={"user": "a", "x": ""})
    payload = payload.replace(b'"x": ""', b'"x": "' + b"y" * (VALUE_MAX_BYTES - len(payload)) + b'"')
    assert len(payload) == VALUE_MAX_BYTES
    assert decoder().decode("usage", account.encode(), payload, ()).time_ms == NOW_MS + FUTURE_TOLERANCE_MS


def test_account_id_is_limited_in_bytes_without_a_key_too() -> None:
    """An account id of 256 characters but more bytes is refused when there is no key to measure."""
    with pytest.raises(RecordRejected, match="invalid_event: subject"):
        decoder().decode_value("usage", value(subject="ü" * 129))


def test_unknown_fields_are_ignored_and_counted_by_type() -> None:
    """Fields of a newer publisher do no harm and are counted; CloudEvents extensions are not counted."""
    reader = decoder()
    plain = reader.decode("usage", b"acme", value(), ())
    newer = value(
        traceparent="00-1", dataschema="https://x/y", data={**LOGIN["data"], "ip": "::1", "n": [2**64 - 1, 0.5]}
    )
    assert reader.decode("usage", b"acme", newer, ()) == plain
    assert reader.decode_value(None, newer) == plain
    reader.decode_value(None, with_data(SURVEY, comment="NaN and Infinity are only words here"))
    assert reader.unknown_fields == {"login": 4, "survey_answered": 1}


def test_any_kind_reads_every_topic() -> None:
    """Without a kind, as on the re-keyed topic, every input event is read and outputs are still refused."""
    for _, example in INPUT_EXAMPLES:
        assert (
            decoder().decode(None, example["subject"].encode(), orjson.dumps(example), ()).account == example["subject"]
        )
    with pytest.raises(RecordRejected, match="wrong_topic"):
        decoder().decode(None, b"acme", value(type="io.vitals.alert.v1"), ())


def test_detail_never_shows_the_payload() -> None:
    """What a publisher sent is personal data: the detail tells place and expectation only."""
    private = "ada-lovelace"
    odd_field: dict[str, Any] = {private: 2**70}
    for payload in (
        with_data(user=private + "\n"),
        value(time=private),
        value(type=private),
        value(type=f"io.vitals.{private}.v1"),
        value(specversion=private),
        value(**odd_field),
        with_data(**odd_field),
        private.encode(),
        b'{"a": ' + private.encode(),
        value(subject=private),
    ):
        assert private not in rejected(payload).detail
