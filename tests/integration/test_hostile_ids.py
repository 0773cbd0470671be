"""Ids and texts that would write to a terminal, a log or a header as they like are nowhere shown raw."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from schemas.codec import encode_input
from schemas.outputs import DeadLetter
from service.settings import Settings
from tests.integration.kafka_tools import produce, read_topic
from tests.integration.test_worker import Deployment

pytestmark = [pytest.mark.kafka, pytest.mark.slow]
Vitals = Callable[..., "CompletedProcess[str]"]

# The schemas allow these: they are no control characters of ASCII.
ALLOWED = [
    "\u202egnp.exe",
    "\u2066a\u200bb",
    "\x9b31mred",
    "a\x85INJECTED next line",
    "a\u2028INJECTED paragraph",
    "<script>alert(1)</script>",
    "../../etc/passwd",
    "[bold red]markup[/] :boom:",
]
REFUSED = ["a\r\nINJECTED: 1", "a\x00b", "\x1b[2Jwiped", "\x1b]0;title\x07", "a\x7f", "k" * 10_000]


def event(short: str, account: str, data: dict[str, Any], number: str = "") -> bytes:
    """Write an event of now without any check."""
    now = time.time_ns() // 1_000_000
    whole = json.loads(encode_input("login", {"user": "u"}, event_id="x", source="s", account="a", time_ms=now))
    changed = {"id": f"{short} {number} {account}", "type": f"io.vitals.{short}.v1", "subject": account, "data": data}
    return json.dumps({**whole, **changed}, ensure_ascii=False).encode()


def hostile_records() -> dict[str, list[tuple[Any, ...]]]:
    """Make records of each topic with every hostile text in every place; the accounts' updates set their bands."""
    updates: dict[str, list[tuple[Any, ...]]] = {"product-usage": [], "tickets": [], "payments": [], "accounts": []}
    for text in [*ALLOWED, *REFUSED]:
        key = text.encode()
        headers = [(text[:50], text[:50].encode())]
        named = {"name": text, "owner": text, "tier": "high_touch", "mrr_minor": 100, "currency": "EUR"}
        for band in ("healthy", "endangered"):
            override = {"override_band": band, "override_reason": text, "override_until": "2099-01-01T00:00:00Z"}
            value = event("account_updated", text, {**named, **override}, band)
            updates["accounts"].append((key, value, headers))
        updates["product-usage"].append((key, event("login", text, {"user": text, "role": text[:64]}), headers))
        updates["product-usage"].append((key, b"not JSON " + key, headers))
        updates["tickets"].append((key, event("ticket_opened", text, {"ticket": text, "tags": [text[:64]]}), headers))
        updates["payments"].append((key, event("payment_failed", text, {"invoice": text}), headers))
    return updates


def run_raw(deployment: Deployment, *arguments: str) -> bytes:
    """Run a command; return all that it wrote, byte for byte."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("VITALS_")}
    done = subprocess.run(
        [sys.executable, "-m", "service.cli.main", *arguments],
        env={
            **inherited,
            "COLUMNS": "200",
            "PYTHONIOENCODING": "utf-8",
            "VITALS_BROKER": deployment.bootstrap,
            "VITALS_APP_ID": deployment.settings.app_id,
            "VITALS_TOPIC_PREFIX": deployment.settings.topic_prefix,
        },
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert b"Traceback" not in done.stderr, done.stderr.decode(errors="replace")
    return done.stdout + done.stderr


def expect_harmless(what: str, written: bytes) -> None:
    """Refuse every character that has no shape of its own, and every line that a text began."""
    text = written.decode()
    raw = sorted({repr(char) for char in text if char != "\n" and not char.isprintable()})
    assert not raw, f"{what} writes {raw}"
    assert not [line for line in text.split("\n") if line.startswith("INJECTED")], what


def test_no_command_and_no_log_shows_a_hostile_text_raw(settings: Settings, vitals: Vitals, tmp_path: Path) -> None:
    """Whatever ids, names and headers hold: worker, every reading command and every added header stay harmless."""
    deployment = Deployment(settings, vitals, tmp_path)
    with deployment.start() as worker:
        for topic, records in hostile_records().items():
            produce(deployment.bootstrap, f"{deployment.settings.topic_prefix}{topic}", records)
            deployment.wait(worker)
        time.sleep(12)  # the report in the log comes every 10 seconds
        assert worker.terminate() == 0
    log = deployment.log.read_bytes()
    expect_harmless("worker", log)
    assert b"dead_letter_" in log
    assert not [text for text in [*ALLOWED, *REFUSED] if text.encode() in log]
    assert set(deployment.states()) == set(ALLOWED)
    assert {alert["account"] for alert in deployment.alerts()} == set(ALLOWED)
    places = expect_harmless_headers(deployment)
    commands = [
        ["doctor"],
        ["topics", "plan"],
        ["dlq", "list"],
        ["dlq", "list", "--records"],
        ["dlq", "redrive", "--dry-run"],
    ]
    commands += [["watch", what, "--from-start", "--seconds", "3"] for what in ("scores", "alerts", "dlq")]
    commands += [["dlq", "show", place] for place in places[:: len(places) // 4]]
    commands += [["state", "show", account] for account in ALLOWED[:4:2]]
    commands += [["explain", account, "--live"] for account in ALLOWED[:4:2]]
    commands += [["state", "show", "no\u202esuch"], ["explain", "no\x1bsuch", "--live"], ["dlq", "show", "a\x1b/0/1"]]
    for command in commands:
        for arguments in (command, [*command, "--json"]):
            written = run_raw(deployment, *arguments)
            assert written
            expect_harmless(" ".join(map(ascii, arguments)), written)


def expect_harmless_headers(deployment: Deployment) -> list[str]:
    """Look at what the worker added to the headers of dead letters; return where the records stood."""
    places = []
    for topic in ("accounts", "product-usage", "tickets", "payments"):
        for letter in read_topic(deployment.bootstrap, f"{deployment.settings.topic_prefix}{topic}.dlq"):
            told = DeadLetter.from_headers(letter.headers)
            places.append(f"{told.topic}/{told.partition}/{told.offset}")
            for name, value in letter.headers[1:]:  # the first is the publisher's own
                expect_harmless(name, name.encode() + b" " + value)
    assert len(places) == 5 * len(REFUSED) + len(ALLOWED) + len(REFUSED)
    return places


def test_files_with_hostile_texts_are_named_harmlessly(tmp_path: Path) -> None:
    """Replaying and explaining a file of such events, and checking a model of such a name, write nothing raw either."""
    lines = [event("account_updated", text, {"name": text, "owner": text}) for text in [*ALLOWED, *REFUSED]]
    lines += [b"not JSON " + text.encode() for text in REFUSED]
    log = tmp_path / "log\u202e\x1b[2J.ndjson"
    log.write_bytes(b"\n".join(lines) + b"\n")
    for arguments in (
        ["replay", str(log), "--out", str(tmp_path / "out")],
        ["explain", ALLOWED[0], "--log", str(log)],
        ["model", "check", str(log)],
        ["model", "show", str(tmp_path / "\x1b[2J")],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "service.cli.main", *arguments],
            env={**os.environ, "COLUMNS": "200", "PYTHONIOENCODING": "utf-8"},
            capture_output=True,
            timeout=120,
            check=False,
        )
        assert b"Traceback" not in done.stderr, done.stderr.decode(errors="replace")
        expect_harmless(" ".join(map(ascii, arguments)), done.stdout + done.stderr)
