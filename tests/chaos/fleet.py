"""The workers of a run: started, killed, paused, and started again when they end, as a process manager would.

The history tells everything that was done to them, in the order in which it happened. Signals go to processes that the
fleet itself started, by their ids.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.integration.kafka_tools import TestedProcess

READY = "Worker ready"
RECOVERED = "Recovered "
READY_SECONDS = 90.0
STOP_SECONDS = 25.0
IN_VAIN = "in vain for"


class History:
    """What happened when, in seconds since the start of the run."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        """Write one line."""
        self.lines.append(f"{time.monotonic() - self._began:8.2f}  {text}")


@dataclass
class Slot:
    """One place of the fleet and the process that fills it now."""

    number: int
    process: TestedProcess | None = None
    started: int = 0
    paused: bool = False
    expected_to_run: bool = True
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def alive(self) -> bool:
        """Whether its process runs (or is paused)."""
        return self.process is not None and self.process.process.poll() is None

    @property
    def frozen(self) -> bool:
        """Whether its process is stopped by a signal."""
        return (
            self.process is not None
            and self.alive
            and psutil.Process(self.process.process.pid).status() == psutil.STATUS_STOPPED
        )

    @property
    def ready(self) -> bool:
        """Whether its present process ever became ready."""
        return self.says(READY)

    def says(self, text: str) -> bool:
        """Whether its present process printed a text."""
        return self.process is not None and text in self.process.output()


class Fleet:
    """Keeps workers running and does things to them."""

    def __init__(self, folder: Path, arguments: list[str], variables: Callable[[Slot], dict[str, str]]) -> None:
        self._folder = folder
        self._arguments = arguments
        self._variables = variables
        self.history = History()
        self.slots: list[Slot] = []
        self.crashes = 0
        self.zombies = 0

    def scale(self, count: int) -> None:
        """Have so many workers: start the missing ones, stop the surplus ones cleanly."""
        while len(self.slots) < count:
            self.slots.append(Slot(len(self.slots)))
        for slot in self.slots[count:]:
            if slot.expected_to_run:
                slot.expected_to_run = False
                self.history.note(f"w{slot.number} stopped as surplus")
                if slot.process is not None and slot.alive:
                    slot.process.process.send_signal(signal.SIGTERM)
        for slot in self.slots[:count]:
            slot.expected_to_run = True
        self.tend()

    def tend(self) -> None:
        """Start what should run and does not."""
        for slot in self.slots:
            if slot.alive or not slot.expected_to_run:
                continue
            if slot.process is not None:
                code = slot.process.process.returncode
                self.history.note(f"w{slot.number} had ended with {code}: started again")
                self.crashes += code not in {0, None}
            slot.started += 1
            slot.paused = False
            log = self._folder / f"w{slot.number}-{slot.started:03d}.log"
            log.unlink(missing_ok=True)  # of a run before in the same folder: it would be taken for this worker's
            slot.process = TestedProcess(log, "tests.chaos.worker", "worker", *self._arguments, **self._variables(slot))

    def wait_ready(self, seconds: float = READY_SECONDS) -> float:
        """Wait until every worker is ready, tending them meanwhile; return how long it took."""
        return self.wait_until(lambda: all(slot.ready for slot in self.running()), "all workers to be ready", seconds)

    def wait_until(self, done: Callable[[], bool], what: str, seconds: float) -> float:
        """Tend the workers until `done`; return how long it took; fails when time runs out."""
        began = time.monotonic()
        while True:
            self.tend()
            if done():
                return time.monotonic() - began
            assert time.monotonic() - began < seconds, f"waited {seconds:.0f} s {IN_VAIN} {what}\n{self.tails()}"
            time.sleep(0.2)

    def pass_time(self, seconds: float) -> None:
        """Let time pass, tending the workers."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.tend()
            time.sleep(min(0.2, left))

    def running(self) -> list[Slot]:
        """List the slots that should have a process."""
        return [slot for slot in self.slots if slot.expected_to_run]

    def rebalances(self) -> int:
        """Count the rebalances that the logs of all workers tell of; each recovers what it was given."""
        return sum(slot.process.output().count(RECOVERED) for slot in self.slots if slot.process is not None)

    def kill(self, slot: Slot) -> None:
        """End a worker as a power cut would."""
        self.history.note(f"w{slot.number} killed")
        if slot.process is not None and slot.alive:
            slot.process.kill()

    def terminate(self, slot: Slot) -> int:
        """Ask a worker to stop, wait, and return its exit code."""
        assert slot.process is not None
        began = time.monotonic()
        slot.expected_to_run = False
        code = slot.process.terminate(STOP_SECONDS) if slot.alive else slot.process.process.returncode
        self.history.note(f"w{slot.number} stopped with {code} in {time.monotonic() - began:.1f} s")
        return code

    def pause(self, slot: Slot) -> None:
        """Freeze a worker."""
        self.history.note(f"w{slot.number} paused")
        slot.paused = True
        if slot.process is not None and slot.alive:
            slot.process.process.send_signal(signal.SIGSTOP)

    def resume(self, slot: Slot) -> None:
        """Let a frozen worker go on."""
        self.history.note(f"w{slot.number} goes on")
        self.zombies += 1
        slot.paused = False
        if slot.process is not None and slot.alive:
            slot.process.process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End every process."""
        for slot in self.slots:
            slot.expected_to_run = False
            if slot.process is not None and slot.alive:
                slot.process.kill()

    def tails(self) -> str:
        """Return the history and the end of every worker's log, what it tells of its inside included."""
        for slot in self.slots:
            if slot.process is not None and slot.alive and slot.ready and not slot.paused:
                slot.process.process.send_signal(signal.SIGUSR1)
        time.sleep(1)
        logs = [slot.process.output()[-12_000:] for slot in self.slots if slot.process is not None]
        return "\n".join([*self.history.lines, *logs])
