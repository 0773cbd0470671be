"""F18: the release before and this one take turns on the same topics, while records flow.

What the release before stored is read. It refuses what this one stored, loudly and before it writes anything, so nobody
who goes back loses what was scored since then: without the refusal its states would have no epoch, and would be taken
for a zombie's afterwards.
"""

from __future__ import annotations

import contextlib

from tests.chaos.previous import RELEASE
from tests.chaos.run import Run

OWNED_SECONDS = 4.0
REFUSED_SECONDS = 20.0
REFUSAL = "this version reads format 1; run the version that wrote it, or a newer one"


def upgrade_in_turns(run: Run, times: int) -> None:
    """F18: one worker after the other is replaced by one of this release, and killed once more when it runs."""
    upgraded: set[int] = set()
    run.special = lambda slot: {} if slot.number in upgraded else RELEASE
    run.fleet.scale(run.plan.workers)
    run.fleet.wait_ready()
    run.produce()
    run.fleet.pass_time(OWNED_SECONDS)
    for slot in run.fleet.running():
        run.fleet.terminate(slot)
        run.history.note(f"w{slot.number} is upgraded")
        upgraded.add(slot.number)
        slot.expected_to_run = True
        for _ in range(times):
            run.fleet.pass_time(OWNED_SECONDS)
            run.fleet.kill(slot)
    run.fleet.tend()
    run.fleet.wait_ready()


def roll_back(run: Run, times: int) -> None:
    """F18: all workers go back to the release before, which must refuse; this one goes on then."""
    run.special = lambda _: RELEASE
    run.fleet.scale(run.plan.workers)
    run.fleet.wait_ready()
    run.produce()
    for _ in range(times):
        run.fleet.pass_time(OWNED_SECONDS)
        _replace_all(run, {})
        run.fleet.wait_ready()
        run.fleet.pass_time(OWNED_SECONDS)
        _replace_all(run, RELEASE)
        with contextlib.suppress(TimeoutError):  # one that does not refuse does what it likes: the verdict tells
            run.wait_for(lambda: all(slot.says(REFUSAL) for slot in run.fleet.running()), REFUSED_SECONDS)
            run.history.note("the release before refuses")
    _replace_all(run, {})


def _replace_all(run: Run, variables: dict[str, str]) -> None:
    slots = run.fleet.running()
    for slot in slots:
        run.fleet.terminate(slot)
        slot.expected_to_run = True
    run.special = lambda _: variables
    run.history.note(f"all workers replaced: {variables or 'this release'}")
    run.fleet.tend()
