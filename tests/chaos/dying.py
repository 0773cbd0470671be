"""F4 and F12: the only worker dies at chosen points of its work, one after the other."""

from __future__ import annotations

from tests.chaos.fleet import Slot
from tests.chaos.run import Run
from tests.chaos.splits import COMMIT_POINTS, RECOVERY_POINTS, SPLIT_POINTS


def die_at_points(run: Run, times: int, points: tuple[str, ...] = (*COMMIT_POINTS, *SPLIT_POINTS)) -> None:
    """F4: the only worker dies at one point of its work after the other; a point may say at which passing (`x:30`)."""
    faults = [
        point if ":" in point else f"{point}:{1 if point in RECOVERY_POINTS else run.rng.randint(1, 4)}"
        for _ in range(times)
        for point in points
    ]
    run.rng.shuffle(faults)
    left = list(faults)
    slot = run.fleet.slots[0]
    run.fleet.kill(slot)
    run.special = lambda _: {"CHAOS_FAULT": left.pop()} if left else {}
    for fault in reversed(faults):
        run.evict_dead()
        run.fleet.tend()
        run.history.note(f"w0 shall die at {fault}")
        died = _wait_dead(run, slot, seconds=20)
        if not died:  # nothing to do there for it any more, such as dead letters or alerts: kill it where it is
            run.fleet.kill(slot)
    run.evict_dead()


def die_at_the_end(run: Run, times: int, points: tuple[str, ...] = (*COMMIT_POINTS, *SPLIT_POINTS)) -> None:
    """F4: the only worker dies at one point after the other, and nothing comes later that could make up for it."""
    run.fleet.kill(run.fleet.slots[0])
    run.fleet.slots[0].expected_to_run = False
    run.wait_produced()
    run.fleet.slots[0].expected_to_run = True
    die_at_points(run, times, points)


def _wait_dead(run: Run, slot: Slot, seconds: float) -> bool:
    try:
        run.wait_for(lambda: not slot.alive, seconds)
    except TimeoutError:
        return False
    return True


def die_in_recovery(run: Run, times: int) -> None:
    """F12: the only worker dies while it recovers, again and again."""
    run.fleet.pass_time(3)
    die_at_points(run, times, RECOVERY_POINTS)
