"""Faults of a rebalance that the storm of F11 meets by luck only: each waits until the moment has come."""

from __future__ import annotations

from tests.chaos.fleet import Slot
from tests.chaos.run import Run

STOP_SECONDS = 90.0
OWNED_SECONDS = 4.0
OVERTAKEN_SECONDS = 5.0


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


def recovery_across_revoke(run: Run, times: int) -> None:
    """F11: a recovery is overtaken by the next rebalance, and goes on while other workers have still to join that.

    It must not take over what was given up again: a second later the client knows nothing of these partitions.
    """
    gate = run.folder / "recoveries-may-begin"
    run.special = lambda slot: (
        {"CHAOS_RECOVERY_GATE": str(gate)},
        {"CHAOS_REVOKE_SECONDS": str(OVERTAKEN_SECONDS)},
        {},
    )[slot.number]
    gate.touch()
    run.fleet.scale(1)
    run.fleet.wait_ready()
    run.produce()
    for _ in range(times):
        first = run.fleet.slots[0]
        gate.unlink()
        run.fleet.scale(2)
        run.fleet.wait_until(lambda: run.fleet.slots[1].ready, "w1 to be ready", STOP_SECONDS)
        revokes = _revokes(first)
        run.fleet.scale(3)
        run.fleet.wait_until(lambda first=first, revokes=revokes: _revokes(first) > revokes, "the revoke", STOP_SECONDS)  # type: ignore[misc]
        run.fleet.pass_time(1)  # it lets go of what it had
        run.history.note("w0 may recover what it was given before")
        gate.touch()
        run.fleet.pass_time(2 * OVERTAKEN_SECONDS)
        run.fleet.wait_ready()
        assert not run.fleet.crashes, run.fleet.tails()
        run.fleet.scale(1)
        run.fleet.pass_time(OVERTAKEN_SECONDS)
        run.fleet.wait_ready()
    run.fleet.scale(2)


def _revokes(slot: Slot) -> int:
    assert slot.process is not None
    return slot.process.output().count("because it is rebalancing")
