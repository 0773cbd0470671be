"""The demo's stream: simulated events, let through when their simulated time has come, slower when the worker lags.

The events are a plain function of a seed; only their pace depends on the machine.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime
from itertools import islice

from service.ingest import Decoder
from service.input_files import FileEvent
from service.simulation import Simulation, TimedLine

ACCOUNTS = 200
SEED = 3
DAY_SECONDS = 0.3
DAY_MS = 86_400_000
START_DAY = (date(2021, 1, 1) - date(1970, 1, 1)).days
# The accounts are of as many generations. Those of one that die do so in the second half of these days, so something
# happens from the first seconds on, and still after a minute.
FATE_DAYS = (80, 200)
# More than the second or two that the event clock waits for quiet topics.
LAG_MAX_RECORDS = 25_000
SLEEP_SECONDS = 0.005
# A stall is not made up for by a burst.
STEP_MAX_SECONDS = 0.25


class Pace:
    """Tells when events are due; the thread that reads events waits in it, the event loop steers it.

    The first simulated day passes at once: its scores show that the worker is there, then `begin` lets time run.
    """

    def __init__(self) -> None:
        self.lag_records = 0
        self.passed_ms = START_DAY * DAY_MS
        self._second_day_ms = (START_DAY + 1) * DAY_MS
        self._elapsed_seconds = 0.0
        self._looked_at = time.monotonic()
        self._running = False
        self._stopped = threading.Event()

    def begin(self) -> None:
        """Let simulated time run."""
        self._running = True

    def stop(self) -> None:
        """Let no more events through."""
        self._stopped.set()

    def wait_until_due(self, time_ms: int) -> bool:
        """Block until an event of this time is due; False when stopped."""
        due_seconds = (time_ms - self._second_day_ms) / DAY_MS * DAY_SECONDS
        while due_seconds > self._elapsed_seconds:
            if self._stopped.wait(SLEEP_SECONDS):
                return False
            self._advance()
        self.passed_ms = time_ms
        return not self._stopped.is_set()

    def _advance(self) -> None:
        now = time.monotonic()
        if self._running and self.lag_records < LAG_MAX_RECORDS:
            self._elapsed_seconds += min(now - self._looked_at, STEP_MAX_SECONDS)
        self._looked_at = now


def demo_lines() -> Iterator[TimedLine]:
    """Yield the stream, ordered by time; it ends when simulated time reaches today."""
    days = (datetime.now(UTC).date() - date(1970, 1, 1)).days - START_DAY
    return heapq.merge(*(_generation(number, days) for number in range(len(FATE_DAYS))), key=lambda line: line.time_ms)


def _generation(number: int, days: int) -> Iterator[TimedLine]:
    simulation = Simulation(ACCOUNTS, FATE_DAYS[number], SEED, START_DAY)
    # The fates are drawn; those who live go on for as long as anyone watches.
    simulation.days = days
    members = {line["account"] for line in islice(simulation.truth(), number, None, len(FATE_DAYS))}
    return (line for line in simulation.lines() if line.account in members)


def paced_events(lines: Iterator[TimedLine], pace: Pace) -> Iterator[FileEvent]:
    """Yield the events when they are due, decoded as the worker will decode them."""
    decoder = Decoder(lambda: time.time_ns() // 1_000_000)
    for line in lines:
        if not pace.wait_until_due(line.time_ms):
            return
        yield FileEvent(line.kind, line.value, decoder.decode_value(line.kind, line.value))
