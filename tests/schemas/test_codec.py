"""What we write others can read, what they write we can read, and nothing unsound leaves."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import orjson
import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_structured, to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from pydantic import ValidationError

from schemas import codec
from schemas.catalogue import INPUTS, OUTPUTS, InputMessage
from schemas.codec import encode_alert, encode_input, encode_score, is_plainly_right, read_alert, read_score
from schemas.envelope import STRUCTURED_HEADERS
from schemas.outputs import AlertData, DeadLetter, ScoreData
from schemas.times import parse_time_ms, time_text
from service.ingest import Decoder
from service.scoring.views import Alert, FactorChange, FactorView, ScoreView
from tests.schemas.golden import INPUT_EXAMPLES, examples_of

DECODER = Decoder(lambda: parse_time_ms("2027-01-01T00:00:00Z"))
SCORE, ALERT, LETTER = (examples_of(OUTPUTS[short])[0] for short in ("score", "alert", "dead_letter"))


def score_view(**changes: Any) -> ScoreView:
    """Make the core's view that the golden score example shows."""
    renamed = {"seq", "as_of", "override_until", "returned_at", "snoozed_until", "csm_sentiment_at"}
    data = {name: item for name, item in SCORE["data"].items() if name not in renamed}
    data["rules"] = tuple(data["rules"])
    data["factors"] = tuple(FactorView(**factor) for factor in data["factors"])
    times = {"time_ms": SCORE["time"], "csm_sentiment_ms": SCORE["data"]["csm_sentiment_at"]}
    read = {name: parse_time_ms(text) for name, text in times.items()}
    return ScoreView(**{"score_seq": SCORE["data"]["seq"], **read, **data, **changes})


def alert_view(**changes: Any) -> Alert:
    """Make the core's alert that the golden alert example shows."""
    data = {name: item for name, item in ALERT["data"].items() if name != "as_of"}
    data["factors"] = tuple(FactorChange(**factor) for factor in data["factors"])
    return Alert(**{"time_ms": parse_time_ms(ALERT["time"]), **data, **changes})


@pytest.mark.parametrize(("message", "example"), INPUT_EXAMPLES, ids=lambda item: getattr(item, "short", ""))
def test_events_of_the_cloudevents_library_are_read(message: InputMessage, example: dict[str, Any]) -> None:
    """The library's Kafka binding may write in either mode; both become the same core event as our own writing."""
    key = example["subject"].encode()
    attributes = {name: item for name, item in example.items() if name != "data"}
    event = CloudEvent(attributes={**attributes, "time": datetime.fromisoformat(example["time"])}, data=example["data"])
    expected = DECODER.decode(message.kind, key, orjson.dumps(example), ())
    for written in (to_structured(event, JSONFormat()), to_binary(event, JSONFormat())):
        assert DECODER.decode(message.kind, key, written.value, list(written.headers.items())) == expected


def test_the_cloudevents_library_reads_what_we_write() -> None:
    """Input, score and alert events of ours are CloudEvents to the library, attribute by attribute."""
    login = examples_of(INPUTS["login"])[0]
    written = encode_input(
        "login",
        login["data"],
        event_id=login["id"],
        source=login["source"],
        account=login["subject"],
        time_ms=parse_time_ms(login["time"]),
    )
    outputs = [(written, login), (encode_score(score_view(), source="vitals"), SCORE)]
    for value, example in [*outputs, (encode_alert(alert_view(), source="vitals"), ALERT)]:
        event = from_structured(KafkaMessage(dict(STRUCTURED_HEADERS), b"acme", value), JSONFormat())
        assert event.get_attributes() == {
            **{name: item for name, item in example.items() if name != "data"},
            "time": datetime.fromisoformat(example["time"]),
            "partitionkey": "acme",
        }
        assert event.get_data() == example["data"]


def test_outputs_are_written_as_the_golden_examples_say() -> None:
    """Views of the core become exactly the documented events, and reading them back gives the same data."""
    score, alert = encode_score(score_view(), source="vitals"), encode_alert(alert_view(), source="vitals")
    assert orjson.loads(score) == SCORE
    assert orjson.loads(alert) == ALERT
    assert read_score(score).data == ScoreData.model_validate(score_view(), from_attributes=True)
    assert read_alert(alert).data == AlertData.model_validate(alert_view(), from_attributes=True)


@pytest.mark.parametrize(
    "changes",
    [
        {"score": float("nan")},
        {"score": float("inf")},
        {"score": 100.5},
        {"coverage": float("nan")},
        {"band": "lost"},
        {"account": ""},
        {"model_version": None},
        {"factors": (FactorView("f", "F", float("nan"), 0, 0, 0, 0, "s"),)},
        {"factors": (FactorView("f", "F", 0, 0, 0, float("-inf"), 0, "s"),)},
    ],
    ids=str,
)
def test_unsound_score_is_not_written(changes: dict[str, Any]) -> None:
    """A view with a number that is not finite, or out of its range, raises instead of becoming null."""
    with pytest.raises(ValidationError):
        encode_score(score_view(**changes), source="vitals")


@pytest.mark.parametrize("field", ["value", "output", "weight", "contribution", "points_lost"])
@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_no_number_of_a_factor_leaves_unless_it_is_finite(field: str, number: float) -> None:
    """Whatever the other factors hold, a number that is not finite raises, and two that cancel out do too."""
    first, *rest = score_view().factors
    alone: dict[str, Any] = {field: number}
    for changes in (alone, {**alone, "value": -number}):
        with pytest.raises(ValidationError):
            encode_score(score_view(factors=(replace(first, **changes), *rest)), source="vitals")


@pytest.mark.parametrize("trend", ["trend_7", "trend_30"])
def test_no_trend_leaves_unless_it_is_finite(trend: str) -> None:
    """A trend that is not finite raises."""
    with pytest.raises(ValidationError):
        encode_score(score_view(**{trend: float("nan")}), source="vitals")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"score": None, "factors": ()},
        {"trend_7": -1.5, "trend_30": 1e-9, "rules": ("a", "b"), "model_changed": True},
        {"override_until_ms": 1_800_000_000_001, "override_reason": "\u00e4\u2028", "returned_ms": 1_700_000_000_000},
        dict.fromkeys(("name", "tier", "mrr_minor", "currency", "owner", "stage", "profile")),
    ],
    ids=str,
)
def test_a_score_written_the_short_way_is_the_message_of_its_model(changes: dict[str, Any]) -> None:
    """Both ways of writing give the same message."""
    view = score_view(**changes)
    assert is_plainly_right(view)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec, "is_plainly_right", lambda _: False)
        written = encode_score(view, source="vitals")
    assert orjson.loads(encode_score(view, source="vitals")) == orjson.loads(written)


def test_outputs_forbid_other_fields_but_readers_ignore_them() -> None:
    """We never add a field by accident; an event of a newer version is still read."""
    with pytest.raises(ValidationError, match="extra_forbidden"):
        ScoreData.model_validate_json(orjson.dumps({**SCORE["data"], "trend": 1}))
    newer = {**SCORE, "traceparent": "00-1", "data": {**SCORE["data"], "trend": 1}}
    assert read_score(orjson.dumps(newer)).data == read_score(orjson.dumps(SCORE)).data


def test_input_with_a_number_that_is_not_finite_is_not_written() -> None:
    """A publisher's NaN is an error at once, not a null on the wire."""
    with pytest.raises(ValueError, match="session"):
        encode_input(
            "session",
            {"user": "a", "duration_seconds": float("nan")},
            event_id="1",
            source="s",
            account="a",
            time_ms=parse_time_ms("2026-01-01T00:00:00Z"),
        )


def test_longest_account_id_has_a_readable_score() -> None:
    """An account id of 256 characters leaves room for the rest of the event's id."""
    account = "a" * 256
    assert read_score(encode_score(score_view(account=account), source="vitals")).subject == account


def test_dead_letter_headers_round_trip() -> None:
    """A dead letter is told in headers; when a record fails again the last telling counts."""
    letter = DeadLetter.model_validate_json(orjson.dumps(LETTER))
    headers = letter.to_headers()
    assert ("dlq.reason", b"key_mismatch") in headers
    assert ("dlq.failed_at", LETTER["failed_at"].encode()) in headers
    again = letter.model_copy(update={"offset": 7, "failed_at_ms": parse_time_ms(time_text(letter.failed_at_ms + 1))})
    assert DeadLetter.from_headers([("ce_id", b"\xff"), *headers]) == letter
    assert DeadLetter.from_headers([*headers, *again.to_headers(), ("dlq.newer", b"x")]) == again


@pytest.mark.parametrize("missing", ["dlq.partition", "dlq.reason", "dlq.failed_at"])
def test_record_without_dead_letter_headers_is_no_dead_letter(missing: str) -> None:
    """Reading asks for every header."""
    headers = DeadLetter.model_validate_json(orjson.dumps(LETTER)).to_headers()
    with pytest.raises(ValueError, match=r".+"):
        DeadLetter.from_headers([header for header in headers if header[0] != missing])
