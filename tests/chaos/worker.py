"""A worker under test: `vitals worker` with a clock, fault points and seeded bugs that the environment names.

Only tests start it. What it changes is patched from here, never in the product: `CHAOS_CLOCK` (see `WorkerClock`),
`CHAOS_FAULT` (`<point>:<n>`, the process ends at the n-th passing as by a power cut), `CHAOS_PAUSE` (the same, it
stops there; `CHAOS_FAULT` then names the point at which it ends when it goes on), `CHAOS_UNWATCHED` (no watchdog ends
it when it was paused) and `CHAOS_MUTANT`.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from agents.runtime.watchdog import Watchdog
from tests.chaos import dump, mutants, splits
from tests.chaos.patching import patch
from tests.chaos.splits import COMMIT_POINTS, TO_BE_SENT


class WorkerClock:
    """The wall clock moved to another day: `<epoch ms of now>@<real epoch ms>`, plus a file that shifts it at will."""

    def __init__(self, told: str) -> None:
        then, real, self._shift_file = told.split("@")
        self._ahead_ms = int(then) - int(real)

    def now_ms(self) -> int:
        """Return the shifted wall clock."""
        return time.time_ns() // 1_000_000 + self._ahead_ms + self._shift_ms()

    def _shift_ms(self) -> int:
        try:
            return int(Path(self._shift_file).read_text(encoding="ascii") or 0)
        except (OSError, ValueError):
            return 0


class FaultPoint:
    """Signals the own process at the n-th passing of a point: nothing runs in it after that, as in a crash."""

    def __init__(self, told: str, number_of_signal: signal.Signals, then: str = "") -> None:
        self._signal = number_of_signal
        self._then = then
        self._point, _, number = told.rpartition(":")
        self._left = int(number or 0)
        self._works = False

    async def passing(self, point: str) -> None:
        """Pass a point, or end there."""
        self.passed(point)

    def passed(self, point: str) -> None:
        """Pass a point, or end there."""
        self._works |= point == TO_BE_SENT  # before that, commits have nothing to commit
        if point != self._point or (point in COMMIT_POINTS and not self._works):
            return
        self._left -= 1
        if self._left == 0:
            sys.stderr.write(f"chaos: {self._signal.name} at {point!r}\n")
            sys.stderr.flush()
            os.kill(os.getpid(), self._signal)
            if self._then:  # it was paused, and goes on
                self._point, self._left, self._signal = self._then, 1, signal.SIGKILL


def main() -> None:
    """Patch, then run the command line as a person would."""
    from service.cli import main as cli  # noqa: PLC0415 - after the environment is known
    from service.cli import worker as command  # noqa: PLC0415

    deps: dict[str, Any] = {}
    clock = os.environ.get("CHAOS_CLOCK")
    if clock:
        deps["now_ms"] = WorkerClock(clock).now_ms
    told = os.environ.get("CHAOS_PAUSE")
    if "CHAOS_UNWATCHED" in os.environ:
        patch(Watchdog, "start", lambda self: None)
        patch(Watchdog, "end_if_paused", lambda self: None)
    at_fault = os.environ.get("CHAOS_FAULT", "")
    fault = FaultPoint(told, signal.SIGSTOP, at_fault) if told else FaultPoint(at_fault, signal.SIGKILL)
    deps["fault_point"] = fault.passing
    splits.install(fault.passed, float(os.environ.get("CHAOS_SLOW_SENDS", "0")))
    dump.install()
    splits.lengthen_fetches(float(os.environ.get("CHAOS_FETCH_SECONDS", "0")))
    mutant = os.environ.get("CHAOS_MUTANT")
    if mutant:
        mutants.MUTANTS[mutant].install()
    command.run_worker = functools.partial(command.run_worker, **deps)
    cli.main()


if __name__ == "__main__":
    main()
