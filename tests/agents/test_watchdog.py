"""The watchdog's rules on a clock of the tests: what ends a worker, and everything that must not."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from agents.runtime.watchdog import Limits, Rules, Sight, Waiting

LIMITS = Limits(
    stall_seconds=5.0,
    stop_seconds=9.0,
    recovery_stall_seconds=60.0,
    still_seconds=120.0,
    spin_seconds=60.0,
    spin_share=0.6,
)
STEP_SECONDS = 0.25


@dataclass
class Worker:
    """A worker as its watchdog sees it: time passes, and the loop tells what it sees unless it is stalled."""

    now_seconds: float = 1_000.0
    cpu_seconds: float = 0.0
    working_seconds: float = 0.0
    stop_asked_seconds: float | None = None

    def __post_init__(self) -> None:
        self.rules = Rules(LIMITS, self.now_seconds)
        self.sight = Sight(self.now_seconds)

    def pass_time(
        self,
        seconds: float,
        *waiting: tuple[str, Waiting],
        tells: bool = True,
        works: bool = True,
        is_recovering: bool = False,
        cpu: float = 0.0,
        work_done: object = None,
    ) -> str | None:
        """Let time pass in the watchdog's steps; return the first reason to end."""
        for _ in range(round(seconds / STEP_SECONDS)):
            self.now_seconds += STEP_SECONDS
            self.cpu_seconds += STEP_SECONDS * cpu
            self.working_seconds += STEP_SECONDS * works
            if tells:
                self.sight = Sight(self.now_seconds, is_recovering, self.working_seconds, dict(waiting), work_done)
            if reason := self.judge():
                return reason
        return None

    def judge_unready(self, seconds: float) -> str | None:
        """Ask the rules about a worker that has been unready for so long."""
        self.sight = Sight(self.now_seconds, unready_seconds=seconds)
        return self.judge()

    def judge(self) -> str | None:
        """Ask the rules now."""
        return self.rules.judge(self.now_seconds, self.cpu_seconds, self.sight, self.stop_asked_seconds)


def batch(offset: int) -> tuple[str, Waiting]:
    """Make the head batch of a partition."""
    return ("delivered", Waiting(offset, f"usage/3: the batch from offset {offset} on is delivered, but not applied"))


def test_a_loop_that_runs_is_left_alone() -> None:
    """Nothing to do for an hour is no reason to end."""
    assert Worker().pass_time(3_600) is None


def test_a_stalled_loop_ends_the_process() -> None:
    """A loop that tells nothing for half the session timeout is stalled, and not a moment before."""
    worker = Worker()
    assert worker.pass_time(4.75, tells=False) is None
    assert worker.pass_time(0.25, tells=False) == "the event loop has not run for 5.0 s"


def test_a_recovery_may_hold_the_loop_longer() -> None:
    """Handing over a million accounts takes seconds, in which nothing is owned; a minute of it is a stall."""
    worker = Worker()
    assert worker.pass_time(1, is_recovering=True) is None
    assert worker.pass_time(59.75, tells=False) is None
    assert worker.pass_time(0.25, tells=False) == "the event loop has not run for 60.0 s"


def test_a_process_that_was_paused_ends_when_it_wakes() -> None:
    """After half the session timeout its partitions are about to be another's; a shorter pause is forgiven."""
    worker = Worker()
    worker.now_seconds += 4.5
    assert worker.judge() is None
    assert worker.pass_time(60) is None
    assert worker.rules.paused(worker.now_seconds) is None
    worker.now_seconds += 18.0
    told = "the process was paused for 18.0 s, and its partitions may have another owner"
    assert worker.rules.paused(worker.now_seconds) == told, "whoever runs first sees it"
    assert worker.judge() == told
    assert worker.rules.paused(worker.now_seconds) is None


def test_a_head_batch_that_stays_ends_the_process() -> None:
    """A partition whose first delivered batch stays the same for the limit is stuck; the place is named."""
    worker = Worker()
    assert worker.pass_time(119, batch(7)) is None
    told = worker.pass_time(2, batch(7))
    assert told == "usage/3: the batch from offset 7 on is delivered, but not applied, for 120 s"


def test_a_head_batch_that_changes_is_progress() -> None:
    """However long a queue of batches is, one that moves is not stuck."""
    worker = Worker()
    assert all(worker.pass_time(100, batch(offset)) is None for offset in range(20))


def test_a_thing_that_went_and_came_back_begins_anew() -> None:
    """A partition that was given away and came back with the same batch has its whole time again."""
    worker = Worker()
    assert worker.pass_time(110, batch(7)) is None
    assert worker.pass_time(1) is None
    assert worker.pass_time(119, batch(7)) is None


def test_time_without_brokers_does_not_count() -> None:
    """While nothing can be expected to move, an hour of standing still is no reason; before and after it adds up."""
    worker = Worker()
    assert worker.pass_time(60, batch(7)) is None
    assert worker.pass_time(3_600, batch(7), works=False) is None
    assert worker.pass_time(59, batch(7)) is None
    assert worker.pass_time(2, batch(7)) is not None


def test_a_rebalance_that_never_ends_ends_the_process() -> None:
    """Nobody else can see it: the group is stable, and this member does nothing."""
    worker = Worker()
    assert worker.judge_unready(299.0) is None
    assert worker.judge_unready(300.0) == "a rebalance or a recovery does not go on, for 300 s"


def test_a_spinning_loop_ends_the_process() -> None:
    """A process that computes all the time while nothing comes of it spins."""
    told = Worker().pass_time(90, cpu=0.9)
    assert told is not None
    assert told.startswith("the process computed for ")


def test_hard_work_is_no_spinning() -> None:
    """A process that computes all the time and gets on with it does not spin, and neither does an idle one."""
    worker, works = Worker(), itertools.count()
    assert all(worker.pass_time(30, cpu=1.9, work_done=next(works)) is None for _ in range(20))
    assert worker.pass_time(3_600, cpu=0.3) is None


def test_a_stop_has_a_deadline_and_nothing_else() -> None:
    """Once asked to stop, a worker may stall and wait, but not longer than a stop may take."""
    worker = Worker()
    worker.stop_asked_seconds = worker.now_seconds
    assert worker.pass_time(8.75, batch(7), tells=False, cpu=1.0) is None
    assert worker.pass_time(0.25, tells=False) == "worker did not stop within 9 s"
