"""The short ways to a usage event give what the decoder gives, or nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import encode_input
from schemas.times import parse_time_ms, time_text
from service import ingest
from service.csv_events import CsvMapping, CsvRow, bounded_lines
from service.errors import RecordRejected
from service.ingest import Decoder
from service.input_files import InputFile, RefusedLine
from service.plain_events import plain_event
from service.scoring.events import Event
from tests.schemas.strategies import LAST_MS, input_events

DECODER = Decoder(lambda: LAST_MS)
TIME = "2025-03-01T12:34:56.789Z"
LOGIN = {
    "specversion": "1.0",
    "id": "1",
    "source": "app",
    "type": "io.vitals.login.v1",
    "subject": "acme",
    "time": TIME,
    "datacontenttype": "application/json",
    "data": {"user": "ann", "role": "admin"},
}
TEXTS = st.one_of(
    st.sampled_from(["", "a", "x" * 64, "x" * 65, "x" * 256, "x" * 257, "\x7f", 'q"q', "ä\\", "\u200b"]), st.text()
)
SCALARS = st.one_of(
    st.sampled_from(["low", "bug", "EUR", "EURO", "eur", 1, 2**53 - 1, 2**53, -1, -0.5, 1.0, 10**400]),
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXTS,
)
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=2), st.dictionaries(TEXTS, SCALARS, max_size=2))
SHORTS = ["login", "feature_used", "session"]
PAYMENT = {
    **LOGIN,
    "type": "io.vitals.invoice_paid.v1",
    "data": {"amount_minor": 100, "currency": "EUR", "invoice": "1"},
}
TICKET = {
    **LOGIN,
    "type": "io.vitals.ticket_opened.v1",
    "data": {"ticket": "1", "severity": "low", "tags": ["bug", "web"], "sentiment": -0.5},
}
# What any of these types may hold, and something that none does.
FIELDS = [
    *("user", "role", "feature", "duration_seconds", "amount_minor", "currency", "invoice", "mrr_minor"),
    *("ticket", "severity", "tags", "sentiment", "x"),
]
TIMES = st.one_of(
    st.integers(parse_time_ms("2000-01-01T00:00:00Z"), LAST_MS).map(time_text),
    st.sampled_from(
        [
            "2025-02-29T00:00:00.000Z",
            "2024-02-29T23:59:59.999Z",
            "2025-03-01T24:00:00.000Z",
            "1999-12-31T23:59:59.999Z",
            "2025-03-01T12:34:60.000Z",
            "2025-03-01t12:34:56.000Z",
            "2025-W09-6T12:34:56.789Z",
            "2025-03-01T12:34:56.789+01:00",
            "2025-03-01T12:34:56Z",
            "\uff1225-03-01T12:34:56.789Z",
        ]
    ),
)


def decoded(payload: bytes) -> Event | None:
    """Decode without the short way; None when it is refused."""
    with long_way():
        try:
            return DECODER.decode_value(None, payload)
        except RecordRejected:
            return None


@contextmanager
def long_way() -> Iterator[None]:
    """Close the decoder's short way."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ingest, "plain_event", lambda _kind, _payload: None)
        yield


@pytest.mark.parametrize("document", [LOGIN, PAYMENT, TICKET])
def test_the_short_way_is_taken(document: dict[str, Any]) -> None:
    """An event as products write it is read without the decoder."""
    payload = orjson.dumps(document)
    assert plain_event(None, payload) == decoded(payload) is not None


@pytest.mark.parametrize(
    "document",
    [
        {**LOGIN, "id": "a\x7fb"},
        {**LOGIN, "id": "a\x00b"},
        {**LOGIN, "source": ""},
        {**LOGIN, "subject": "x" * 257},
        {**LOGIN, "traceparent": 10**30},
        {**LOGIN, "specversion": "1.1"},
        {**LOGIN, "time": "2025-02-29T00:00:00.000Z"},
        {**LOGIN, "time": "2025-03-01T12:34:60.000Z"},
        {**LOGIN, "time": "1999-12-31T23:59:59.999Z"},
        {**LOGIN, "data": {"user": "\ud800"}},
        {**LOGIN, "data": {"user": "x" * 257}},
        {**LOGIN, "data": {"user": "ann", "role": ""}},
        {**LOGIN, "data": {"user": 1}},
        {**PAYMENT, "data": {"amount_minor": 1}},
        {**PAYMENT, "data": {"amount_minor": 1, "currency": None}},
        {**PAYMENT, "data": {"amount_minor": 2**53, "currency": "EUR"}},
        {**PAYMENT, "data": {"amount_minor": 1.0, "currency": "EUR"}},
        {**PAYMENT, "data": {"amount_minor": True, "currency": "EUR"}},
        {**PAYMENT, "data": {"amount_minor": -1, "currency": "EUR"}},
        {**PAYMENT, "data": {"amount_minor": 1, "currency": "EURO"}},
        {**PAYMENT, "data": {"amount_minor": 1, "currency": "EUR\n"}},
        {**TICKET, "data": {"ticket": "1", "sentiment": 1.5}},
        {**TICKET, "data": {"ticket": "1", "sentiment": float("nan")}},
        {**TICKET, "data": {"ticket": "1", "severity": "LOW"}},
        {**TICKET, "data": {"ticket": "1", "tags": ["x"] * 51}},
        {**TICKET, "data": {"ticket": "1", "tags": ["x", "y\x7f"]}},
    ],
)
def test_what_is_refused_never_takes_the_short_way(document: dict[str, Any]) -> None:
    """An event with one thing wrong is left to the decoder, which refuses it."""
    payload = json.dumps(document, ensure_ascii=False).encode(errors="surrogatepass")
    assert plain_event(None, payload) is decoded(payload) is None


@pytest.mark.parametrize("kind", ["payment", "ticket", "survey", "account", "usage"])
def test_the_short_way_is_closed_on_another_kind_of_topic(kind: str) -> None:
    """An event on the topic of another kind is left to the decoder, which refuses it."""
    taken = [plain_event(kind, orjson.dumps(document)) is not None for document in (LOGIN, PAYMENT, TICKET)]
    assert taken == [kind == "usage", kind == "payment", kind == "ticket"]


@settings(max_examples=1_500, deadline=None)
@given(
    changes=st.dictionaries(st.sampled_from([*LOGIN, "traceparent"]), VALUES, max_size=2),
    data=st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=4),
    base=st.sampled_from([LOGIN, PAYMENT, TICKET]),
    short=st.sampled_from([*SHORTS, "purchase", "invoice_paid", "subscription_changed", "ticket_solved", None]),
    time=TIMES,
    without=st.sets(st.sampled_from(list(LOGIN)), max_size=1),
)
def test_no_event_is_read_differently(  # noqa: PLR0917  # hypothesis passes the fields by name
    base: dict[str, Any],
    changes: dict[str, Any],
    data: dict[str, Any],
    short: str | None,
    time: str,
    without: set[str],
) -> None:
    """Whatever an event holds: the short way gives the decoder's event, or none; never one that is refused."""
    type_ = base["type"] if short is None else f"io.vitals.{short}.v1"
    document = {**base, "type": type_, "time": time, "data": {**base["data"], **data}, **changes}
    document = {name: value for name, value in document.items() if name not in without}
    payload = json.dumps(document, ensure_ascii=False).encode(errors="surrogatepass")
    plain = plain_event(None, payload)
    assert plain is None or plain == decoded(payload)


@settings(max_examples=1_500, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("document", [LOGIN, PAYMENT, TICKET])
def test_no_bytes_are_read_differently(document: dict[str, Any], data: st.DataObject) -> None:
    """The bytes of an event with some replaced, repeated or put in: the same law holds."""
    payload = orjson.dumps(document)
    at = data.draw(st.integers(0, len(payload)))
    end = data.draw(st.integers(at, min(len(payload), at + 12)))
    piece = data.draw(
        st.one_of(
            st.binary(max_size=3),
            st.sampled_from(
                [
                    *(b'"id":"2",', b'"data":{},', b'"user" :"bob",', b'"id":[[]],', b" ", b"\\u0041", b'","', b":"),
                    *(b'"type":"io.vitals.feature_used.v1",', b'"type":"io.vitals.login.v1",', b'"currency":null,'),
                    *(b"\x00", b"\x1f", b"\xed\xa0\x80", b"\xff", b"NaN", b"1e999", b"[" * 3_000, b'"sentiment":2,'),
                ]
            ),
            st.just(payload[at:end]),
        )
    )
    for changed in (payload[:at] + piece + payload[end:], payload[:at] + piece + payload[at:]):
        plain = plain_event(None, changed)
        assert plain is None or plain == decoded(changed)


@settings(max_examples=300, deadline=None)
@given(input_events())
def test_valid_events_are_the_same_both_ways(drawn: tuple[str, dict[str, Any], dict[str, Any]]) -> None:
    """Generated events of every kind: equal both ways."""
    short, data, envelope = drawn
    payload = encode_input(short, data, **envelope)
    plain = plain_event(None, payload)
    assert plain is None or plain == decoded(payload)


@settings(max_examples=1_500, deadline=None)
@given(
    short=st.sampled_from([*SHORTS, "invoice_paid"]),
    account=TEXTS,
    event_id=TEXTS,
    source=TEXTS,
    time_ms=st.integers(parse_time_ms("2000-01-01T00:00:00Z"), LAST_MS),
    data=st.dictionaries(
        st.sampled_from(["user", "role", "feature", "duration_seconds", "invoice"]),
        st.one_of(TEXTS, st.floats()),
        max_size=4,
    ),
)
def test_a_row_is_the_event_of_its_bytes(  # noqa: PLR0917  # hypothesis passes the fields by name
    short: str, account: str, event_id: str, source: str, time_ms: int, data: dict[str, Any]
) -> None:
    """The event built from a CSV row equals decoding the bytes that would be published, or is left to that."""
    row = CsvRow(short, account, time_ms, event_id, source, data)
    plain = row.plain_event()
    if plain is not None:
        assert plain == decoded(row.value())


def test_rows_are_read_alike_for_replay_and_publishing(tmp_path: Path) -> None:
    """A file of good and bad rows: the same events and the same refusals both ways."""
    file = tmp_path / "log.csv"
    rows = ["acme,ann,2025-01-01", "acme,ann,2025-01-01", ",ann,2025-01-01", "acme,,2025-01-01", "acme,ann,never"]
    rows += [
        "acme,a\x01nn,2025-01-01",
        "acme,ann,2999-01-01",
        f"{'x' * 300},ann,2025-01-01",
        "a,b",
        f"{'é' * 100},ann,2025-01-02",
    ]
    file.write_bytes("\n".join(["org,who,day", *rows]).encode() + b"\nacme,\xff,2025-01-01\n")
    mapping = CsvMapping({"account": "org", "user": "who", "time": "day"}, {"type": "login"})
    published: list[RefusedLine] = []
    replayed: list[RefusedLine] = []
    with long_way():
        long = [item.event for item in InputFile(str(file), mapping=mapping).events(DECODER, published.append)]
    assert list(InputFile(str(file), mapping=mapping).core_events(DECODER, replayed.append)) == long
    assert replayed == published
    assert (len(long), len(published)) == (3, 8)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from([b"\n", b"\r\n", b"a", b"bc", b"x" * 40_000, b"y" * 70_000]), max_size=12),
    st.integers(1, 9),
)
def test_lines_are_those_of_the_whole(parts: list[bytes], step: int) -> None:
    """However the stream is cut into blocks, the lines, their numbers and the refusals are the same."""
    text = b"".join(parts)
    expected = [line.rstrip(b"\r") for line in text.split(b"\n")]
    if not expected[-1]:
        expected.pop()
    found = list(bounded_lines(Chunks(text, step * 9_999)))  # type: ignore[arg-type]  # all that is used of a reader
    assert [line for line, _ in found] == list(range(1, len(expected) + 1))
    for (_, value), line in zip(found, expected, strict=True):
        if len(line) > ingest.VALUE_MAX_BYTES:
            assert isinstance(value, RecordRejected)
        else:
            assert value == line


class Chunks:
    """A stream that gives at most so many bytes at a time."""

    def __init__(self, text: bytes, size: int) -> None:
        self._text, self._size = text, size

    def read1(self, most: int) -> bytes:
        """Give the next bytes."""
        size = min(most, self._size)
        block, self._text = self._text[:size], self._text[size:]
        return block
