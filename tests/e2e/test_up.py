"""`vitals up` as its users run it: their events are scored, kept and found again; nothing outlives it but the data."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.adapters.embedded_kafka import EmbeddedKafka, free_ports
from service.adapters.embedded_redis import EmbeddedRedis
from tests.conftest import Vitals
from tests.e2e.running import START_SECONDS, RunningCommand

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "publish_event.py"
ANSWER = json.loads((ROOT / "schemas" / "golden" / "survey_answered.v1.examples.json").read_bytes())[0]
PARTS = 5  # broker, Redis, worker, projector, API


class RunningUp(RunningCommand):
    """`vitals up` with a home of its own."""

    def __init__(self, home: Path, page_port: int, *arguments: str) -> None:
        port = str(page_port)
        super().__init__(home, home, "up", "--json", "--port", port, *arguments)

    def addresses(self) -> dict[str, Any]:
        """Wait until the addresses are told; return them."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.progress.read_text()
        found: dict[str, Any] = json.loads(line)
        return found


def publish_login(bootstrap: str, account: str) -> None:
    """Publish an event as the page of the project says."""
    subprocess.run(
        [sys.executable, str(EXAMPLE), account, "ann"], env={**os.environ, "VITALS_BROKER": bootstrap}, check=True
    )


def read_score(found: dict[str, Any], account: str, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Read an account over HTTP until it is there as wanted."""
    headers = {"Authorization": f"Bearer {found['key']}"}
    deadline = time.monotonic() + START_SECONDS
    while True:
        answer = httpx.get(f"{found['page']}v1/accounts/{account}", headers=headers, timeout=20)
        if answer.status_code == 200 and wanted(answer.json()):
            score: dict[str, Any] = answer.json()["score"]
            return score
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.2)


def publish_answer(vitals: Vitals, home: Path, number: int) -> None:
    """Publish the answer to a survey with `vitals publish`, which finds the broker by its folder."""
    data = {**ANSWER["data"], "response": str(number)}
    sent = {**ANSWER, "id": f"answer-{number}", "time": datetime.now(UTC).isoformat(), "data": data}
    file = home.parent / "answers.ndjson"
    file.write_text(json.dumps(sent) + "\n")
    done = vitals("publish", str(file), "--json", VITALS_HOME=str(home))
    assert json.loads(done.stdout)["events"] == 1, done.stderr


def answers(count: int) -> Callable[[dict[str, Any]], bool]:
    """Make a check that so many answers are known."""
    return lambda view: view["details"] is not None and len(view["details"]["surveys"]) == count


def test_what_was_scored_is_there_at_the_next_start(home: Path, vitals: Vitals) -> None:
    """An event is scored; SIGTERM ends all with exit code 0; the second start has key, broker and score again.

    A start with the app id of another deployment is refused with exit code 2.
    """
    port = free_ports(1)[0]
    first = RunningUp(home, port, "--broker-port", "0")
    found = first.addresses()
    assert len(first.processes()) == PARTS
    assert httpx.get(found["page"] + "v1/accounts", timeout=20).status_code == 401
    assert [stat.S_IMODE((home / name).stat().st_mode) for name in ("page.key", "keys.json")] == [0o600] * 2
    publish_login(found["bootstrap"], "acme")
    publish_answer(vitals, home, 1)
    before = read_score(found, "acme", answers(1))
    second = vitals("up", VITALS_HOME=str(home))
    assert (second.returncode, f"process {first.process.pid}" in second.stderr) == (1, True)
    first.process.send_signal(signal.SIGTERM)
    assert (first.end(60), first.process.returncode, first.processes()) == ("", 0, [])

    again = RunningUp(home, port)
    assert again.addresses() == found
    after = read_score(found, "acme", answers(1))
    assert (after["seq"], after["score"], after["factors"]) == (before["seq"], before["score"], before["factors"])
    again.process.send_signal(signal.SIGINT)
    assert (again.end(60), again.process.returncode, again.processes()) == ("", 0, [])

    other = vitals("up", "--port", str(port), VITALS_HOME=str(home), VITALS_APP_ID="other")
    assert (other.returncode, "app id vitals scores the inputs" in other.stderr) == (2, True), other.stderr


def test_a_killed_one_is_found_again(home: Path, vitals: Vitals) -> None:
    """What SIGKILL leaves running is ended by the next start, which loses no event; a dead worker ends all with 1."""
    killed = RunningUp(home, free_ports(1)[0], "--broker-port", "0")
    found = killed.addresses()
    publish_answer(vitals, home, 1)
    read_score(found, "acme", answers(1))
    left = killed.processes()
    killed.process.kill()
    killed.end(10)
    assert len(left) == PARTS
    publish_answer(vitals, home, 2)  # the broker still runs
    again = RunningUp(home, free_ports(1)[0])
    found = again.addresses()
    assert not any(process.is_running() for process in left)
    read_score(found, "acme", answers(2))
    again.role("worker").kill()
    assert again.end(60) == ""
    assert again.process.returncode == 1
    assert "the worker ended with exit code -9" in again.progress.read_text()
    assert again.processes() == []


@pytest.mark.parametrize("server", [EmbeddedKafka, EmbeddedRedis])
def test_a_server_that_ends_ends_all(home: Path, server: type[EmbeddedKafka] | type[EmbeddedRedis]) -> None:
    """With exit code 1, its name and its log; a process manager starts the whole again."""
    up = RunningUp(home, free_ports(1)[0], "--broker-port", "0")
    up.addresses()
    server(home).stop()
    assert up.end(60) == ""
    assert up.process.returncode == 1
    # A role may see it first.
    assert re.search(r"(Kafka|Redis|the \w+) ended.*; its log: ", " ".join(up.progress.read_text().split()))
    assert up.processes() == []


def test_a_folder_in_use_is_refused(home: Path, vitals: Vitals) -> None:
    """A broker that was started by another command goes on, at the second try, too; the cure is named."""
    kafka = EmbeddedKafka(home, port=0)
    kafka.start()
    try:
        for _ in range(2):
            refused = vitals("up", VITALS_HOME=str(home))
            assert (refused.returncode, "`vitals kafka down` first" in refused.stderr) == (1, True), refused.stderr
            assert kafka.status().state == "running"
    finally:
        kafka.stop()


@pytest.mark.parametrize(
    ("name", "value"),
    [("VITALS_BROKER", "127.0.0.1:1"), ("VITALS_REDIS", "redis://r/0"), ("VITALS_METRICS", "127.0.0.1:1")],
)
def test_parts_of_others_are_refused(home: Path, vitals: Vitals, name: str, value: str) -> None:
    """It has a broker and a Redis of its own: a setting that names another is no use and is told, with exit code 2."""
    refused = vitals("up", VITALS_HOME=str(home), **{name: value})
    assert (refused.returncode, f"{name} cannot be set" in refused.stderr, home.exists()) == (2, True, False)


def test_a_taken_port_is_named(home: Path, vitals: Vitals, broker: EmbeddedKafka) -> None:
    """The page's port that somebody else has: exit code 1, the cure, and nothing runs on."""
    port = broker.bootstrap.rpartition(":")[2]
    refused = vitals("up", "--port", port, "--broker-port", "0", VITALS_HOME=str(home))
    assert (refused.returncode, f"port 127.0.0.1:{port} is taken" in refused.stderr) == (1, True)
    assert EmbeddedKafka(home).status().state == "stopped"
