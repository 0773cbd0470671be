"""Many accounts due at once: ticks leave the loop to others in between, and stand back while those are busy.

Time is the loop's own here and moves only as the test says, so nothing is measured.
"""

from __future__ import annotations

import asyncio
import selectors
from itertools import pairwise

from agents.partition_task import PartitionTask
from agents.runtime.table import FORMAT, HEADER, Partition
from agents.scorer import (
    LIVE_TICK_SLICE_ACCOUNTS,
    TICK_PAUSE_FACTOR,
    TICK_PAUSE_SECONDS_MAX,
    TICK_SLICE_ACCOUNTS,
    Scorer,
)
from service.model.loader import load_model
from service.scoring.engine import step
from service.scoring.events import Usage
from service.scoring.model import Model
from service.scoring.state import DAY_MS, AccountState
from service.scoring.state_codec import encode
from service.settings import Clock
from service.topic_catalogue import TopicNames

FIRST_DAY = 20_000
SLICES = 6


class StandingLoop(asyncio.SelectorEventLoop):
    """A loop whose time moves when a wait is over, and when the test says that somebody worked."""

    def __init__(self) -> None:
        self.seconds = 0.0
        super().__init__(_StandingSelector(self))

    def time(self) -> float:
        return self.seconds


class _StandingSelector(selectors.DefaultSelector):
    def __init__(self, loop: StandingLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._loop.seconds += max(0.0, timeout or 0.0)
        return super().select(0)


class NotingTask(PartitionTask):
    """A partition's task that notes the loop's time of every slice of ticks."""

    __slots__ = ("slices",)

    def __init__(self, partition: Partition, model: Model) -> None:
        super().__init__(partition, model)
        self.slices: list[tuple[float, int]] = []

    def tick_due(self, as_of_ms: int, most: int) -> int:
        ticked = super().tick_due(as_of_ms, most)
        self.slices.append((asyncio.get_running_loop().time(), ticked))
        return ticked


def slice_of(clock: Clock) -> int:
    return LIVE_TICK_SLICE_ACCOUNTS if clock == "wall" else TICK_SLICE_ACCOUNTS


def due_accounts(clock: Clock) -> tuple[Scorer, NotingTask, int]:
    """Make a scorer whose one partition has six slices of accounts due at the same instant, and that instant."""
    scorer = Scorer(load_model(), TopicNames(), clock)
    state = AccountState("acme")
    for day in range(40):
        time_ms = (FIRST_DAY + day) * DAY_MS + DAY_MS // 2
        step(state, Usage("acme", f"{day}", time_ms, "login", "u"), time_ms, scorer.model)
    assert state.next_due_ms is not None
    partition = Partition(0, scorer)
    stored = HEADER.pack(FORMAT, 0, state.revision) + encode(state)
    partition.data.update((f"account-{number}".encode(), stored) for number in range(SLICES * slice_of(clock)))
    task = NotingTask(partition, scorer.model)
    task.take_over([])
    scorer.tasks[0] = task
    return scorer, task, state.next_due_ms


def tick_all(clock: Clock, busy_seconds: float) -> tuple[list[float], int]:
    """Tick while somebody else takes so long at every turn; return the seconds between slices, and their turns."""
    scorer, task, due_ms = due_accounts(clock)
    turns = 0

    async def work(loop: StandingLoop) -> None:
        nonlocal turns
        while True:
            loop.seconds += busy_seconds
            turns += 1
            await asyncio.sleep(0)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, StandingLoop)
        other = asyncio.create_task(work(loop))
        await scorer.tick_task(task, due_ms)  # nobody alerts: it would wait for the alerts to get out
        assert not task.urgent
        other.cancel()

    with asyncio.Runner(loop_factory=StandingLoop) as runner:
        runner.run(run())
    assert [ticked for _, ticked in task.slices] == [slice_of(clock)] * SLICES + [0]
    times = [seconds for seconds, _ in task.slices]
    return [later - earlier for earlier, later in pairwise(times)], turns


def test_others_get_the_loop_after_every_slice() -> None:
    """Whoever waits for the loop has a turn between any two slices; with nothing to do, that takes no time."""
    gaps, turns = tick_all("wall", 0.0)
    assert turns >= SLICES
    assert gaps == [0.0] * SLICES


def test_ticks_stand_back_while_others_are_busy() -> None:
    """After a turn of 5 ms that others took, they have the loop for five times as long before the next slice."""
    gaps, _turns = tick_all("wall", 0.005)
    assert min(gaps) >= 0.005 * (1 + TICK_PAUSE_FACTOR) - 1e-9


def test_ticks_never_stand_back_for_long() -> None:
    """However long others take, the pause ends after 50 ms, with the few turns that are under way by then."""
    gaps, _turns = tick_all("wall", 1.0)
    assert TICK_PAUSE_SECONDS_MAX < 1.0
    assert max(gaps) <= 4 * 1.0


def test_old_logs_are_ticked_without_pause() -> None:
    """Under the event clock nobody waits for a single event: others have one turn between slices, no more."""
    gaps, turns = tick_all("event", 0.005)
    assert max(gaps) <= 0.005 + 1e-9
    assert turns <= SLICES + 1
