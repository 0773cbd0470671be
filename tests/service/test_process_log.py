"""The log of long-running commands: what the client of the brokers repeats is told once in ten seconds."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import orjson
import pytest

from service.cli.process_log import GROUP, KEPT_TEXTS, Repeats, client_muted, formatter, secrets_of
from service.settings import load_settings

AWAY = "Unable connect to node with id 1: [Errno 111] Connect call failed ('127.0.0.1', 29092)"


def said(text: str, seconds: float, name: str = "aiokafka.client", level: int = logging.ERROR) -> logging.LogRecord:
    """Make a record of that moment."""
    record = logging.LogRecord(name, level, "client.py", 1, "%s", (text,), None)
    record.created = seconds
    return record


def test_the_client_says_the_same_once_in_ten_seconds() -> None:
    """A thousand repeats in fifteen seconds become two lines, and another text is not held back by them."""
    repeats = Repeats()
    passed = [moment for moment in range(1_000) if repeats.filter(said(AWAY, 100 + 0.015 * moment))]
    assert passed == [0, 667]
    assert repeats.filter(said(AWAY.replace("id 1", "id 2"), 100))


def test_steps_of_the_group_and_the_project_itself_are_no_repeats() -> None:
    """Each warning about the group tells of a rebalance of its own, and what the project says is never held back."""
    repeats = Repeats()
    for _ in range(3):
        assert repeats.filter(said("because it is rebalancing", 100, name=GROUP, level=logging.WARNING))
        assert repeats.filter(said(AWAY, 100, name="agents.runtime.sight"))
        assert repeats.filter(said(AWAY, 100, name="aiokafkaesque"))
    assert repeats.filter(said(AWAY, 100, name=GROUP))
    assert not repeats.filter(said(AWAY, 101, name=GROUP))
    assert repeats.filter(said("NodeNotReadyError", 100, level=logging.WARNING))
    assert not repeats.filter(said("NodeNotReadyError", 101, level=logging.WARNING))


def test_texts_that_never_come_again_are_forgotten() -> None:
    """Errors that name something new each time do not fill the memory."""
    repeats = Repeats()
    assert all(repeats.filter(said(f"failed {number}", 100)) for number in range(3 * KEPT_TEXTS))
    assert len(repeats._told_seconds) <= KEPT_TEXTS


def test_the_client_is_heard_again_after_it_was_muted() -> None:
    """What is said in the block is not logged; after it, also when the block failed, everything is as before."""
    client = logging.getLogger("aiokafka")
    client.setLevel(logging.WARNING)
    try:
        with client_muted():
            muted = client.isEnabledFor(logging.ERROR)
        assert not muted
        assert client.level == logging.WARNING
    finally:
        client.setLevel(logging.NOTSET)


def failed(text: str) -> logging.LogRecord:
    """Make a record of an error whose own text says more than it should."""
    try:
        int(text)
    except ValueError:
        stack = sys.exc_info()
    return logging.LogRecord("redis", logging.ERROR, "redis.py", 1, "%s gave up", (text,), stack)


@pytest.mark.parametrize("form", ["console", "json"])
def test_no_secret_is_logged(form: str) -> None:
    """Neither in a message nor in a stack, whoever writes it; what is around it stays."""
    url = "redis://vitals:s3cr%2Ft-word@redis:6379/0"
    line = formatter(load_settings(redis=url, log_format=form)).format(failed(f"{url} or s3cr/t-word"))
    assert "s3cr" not in line
    assert "redis://vitals:***@redis:6379/0" in line
    assert "ValueError" in line


def test_a_secret_is_found_wherever_it_stands(tmp_path: Path) -> None:
    """In a file, in the options of a URL, and with the signs that a URL has for itself."""
    password = tmp_path / "password"
    password.write_text("from-a-file\n", encoding="utf-8")
    kafka = {"kafka_security": "sasl_ssl", "kafka_username": "worker", "kafka_password_file": password}
    found = secrets_of(load_settings(redis="redis://:a/b:c@redis:6379/0?password=in%20options", broker="b:1", **kafka))
    assert found == {"from-a-file", "a/b:c", "in options"}


def test_json_is_one_object_a_line() -> None:
    """With time and zone, level, logger, message and, of an error, its stack."""
    line = formatter(load_settings(log_format="json")).format(failed("away\nfor good"))
    assert "\n" not in line
    found = orjson.loads(line)
    assert {"time", "level", "logger", "message", "exc_info"} == set(found)
    assert (found["level"], found["logger"], found["message"]) == ("ERROR", "redis", "away\nfor good gave up")
    assert found["time"].startswith("20")
