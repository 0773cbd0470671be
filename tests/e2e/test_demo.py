"""The demo as its users run it: it ends with figures that are right, and nothing that it started outlives it."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import httpx
import pytest

from tests.e2e.running import START_SECONDS, RunningCommand

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

ACCOUNTS = 200


class RunningDemo(RunningCommand):
    """`vitals demo` with a home of its own."""

    def __init__(self, home: Path, *arguments: str) -> None:
        super().__init__(home / "demo", home, "demo", *arguments)

    def page(self) -> str:
        """Wait until the page's address is told; return it."""
        self.wait_for("the page: ")
        return self.progress.read_text().partition("the page: ")[2].split()[0]


def test_it_shows_alerts_and_leaves_nothing(home: Path) -> None:
    """After 20 s of stream: exit code 0, alerts, no lag, no dead letters, nearly all accounts in a band, no process."""
    demo = RunningDemo(home, "--seconds", "20", "--json")
    demo.wait_for("first score")
    assert len(demo.processes()) >= 2  # the broker and the worker; the page's come now
    page = demo.page()
    assert len(demo.processes()) == 5  # Redis, the projector and the API as well
    assert '<tbody id="rows">' in httpx.get(page, params={"show": "all", "sort": "risk"}, timeout=20).text
    summary = json.loads(demo.end(120))
    assert demo.process.returncode == 0
    assert summary["events"] > 20 * ACCOUNTS
    assert summary["alerts"] == sum(summary["alerts_by_kind"].values()) > 0
    assert summary["alerts"] < ACCOUNTS
    assert (summary["lag_records"], summary["dead_letters"]) == (0, 0)
    assert sum(summary["accounts"].values()) > 0.9 * ACCOUNTS
    assert summary["accounts"]["unknown"] < 0.1 * ACCOUNTS
    assert 20 <= summary["seconds"] < 25
    assert demo.processes() == []


def test_ctrl_c_lets_the_worker_finish(home: Path) -> None:
    """Ctrl-C in the middle: exit code 0, the figures so far with no lag, no process left; another demo had to wait."""
    demo = RunningDemo(home, "--json")
    demo.wait_for("first score")
    second = RunningDemo(home, "--json")
    assert second.end(60) == ""
    assert second.process.returncode == 1
    time.sleep(8)
    demo.process.send_signal(signal.SIGINT)
    summary = json.loads(demo.end(60))
    assert demo.process.returncode == 0
    assert summary["events"] > 0
    assert summary["lag_records"] == 0
    assert demo.processes() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_broker_starts(home: Path, number: signal.Signals) -> None:
    """Ctrl-C or SIGTERM before the broker answers: exit code 130, nothing on standard output, no process left."""
    demo = RunningDemo(home, "--json")
    demo.wait_for("starting Apache Kafka")
    time.sleep(1)
    demo.process.send_signal(number)
    assert demo.end(60) == ""
    assert demo.process.returncode == 130
    assert demo.processes() == []


def test_a_dead_worker_ends_it(home: Path) -> None:
    """When the worker dies, the demo says so with the end of its log, stops the broker and exits with 1."""
    demo = RunningDemo(home, "--json")
    demo.wait_for("first score")
    demo.role("worker").kill()
    assert demo.end(60) == ""
    assert demo.process.returncode == 1
    told = demo.progress.read_text()
    assert "the worker ended with exit code -9" in told
    assert "Worker ready" in told  # a line of its log
    assert demo.processes() == []


def test_a_killed_demo_is_cleaned_up_by_the_next(home: Path) -> None:
    """What a demo leaves running when it is killed itself, the next one in the same home ends before it starts."""
    killed = RunningDemo(home, "--json")
    killed.page()
    left = killed.processes()
    killed.process.kill()
    killed.end(10)
    assert len(left) == 5
    demo = RunningDemo(home, "--seconds", "2", "--json", "--picture", str(home.parent / "view.svg"))
    assert json.loads(demo.end(START_SECONDS + 60))["lag_records"] == 0
    assert demo.process.returncode == 0
    assert not any(process.is_running() for process in left)
    assert demo.processes() == []
    assert "Worst&#160;accounts" in (home.parent / "view.svg").read_text()
