"""How dead letters and notes are told apart and read, whatever publishers put into headers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from aiokafka.structs import ConsumerRecord

from schemas.outputs import DeadLetter, DeadLetterReason, failed_attempts
from service.dead_letters import NOTE_HEADER, Note, Settled, SourcePlace, cure_of, letter_of, note_of, original_headers
from service.errors import InputError

LETTER = DeadLetter.model_validate(
    {
        "reason": "not_json",
        "detail": "value",
        "topic": "payments",
        "partition": 1,
        "offset": 7,
        "failed_at": 1_770_000_000_000,
        "app_version": "0",
        "attempts": 2,
    }
)


def record(value: bytes | None, headers: Any) -> ConsumerRecord[bytes, bytes]:
    """Make a record of a dead-letter topic."""
    return ConsumerRecord("payments.dlq", 1, 0, 0, 0, b"k", value, None, 1, 0, headers)


def test_notes_round_trip() -> None:
    """What a redrive writes is read back; nothing of it is a dead letter."""
    for note in (Note("r", ends={"payments": 5}), Note("r", offsets={"payments": [1, 2]}), Note("r", offsets={})):
        written = record(note.value(), note.headers())
        assert note_of(written) == note
        assert letter_of(written) is None


def test_no_publisher_can_send_a_note() -> None:
    """A record that was set aside is a dead letter, also when it came with the header and the value of a note."""
    spoofed = Note("r", offsets={"payments": [7]})
    written = record(spoofed.value(), [*spoofed.headers(), *LETTER.to_headers()])
    assert note_of(written) is None
    letter = letter_of(written)
    assert letter is not None
    assert letter.source == SourcePlace("payments", 1, 7)
    assert original_headers(letter.record.headers) == spoofed.headers()


@pytest.mark.parametrize(
    "value", [None, b"", b"{", b"[]", b"{}", b'{"run": "r", "ends": 3}', b'{"run": "r", "ends": {"a": "b"}}']
)
def test_a_damaged_note_is_no_note(value: bytes | None) -> None:
    """A record with a note's header and any other value is passed over."""
    assert note_of(record(value, [(NOTE_HEADER, b"done")])) is None


def test_a_done_closes_its_begin() -> None:
    """Runs without their `done` stay open; what is settled adds up."""
    settled = Settled()
    for note in (Note("a", ends={}), Note("b", ends={}), Note("a", offsets={"payments": [7]})):
        settled.add(note)
    assert list(settled.open_runs) == ["b"]
    assert settled.has(SourcePlace("payments", 1, 7))
    assert not settled.has(SourcePlace("payments", 1, 8))


@pytest.mark.parametrize("told", [None, b"", b"-1", b"x", b"1.5", b"99999", "\u0663".encode(), b" 1"])
def test_attempts_that_nobody_counted_are_none(told: bytes | None) -> None:
    """Only a small plain number is believed; the header of a later redrive counts."""
    assert failed_attempts([("dlq.attempts", told)]) == 0
    assert failed_attempts([("dlq.attempts", told), ("dlq.attempts", b"2"), ("x", b"9")]) == 2


@pytest.mark.parametrize(
    "text", ["", "payments", "payments/1", "payments/x/1", "payments/1/-1", "/1/1", "payments/1/\u0663"]
)
def test_what_is_no_place_is_refused(text: str) -> None:
    """A place is topic, partition and offset."""
    with pytest.raises(InputError, match="TOPIC/PARTITION/OFFSET"):
        SourcePlace.parse(text)


def test_the_cure_of_a_reason_is_that_of_the_runbook() -> None:
    """What `vitals dlq redrive` says of a refused record stands in the row of its reason."""
    page = Path(__file__).resolve().parents[2] / "docs" / "operations" / "dead-letters.md"
    rows = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    for reason in get_args(DeadLetterReason):
        (row,) = [row for row in rows if f"`{reason}`" in row.split(" | ")[0]]
        assert cure_of(reason).removeprefix("passes ") in row.lower(), reason
