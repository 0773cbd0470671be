"""The decoder under any input: it reads what is valid in both modes, and refuses all else in one way only."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, get_args

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.catalogue import INPUTS
from schemas.codec import encode_input
from schemas.outputs import DeadLetterReason
from schemas.times import parse_time_ms, time_text
from service.errors import RecordRejected
from service.ingest import Decoder
from service.scoring.events import Event
from tests.schemas.golden import INPUT_EXAMPLES
from tests.schemas.strategies import LAST_MS, input_events

REASONS = get_args(DeadLetterReason)
DECODER = Decoder(lambda: LAST_MS)
KINDS = st.sampled_from([None, "usage", "payment", "ticket", "survey", "account", "action"])
WORDS = [
    "NaN",
    "-Infinity",
    "1e400",
    "9" * 30,
    '"\\ud800"',
    "[" * 300,
    "null",
    "-1",
    '"\\u0000"',
    '""',
    "{}",
    "[[]]",
    "tru",
]
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
)
# Time fields have a name of their own in the core; every other field keeps the wire's.
RENAMED = {"due": "due_ms", "renewal": "renewal_ms", "until": "until_ms"}


def decoded_or_reason(
    kind: str | None, key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]]
) -> Event | str:
    """Decode; any exception but a well-formed refusal fails the test."""
    try:
        return DECODER.decode(kind, key, value, headers)
    except RecordRejected as caught:
        refusal = caught
    assert refusal.reason in REASONS
    assert 0 < len(refusal.detail) <= 300
    assert refusal.detail.isprintable()
    return refusal.reason


@settings(max_examples=400, deadline=None)
@given(input_events())
def test_valid_events_survive_both_modes(drawn: tuple[str, dict[str, Any], dict[str, Any]]) -> None:
    """What a publisher encodes is what the core gets, field by field, in structured and in binary mode."""
    short, data, envelope = drawn
    value = encode_input(short, data, **envelope)
    kind, key = INPUTS[short].kind, envelope["account"].encode()
    event = DECODER.decode(kind, key, value, ())
    assert (event.account, event.time_ms) == (envelope["account"], envelope["time_ms"])
    assert event.event_id == f"{envelope['source']}\x1f{envelope['event_id']}"
    fields = dataclasses.asdict(event)
    for name, sent in data.items():
        got = fields[RENAMED.get(name, name)]
        expected = parse_time_ms(sent) if name in RENAMED and sent is not None else sent
        assert (list(got) if isinstance(got, tuple) else got) == expected
    whole = orjson.loads(value)
    headers = [
        (f"ce_{name}", str(item).encode()) for name, item in whole.items() if name not in {"data", "datacontenttype"}
    ]
    assert DECODER.decode(kind, key, orjson.dumps(data), headers) == event


@settings(max_examples=1_500, deadline=None)
@given(st.data())
def test_mutated_events_are_read_or_refused(data: st.DataObject) -> None:
    """An event with fields dropped, retyped or replaced by dangerous text never raises anything but a refusal."""
    _, example = data.draw(st.sampled_from(INPUT_EXAMPLES))
    event = {**example, "data": dict(example["data"])}
    for _ in range(data.draw(st.integers(1, 3))):
        part = event["data"] if isinstance(event.get("data"), dict) and data.draw(st.booleans()) else event
        name = data.draw(st.sampled_from([*sorted(part), "x"]))
        if data.draw(st.booleans()):
            part.pop(name, None)
        else:
            part[name] = data.draw(VALUES | st.just("@@"))
    text = json.dumps(event).replace('"@@"', data.draw(st.sampled_from(WORDS)))
    key = data.draw(st.sampled_from([example["subject"].encode(), b"x", b"", None]))
    decoded_or_reason(data.draw(KINDS), key, text.encode("utf-8", "surrogatepass"), [])


@settings(max_examples=600, deadline=None)
@given(st.data())
def test_damaged_bytes_are_read_or_refused(data: st.DataObject) -> None:
    """A valid value with bytes cut out or put in anywhere never raises anything but a refusal."""
    message, example = data.draw(st.sampled_from(INPUT_EXAMPLES))
    value = orjson.dumps(example)
    start = data.draw(st.integers(0, len(value)))
    end = data.draw(st.integers(start, min(len(value), start + 8)))
    damaged = value[:start] + data.draw(st.binary(max_size=8)) + value[end:]
    decoded_or_reason(message.kind, example["subject"].encode(), damaged, [])


@settings(max_examples=600, deadline=None)
@given(
    KINDS,
    st.none() | st.binary(max_size=20),
    st.none() | st.binary(max_size=200),
    st.lists(
        st.tuples(
            st.sampled_from(["content-type", "ce_specversion", "ce_id", "ce_type", "CE_TIME", "ce_data"]) | st.text(),
            st.none()
            | st.binary(max_size=30)
            | st.sampled_from([b"1.0", b"io.vitals.login.v1", b"application/cloudevents"]),
        ),
        max_size=8,
    ),
)
def test_arbitrary_bytes_are_refused(
    kind: str | None, key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]]
) -> None:
    """Bytes that nobody meant as an event are refused, whatever key and headers come with them."""
    assert isinstance(decoded_or_reason(kind, key, value, headers), str)


@settings(max_examples=500, deadline=None)
@given(st.integers(946_684_800_000, 4_102_444_799_999), st.text("0123456789", max_size=9))
def test_times_are_exact_to_the_millisecond(time_ms: int, finer: str) -> None:
    """Every millisecond survives text and back, and digits beyond it are cut off, not rounded."""
    text = time_text(time_ms)
    assert parse_time_ms(text) == time_ms
    assert parse_time_ms(text.replace("Z", finer + "Z")) == time_ms
    assert parse_time_ms(text.replace("Z", finer + "+00:00")) == time_ms
