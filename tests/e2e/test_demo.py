"""The demo as its users run it: it ends with figures that are right, and nothing that it started outlives it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

ACCOUNTS = 200
# Broker, worker and group, on a machine that is busy with other tests.
START_SECONDS = 90


class RunningDemo:
    """`vitals demo` in a process of its own, with a home of its own."""

    def __init__(self, home: Path, *arguments: str) -> None:
        self.home = home / "demo"
        self.progress = home.parent / "progress.txt"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("VITALS_")}
        with self.progress.open("w") as progress:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "service.cli.main", "demo", *arguments],
                env={**environment, "VITALS_HOME": str(home)},
                stdout=subprocess.PIPE,
                stderr=progress,
                text=True,
            )

    def wait_for(self, words: str) -> None:
        """Wait until the demo says this on standard error."""
        deadline = time.monotonic() + START_SECONDS
        while words not in self.progress.read_text():
            assert self.process.poll() is None, self.progress.read_text()
            assert time.monotonic() < deadline, self.progress.read_text()
            time.sleep(0.1)

    def end(self, seconds: float) -> str:
        """Wait for its end; return what it wrote to standard output."""
        output, _ = self.process.communicate(timeout=seconds)
        return output

    def processes(self) -> list[psutil.Process]:
        """Find what runs for this demo: all that names its home in its arguments or its environment."""
        found = []
        for process in psutil.process_iter():
            try:
                told = [*process.cmdline(), process.environ().get("VITALS_HOME", "")]
            except psutil.Error:
                continue
            if process.pid != self.process.pid and any(str(self.home) in text for text in told):
                found.append(process)
        return found

    def page(self) -> str:
        """Wait until the page's address is told; return it."""
        self.wait_for("the page: ")
        return self.progress.read_text().partition("the page: ")[2].split()[0]

    def worker(self) -> psutil.Process:
        """Find its worker."""
        return next(process for process in self.processes() if "worker" in process.cmdline())


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Make a home, short enough for a socket, and leave no process behind when a test fails."""
    tmp_path = tmp_path_factory.mktemp("d")
    yield tmp_path / "home"
    for process in psutil.process_iter():
        try:
            if any(str(tmp_path) in text for text in [*process.cmdline(), process.environ().get("VITALS_HOME", "")]):
                process.kill()
        except psutil.Error:
            continue


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
    demo.worker().kill()
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
