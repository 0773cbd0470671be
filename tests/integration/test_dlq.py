"""`vitals dlq list` and `show` on a real broker: what stands in the dead letters, harmless on a terminal."""

from __future__ import annotations

import base64
import json

import pytest

from service.settings import Settings
from tests.conftest import Vitals
from tests.integration.kafka_tools import produce
from tests.integration.test_redrive import NOW_MS, Deployment, event

pytestmark = pytest.mark.kafka

HOSTILE = b'\x1b]0;owned\x07 \xff\n{"a": "\xe2\x80\xae"}'


@pytest.fixture
def deployment(settings: Settings) -> Deployment:
    """Make the topics of a test, with four dead letters: one of them twice, one redriven, one hostile."""
    made = Deployment(settings)
    made.set_aside(
        (1, event(1), {}), (1, event(1), {}), (2, b"{", {"reason": "not_json"}), (3, b"[", {"reason": "not_json"})
    )
    made.set_aside((4, HOSTILE, {"reason": "invalid_event", "detail": "bad \x1b[31m"}), headers=[("x\x1b[2J", b"\x9b")])
    made.redrive(reasons=frozenset({"future_time"}))
    return made


def test_dead_letters_are_counted_by_reason_and_topic(deployment: Deployment, vitals: Vitals) -> None:
    """Each source record counts once; redriven ones are told; notes of redrives are no dead letters."""
    done = vitals("dlq", "list", "--json", **deployment.environment)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["unreadable"] == 0
    figures = {
        (count["reason"], count["topic"]): (count["records"], count["redriven"], count["open"])
        for count in told["counts"]
    }
    assert figures == {
        ("not_json", deployment.usage): (2, 0, 2),
        ("future_time", deployment.usage): (1, 1, 0),
        ("invalid_event", deployment.usage): (1, 0, 1),
    }
    table = vitals("dlq", "list", "--reason", "not_json", **deployment.environment)
    assert table.stdout.splitlines()[1].split()[:5] == ["not_json", deployment.usage, "2", "0", "2"]
    assert "future_time" not in table.stdout


def test_records_are_listed_and_filtered(deployment: Deployment, vitals: Vitals) -> None:
    """`--records` gives a line for each, with its place; times and topics narrow it; wrong filters are refused."""
    done = vitals("dlq", "list", "--records", "--json", **deployment.environment)
    listed = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(letter["offset"], letter["redriven"]) for letter in listed] == [
        (1, True),
        (2, False),
        (3, False),
        (4, False),
    ]
    since = ("--since", "2026-02-02T02:40:00.002Z", "--until", "2026-02-02T02:40:00.004Z")
    assert NOW_MS == 1_770_000_000_000  # the time above
    done = vitals("dlq", "list", "--records", "--topic", deployment.usage, *since, **deployment.environment)
    assert [line.split()[1] for line in done.stdout.splitlines()] == [f"{deployment.usage}/1/{n}" for n in (2, 3)]
    none = vitals("dlq", "list", "--topic", deployment.names.input("payment"), **deployment.environment)
    assert none.stdout == "no dead letters\n"
    for wrong in (("--topic", "nonsense"), ("--reason", "nonsense"), ("--since", "yesterday")):
        done = vitals("dlq", "list", *wrong, **deployment.environment)
        assert done.returncode == 2
        assert wrong[1] in done.stderr


def test_one_dead_letter_is_shown_in_full(deployment: Deployment, vitals: Vitals) -> None:
    """By its source place or its own, escaped for people, and byte for byte with --raw."""
    place = f"{deployment.usage}/1/4"
    done = vitals("dlq", "show", place, **deployment.environment)
    assert done.returncode == 0, done.stderr
    for text in ("invalid_event", "bad \\x1b[31m", "x\\x1b[2J", "\\x1b]0;owned\\x07 \\xff", '{"a": "\\u202e"}'):
        assert text in done.stdout
    assert all(char.isprintable() or char == "\n" for char in done.stdout)
    as_json = json.loads(vitals("dlq", "show", place, "--json", **deployment.environment).stdout)
    assert base64.b64decode(as_json["value_base64"]) == HOSTILE
    assert as_json["attempts"] == 1
    own = vitals("dlq", "show", as_json["dead_letter"], "--json", **deployment.environment)
    assert json.loads(own.stdout) == as_json
    raw = vitals("dlq", "show", f"{deployment.usage}/1/2", "--raw", **deployment.environment)
    assert raw.stdout == "{"


def test_a_record_that_was_not_set_aside_is_shown(deployment: Deployment, vitals: Vitals) -> None:
    """The place that a worker names when it stops at too many dead letters is shown, though nothing was set aside."""
    (ack,) = produce(deployment.bootstrap, deployment.usage, [(b"acme", HOSTILE, [("x", b"\x9b")], 3)])
    place = f"{deployment.usage}/3/{ack.offset}"
    done = vitals("dlq", "show", place, **deployment.environment)
    assert done.returncode == 0, done.stderr
    for text in (place, "not set aside", "acme", "\\x9b", "\\x1b]0;owned\\x07 \\xff"):
        assert text in done.stdout
    as_json = json.loads(vitals("dlq", "show", place, "--json", **deployment.environment).stdout)
    assert base64.b64decode(as_json["value_base64"]) == HOSTILE
    assert as_json["dead_letter"] is None
    beyond = vitals("dlq", "show", f"{deployment.usage}/3/{ack.offset + 1}", **deployment.environment)
    assert "no record at" in beyond.stderr


def test_a_place_without_a_dead_letter_is_named(deployment: Deployment, vitals: Vitals) -> None:
    """What is no place, no input topic, or holds no dead letter ends with one line."""
    topic = deployment.names.dead_letters("usage")
    produce(deployment.bootstrap, topic, [(b"k", b"no headers", [], 2)])
    for place, exit_code in (
        ("nonsense", 2),
        ("other/1/1", 2),
        (f"{deployment.usage}/1/99", 1),
        (f"{deployment.usage}/99/1", 1),
        (f"{topic}/2/0", 1),
    ):
        done = vitals("dlq", "show", place, **deployment.environment)
        assert done.returncode == exit_code, place
        assert place.split("/")[0] in done.stderr
        assert "--topic" not in done.stderr
        assert "Traceback" not in done.stderr
    assert "1 records" in vitals("dlq", "list", **deployment.environment).stderr


def test_watching_tells_redrives_from_dead_letters(deployment: Deployment, vitals: Vitals) -> None:
    """`vitals watch dlq` shows the notes of a redrive as such, between the dead letters."""
    options = ("--from-start", "--limit", "7", "--seconds", "60", "--json")
    done = vitals("watch", "dlq", *options, **deployment.environment)
    shown = [json.loads(line) for line in done.stdout.splitlines()]
    assert [message.get("reason") for message in shown[:5]].count(None) == 0
    assert [message.get("published") for message in shown[5:]] == [None, 1]
    assert all(message["redrive"] for message in shown[5:])
