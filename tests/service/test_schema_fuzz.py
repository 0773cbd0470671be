"""Events made from the JSON Schemas and then spoilt: whatever comes is scored or refused, and the next is scored.

5,000 cases in CI; `make soak` adds as many of its own to each of its rounds as the laws have.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from math import isfinite
from typing import Any, Final, get_args

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.catalogue import INPUTS, InputMessage
from schemas.export import schema_path
from schemas.fields import MAX_MINOR_UNITS
from schemas.outputs import DeadLetterReason
from schemas.times import MIN_TIME_MS, RFC3339_PATTERN, time_text
from service.errors import RecordRejected
from service.ingest import Decoder
from service.model.loader import load_model
from service.scoring.engine import step
from service.scoring.events import Event
from service.scoring.state import AccountState
from service.scoring.state_codec import decode, encode
from tests.schemas.golden import examples_of
from tests.scoring.budget import CASES, PROFILE, PROFILE_NAME

CI_CASES: Final = 5_000
NOW_MS: Final = 1_800_000_000_000
REASONS: Final = frozenset(get_args(DeadLetterReason))
MODEL: Final = load_model(None)
Headers = list[tuple[str, bytes | None]]
Outcome = Event | tuple[str, str]


class LongWay(Decoder):
    """The decoder without its short way."""

    def _plain(self, kind: str | None, payload: bytes) -> Event | None:
        return None


SHORT_WAY, LONG_WAY = Decoder(lambda: NOW_MS), LongWay(lambda: NOW_MS)

# -- valid events, from the schemas ------------------------------------------------------------------------

ASCII = st.text("abcXYZ09 ._-/", min_size=1, max_size=12)
ODD_TEXTS = st.sampled_from(["ünï", "\u202egnp", "\u200b", "\x85", "\U0001f600", "..//..", "<b>", "a\u2028b", "'; --"])
PATTERNS: Final[dict[str, st.SearchStrategy[str]]] = {
    RFC3339_PATTERN: st.integers(MIN_TIME_MS, NOW_MS).map(time_text),
    "^[A-Z]{3}$": st.sampled_from(["EUR", "USD", "JPY", "XXX", "ZZZ"]),
    INPUTS["login"].event.model_json_schema()["properties"]["datacontenttype"]["anyOf"][0]["pattern"]: st.just(
        "application/json"
    ),
}


def valid(schema: dict[str, Any], root: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Make the values of a schema of ours: of the few constructs that they use."""
    if "$ref" in schema:
        return valid(root["$defs"][schema["$ref"].rsplit("/", 1)[1]], root)
    if "anyOf" in schema:
        return st.one_of([valid(part, root) for part in schema["anyOf"]])
    if "const" in schema or "enum" in schema:
        return st.sampled_from(schema.get("enum", [schema.get("const")]))
    return BY_TYPE[schema["type"]](schema, root)


def valid_array(schema: dict[str, Any], root: dict[str, Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(valid(schema["items"], root), max_size=3)


def valid_string(schema: dict[str, Any], _root: dict[str, Any]) -> st.SearchStrategy[str]:
    fallback = st.one_of(ASCII, ODD_TEXTS, st.just("x" * schema.get("maxLength", 1)))
    return PATTERNS.get(schema.get("pattern", ""), fallback)


def valid_integer(schema: dict[str, Any], _root: dict[str, Any]) -> st.SearchStrategy[int]:
    low, high = schema["minimum"], schema["maximum"]
    return st.one_of(st.integers(low, high), st.sampled_from([low, high]))


def valid_number(schema: dict[str, Any], root: dict[str, Any]) -> st.SearchStrategy[float]:
    return st.one_of(valid_integer(schema, root), st.floats(schema["minimum"], schema["maximum"]))


def valid_object(schema: dict[str, Any], root: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    fields = {name: valid(part, root) for name, part in schema["properties"].items()}
    required = set(schema.get("required", ()))
    return st.fixed_dictionaries(
        {name: field for name, field in fields.items() if name in required},
        optional={name: field for name, field in fields.items() if name not in required},
    )


BY_TYPE: Final[dict[str, Callable[[dict[str, Any], dict[str, Any]], st.SearchStrategy[Any]]]] = {
    "object": valid_object,
    "array": valid_array,
    "string": valid_string,
    "integer": valid_integer,
    "number": valid_number,
    "boolean": lambda _schema, _root: st.booleans(),
    "null": lambda _schema, _root: st.none(),
}


def events_of(message: InputMessage) -> st.SearchStrategy[dict[str, Any]]:
    """Make events as the stored schema of a message has them."""
    schema = json.loads(schema_path(message).read_text(encoding="utf-8"))
    return valid(schema, schema)


EVENTS: Final = {message.short: events_of(message) for message in INPUTS.values()}

# -- spoilt ones -------------------------------------------------------------------------------------------


class Raw(str):
    """Text that is written into the JSON as it is, where a value stands."""

    __slots__ = ()


RAW: Final = [
    *("NaN", "-Infinity", "1e400", "-1e-400", "9" * 400, "-0", "0.1e1", "01", "tru", "", "'x'", "//", "\x00"),
    *('"\\ud800"', '"\\u0000"', '"\\u001b[2J"', '"\\u202e"', '"\ud800"', "[" * 150 + "]" * 150, "[" * 5_000),
    *('{"a":' * 250 + "1" + "}" * 250, '"x","id":"twice"', '1,"data":{}', '"' + "y" * 70_000 + '"', "[1,2", '"\t"'),
]
NUMBERS: Final = [
    *(0, -1, 1, 2**31, 2**53 - 1, 2**53, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**30, MAX_MINOR_UNITS + 1),
    *(0.0, -0.0, 1.0, 0.5, 1e-320, 1.7e308, -1.7e308, 1_772_439_330, 1_772_439_330_000),
]
TEXTS: Final = [
    *(
        "",
        " ",
        "x" * 257,
        "x" * 513,
        "ä" * 129,
        "\x7f",
        "a\nb",
        "a\rb",
        "\x1b[31m",
        "\u202e",
        "null",
        "1",
        "EURO",
        "eur",
    ),
    *("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "1999-12-31T23:59:59.999Z", "2026-03-02T08:15:30", "2026-03-02"),
    *("2027-01-15T08:05:00.000Z", "2027-01-15T08:05:00.001Z", "2026-02-29T00:00:00Z", "2026-03-02T08:15:30+23:59"),
    *(
        "io.vitals.login.v1",
        "io.vitals.login.v2",
        "io.vitals.score.v1",
        "1.0",
        "1.1",
        "text/xml",
        "application/cloudevents",
    ),
]
VALUES: Final[st.SearchStrategy[Any]] = st.one_of(
    st.sampled_from([*NUMBERS, *TEXTS, None, True, False, [], {}, [[]], [None], {"a": {"b": []}}]),
    st.text(max_size=6),
    st.integers(),
    st.floats(),
    st.sampled_from(RAW).map(Raw),
)


@st.composite
def spoilt(draw: st.DrawFn, event: dict[str, Any]) -> dict[str, Any]:
    """Drop, replace, add or duplicate fields of an event, at most three times."""
    event = copy.deepcopy(event)
    for _ in range(draw(st.sampled_from([0, 1, 1, 1, 2, 3]))):
        part = event["data"] if isinstance(event.get("data"), dict) and draw(st.booleans()) else event
        name = draw(st.sampled_from([*part, "x", "traceparent", "data_base64"]))
        if draw(st.integers(0, 3)) == 0:
            part.pop(name, None)
        else:
            part[name] = draw(VALUES)
    return event


def text_of(value: Any) -> bytes:
    """Write JSON, and raw texts as they are."""
    raws: list[str] = []

    def marked(item: Any) -> Any:
        if isinstance(item, Raw):
            raws.append(str(item))
            return f"@raw{len(raws) - 1}@"
        if isinstance(item, dict):
            return {name: marked(inner) for name, inner in item.items()}
        return [marked(inner) for inner in item] if isinstance(item, list) else item

    text = json.dumps(marked(value), ensure_ascii=False)
    for number, raw in enumerate(raws):
        text = text.replace(f'"@raw{number}@"', raw)
    return text.encode("utf-8", "surrogatepass")


def binary(event: dict[str, Any]) -> tuple[bytes, Headers]:
    """Write an event in binary mode: attributes in headers, data in the value."""
    headers: Headers = [("content-type", b"application/json")]
    for name, value in event.items():
        if name not in {"data", "datacontenttype"}:
            text = value if isinstance(value, str) else json.dumps(value)
            headers.append((f"ce_{name}", text.encode("utf-8", "surrogatepass")))
    return text_of(event["data"]) if "data" in event else b"", headers


# -- the law -----------------------------------------------------------------------------------------------


def outcome(decoder: Decoder, kind: str | None, key: bytes | None, value: bytes, headers: Headers) -> Outcome:
    """Decode; whatever is raised but a well-formed refusal fails the test."""
    try:
        return decoder.decode(kind, key, value, headers)
    except RecordRejected as caught:
        rejected = caught
    assert rejected.reason in REASONS
    assert 0 < len(rejected.detail) <= 300
    assert rejected.detail.isprintable()
    return rejected.reason, rejected.detail


GOOD: Final = {message.kind: examples_of(message)[0] for message in INPUTS.values()}


@settings(PROFILE, max_examples=CASES if PROFILE_NAME == "soak" else CI_CASES)
@given(st.data())
def test_every_case_is_scored_or_refused(data: st.DataObject) -> None:
    """Both ways agree, in both modes, with any key; scores are finite and can be stored; the next event is scored."""
    short = data.draw(st.sampled_from(sorted(EVENTS)))
    event = data.draw(EVENTS[short].flatmap(spoilt))
    value, headers = binary(event) if data.draw(st.booleans()) else (text_of(event), Headers())
    subject = event.get("subject")
    own_key = subject.encode("utf-8", "surrogatepass") if isinstance(subject, str) else b"acme"
    key = data.draw(st.sampled_from([own_key, own_key, own_key, None, b"", b"other", b"\xff", own_key + b" "]))
    kind = data.draw(st.sampled_from([INPUTS[short].kind, INPUTS[short].kind, None, "survey"]))
    found = outcome(SHORT_WAY, kind, key, value, headers)
    assert found == outcome(LONG_WAY, kind, key, value, headers)
    good = GOOD[INPUTS[short].kind]
    state = AccountState(good["subject"])
    if not isinstance(found, tuple):
        state = AccountState(found.account)
        step(state, found, found.time_ms, MODEL)
    following = SHORT_WAY.decode(INPUTS[short].kind, good["subject"].encode(), orjson.dumps(good), ())
    step(state, following, following.time_ms, MODEL)
    assert state.score is None or (isfinite(state.score) and 0 <= state.score <= 100)
    assert encode(decode(state.account, encode(state))) == encode(state)


@settings(PROFILE, max_examples=300)
@given(st.data())
def test_what_the_schemas_allow_is_mostly_read(data: st.DataObject) -> None:
    """Unspoilt events are read, or break a rule that a schema cannot say: so the fuzz begins with good events."""
    short = data.draw(st.sampled_from(sorted(EVENTS)))
    event = data.draw(EVENTS[short])
    found = outcome(SHORT_WAY, INPUTS[short].kind, event["subject"].encode(), text_of(event), [])
    if isinstance(found, tuple):
        reason, detail = found
        assert (reason, detail.split(": ")[0]) in {
            ("invalid_event", "data"),
            ("too_large", "key"),
            ("empty_value", "x"),
        }
