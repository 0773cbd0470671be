"""Commands that start processes of their own, run as their users run them; and what they leave behind."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

# Broker, worker and group, on a machine that is busy with other tests.
START_SECONDS = 90


class RunningCommand:
    """A command in a process of its own; all that it starts names its `home`."""

    def __init__(self, home: Path, environment_home: Path, *arguments: str) -> None:
        self.home = home
        self.progress = environment_home.parent / "progress.txt"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("VITALS_")}
        with self.progress.open("w") as progress:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "service.cli.main", *arguments],
                env={**environment, "VITALS_HOME": str(environment_home)},
                stdout=subprocess.PIPE,
                stderr=progress,
                text=True,
            )

    def wait_for(self, words: str) -> None:
        """Wait until it says this on standard error."""
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
        """Find what runs for it: all that names its home in its arguments or its environment."""
        return [process for process in naming(self.home) if process.pid != self.process.pid]

    def role(self, name: str) -> psutil.Process:
        """Find one of its roles, `worker` for instance."""
        return next(process for process in self.processes() if name in process.cmdline())


def naming(folder: Path) -> Iterator[psutil.Process]:
    """Find the processes that name a folder in their arguments or as their home."""
    for process in psutil.process_iter():
        try:
            told = [*process.cmdline(), process.environ().get("VITALS_HOME", "")]
        except psutil.Error:
            continue
        if any(str(folder) in text for text in told):
            yield process


def end_all(folder: Path) -> None:
    """Leave no process behind when a test fails."""
    for process in naming(folder):
        with contextlib.suppress(psutil.Error):
            process.kill()
