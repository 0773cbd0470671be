"""Ends a worker that no longer works, from a thread of its own, so that the process manager starts another.

The loop tells what it sees (`Sight`) twice a second; `Rules` judge it on a clock that is handed in. A rule speaks of
things that cannot be waited for: while brokers are away, a rebalance or a recovery is under way or the process is
paused, the clock of what must move (`Sight.working_seconds`) stands still; a rebalance and a recovery must move too.
The thread ends the process without asking the loop: one line with the reason, the stacks of all threads, exit code 1.
Nothing is saved then; it is a crash, after which a restart goes on from what is committed.

A paused process (SIGSTOP, a sleeping machine) that wakes later than `stall_seconds` ends as well: its partitions are
about to have, or have, another owner, and what it would still write is old: the producer asks before each write
(`end_if_paused`), so nothing leaves before the pause is seen. After a shorter pause it goes on.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

log = logging.getLogger(__name__)

EXIT_CODE = 1
CHECK_SECONDS = 0.25
# The loop may be stalled, or the process paused, for this share of the session timeout: the brokers then still count
# the worker as alive, and it ends before they give its partitions away.
STALL_SHARE = 0.5
# Nothing is owned while a recovery hands over its accounts, so nothing old can be written; a million takes seconds.
RECOVERY_STALL_SECONDS = 60.0
# Three times as long as a write is retried: what can be mended by waiting is mended, or has failed, long before.
STILL_SECONDS = 120.0
# A rebalance waits a minute for a member that does not answer, and may have to begin again.
UNREADY_SECONDS = 300.0
# A loop that spins takes all of a core. A worker that does nothing takes a twentieth, a loaded machine leaves it less.
SPIN_SECONDS = 60.0
SPIN_SHARE = 0.6
# The last resort against native code that lets no other thread run, this one neither: `faulthandler` needs no
# interpreter. Its only line is "Timeout", so the rules come first.
BACKSTOP_SECONDS = 60.0
BACKSTOP_INTERVAL_SECONDS = 5.0
# The loop tells what it sees twice a second; after so long without a word it does not run.
LOOP_RUNS_SECONDS = 2.0
# A log that takes nothing more (a full pipe) must not keep the process alive.
TELL_SECONDS = 3.0


class Waiting(NamedTuple):
    """Something that must move: `mark` changes whenever it does."""

    mark: object
    told: str


@dataclass(frozen=True, slots=True)
class Sight:
    """What the loop saw when it last ran."""

    seconds: float = 0.0
    is_recovering: bool = False
    working_seconds: float = 0.0
    waiting: Mapping[object, Waiting] = ()  # type: ignore[assignment]  # an empty one
    work_done: object = None
    unready_seconds: float = 0.0
    """How long a rebalance or a recovery has been under way without any step, while brokers answered."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long each thing may take."""

    stall_seconds: float
    stop_seconds: float
    recovery_stall_seconds: float = RECOVERY_STALL_SECONDS
    still_seconds: float = STILL_SECONDS
    unready_seconds: float = UNREADY_SECONDS
    spin_seconds: float = SPIN_SECONDS
    spin_share: float = SPIN_SHARE


class Rules:
    """Judge a worker; asked again and again, answers with the reason to end it as soon as there is one."""

    def __init__(self, limits: Limits, now_seconds: float) -> None:
        self._limits = limits
        self._checked_seconds = now_seconds
        self._since: dict[object, tuple[object, float]] = {}
        self._spin_begin: tuple[object, float, float] | None = None

    def judge(
        self, now_seconds: float, cpu_seconds: float, sight: Sight, stop_asked_seconds: float | None
    ) -> str | None:
        """Return why the process must end, None when it need not; a worker that stops has its deadline only."""
        paused_seconds, self._checked_seconds = now_seconds - self._checked_seconds, now_seconds
        if stop_asked_seconds is not None:
            late = now_seconds - stop_asked_seconds >= self._limits.stop_seconds
            return f"worker did not stop within {self._limits.stop_seconds:.0f} s" if late else None
        return (
            self._paused(paused_seconds)
            or self._stalled(now_seconds, sight)
            or self._still(sight)
            or self._unready(sight)
            or self._spinning(now_seconds, cpu_seconds, sight)
        )

    def paused(self, now_seconds: float) -> str | None:
        """Return why the process must end when nothing was judged for too long; for other threads."""
        return self._paused(now_seconds - self._checked_seconds)

    def _paused(self, seconds: float) -> str | None:
        if seconds < self._limits.stall_seconds:
            return None
        return f"the process was paused for {seconds:.1f} s, and its partitions may have another owner"

    def _stalled(self, now_seconds: float, sight: Sight) -> str | None:
        limits = self._limits
        seconds = now_seconds - sight.seconds
        most = max(limits.stall_seconds, limits.recovery_stall_seconds if sight.is_recovering else 0.0)
        return f"the event loop has not run for {seconds:.1f} s" if seconds >= most else None

    def _still(self, sight: Sight) -> str | None:
        since = self._since
        self._since = {}
        for thing, (mark, told) in dict(sight.waiting).items():
            before = since.get(thing)
            if before is None or before[0] != mark:
                before = (mark, sight.working_seconds)
            self._since[thing] = before
            seconds = sight.working_seconds - before[1]
            if seconds >= self._limits.still_seconds:
                return f"{told}, for {seconds:.0f} s"
        return None

    def _unready(self, sight: Sight) -> str | None:
        if sight.unready_seconds < self._limits.unready_seconds:
            return None
        return f"a rebalance or a recovery does not go on, for {sight.unready_seconds:.0f} s"

    def _spinning(self, now_seconds: float, cpu_seconds: float, sight: Sight) -> str | None:
        begin = self._spin_begin
        if begin is None or begin[0] != sight.work_done:
            self._spin_begin = (sight.work_done, now_seconds, cpu_seconds)
            return None
        seconds, busy_seconds = now_seconds - begin[1], cpu_seconds - begin[2]
        if seconds < self._limits.spin_seconds:
            return None
        self._spin_begin = (sight.work_done, now_seconds, cpu_seconds)
        if busy_seconds < self._limits.spin_share * seconds:
            return None
        return f"the process computed for {busy_seconds:.0f} of {seconds:.0f} s, and nothing came of it"


def no_known_delay() -> str | None:
    """Know no reason but the process itself why a stop does not end."""
    return None


class Watchdog:
    """The thread that asks the rules; it lives until the process ends, so that nothing can hang behind it.

    `known_delay` tells why a stop does not end when that is no fault of the process; it then ends without stacks.
    """

    def __init__(self, limits: Limits, known_delay: Callable[[], str | None] = no_known_delay) -> None:
        self.limits = limits
        self._known_delay = known_delay
        self.stops_for: BaseException | None = None
        """Why the worker stops; None when it was asked to."""
        self._stop_asked_seconds: float | None = None
        self._sight = Sight(seconds=time.monotonic())
        self._rules = Rules(limits, time.monotonic())
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def tell(self, sight: Sight) -> None:
        """Take what the loop sees now."""
        self._sight = sight

    def end_if_paused(self) -> None:
        """End the process when it was paused too long just now, and this is the first of its threads to run again."""
        reason = self._rules.paused(time.monotonic())
        if reason is not None:
            end_process(reason)

    def note_stop(self) -> None:
        """Expect the process to end within its time from the first call on; safe in a signal handler."""
        if self._stop_asked_seconds is None:
            self._stop_asked_seconds = time.monotonic()

    def _watch(self) -> None:
        armed_seconds = 0.0
        while True:
            now_seconds = time.monotonic()
            reason = self._rules.judge(now_seconds, time.process_time(), self._sight, self._stop_asked_seconds)
            if reason is not None:
                if told := self._known(now_seconds):
                    end_quietly(told)
                end_process(f"{reason}: {self.stops_for}" if self.stops_for else reason)
            if now_seconds - armed_seconds > BACKSTOP_INTERVAL_SECONDS:
                armed_seconds = now_seconds
                faulthandler.dump_traceback_later(self.limits.stall_seconds + BACKSTOP_SECONDS, exit=True)
            time.sleep(CHECK_SECONDS)

    def _known(self, now_seconds: float) -> str | None:
        """Return why a stop does not end, when the loop runs and others are the reason."""
        if self._stop_asked_seconds is None or now_seconds - self._sight.seconds >= LOOP_RUNS_SECONDS:
            return None
        return self._known_delay()


def end_process(reason: str) -> None:
    """Say why, show what every thread does, and end the process at once."""
    _end_anyhow()
    log.error("watchdog: %s; ending it now, see the threads below", reason)
    faulthandler.dump_traceback(sys.stderr, all_threads=True)
    sys.stderr.flush()
    os._exit(EXIT_CODE)


def end_quietly(told: str) -> None:
    """Say what is known, and end the process at once."""
    _end_anyhow()
    log.error("%s", told)
    sys.stderr.flush()
    os._exit(EXIT_CODE)


def _end_anyhow() -> None:
    anyhow = threading.Timer(TELL_SECONDS, os._exit, (EXIT_CODE,))
    anyhow.daemon = True
    anyhow.start()
