"""Faults of a rebalance that the storm of F11 meets by luck only: each waits until the moment has come."""

from __future__ import annotations

from tests.chaos.run import Run

STOP_SECONDS = 30.0
OWNED_SECONDS = 4.0


def give_and_take(run: Run, times: int) -> None:
    """F11: partitions go to another worker, which scores records of them, and come back, while records flow."""
    run.fleet.scale(1)
    run.fleet.wait_ready()
    run.fleet.pass_time(1)
    for _ in range(times):
        run.fleet.scale(2)
        run.fleet.wait_ready()
        run.fleet.pass_time(OWNED_SECONDS)
        run.fleet.scale(1)
        run.fleet.wait_until(lambda: not run.fleet.slots[1].alive, "w1 to stop", STOP_SECONDS)
        run.fleet.pass_time(OWNED_SECONDS)
