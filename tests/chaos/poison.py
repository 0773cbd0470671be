"""F21: a topic full of records that cannot be scored stops the worker, and it stays stopped at every start."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable

from service.adapters.topic_admin import end_offsets
from tests.chaos.compare import Difference
from tests.chaos.logs import EXPECT_HEADER
from tests.chaos.observed import Observed
from tests.chaos.oracle import Expected
from tests.chaos.run import Run
from tests.integration.kafka_tools import produce

POISONED = 3
STOP_SECONDS = 40.0
STARTS = 3
LIMITS_OFF = {"VITALS_DEAD_LETTER_RATIO_MAX": "1", "VITALS_DEAD_LETTER_RUN_MAX": "0"}


def drain(run: Run, times: int) -> None:
    """F21: hundreds of bad records in a row; no start after the stop sets one more aside, until the limits are off."""
    run.fleet.pass_time(run.plan.pace)
    run.end_producing()
    run.catch_up()
    bad = (b"acme", b"hello", [(EXPECT_HEADER, b"not_json")], POISONED)
    produce(run.bootstrap, run.topics.input("usage"), [bad] * (150 + 150 * times))
    counts = []
    with contextlib.suppress(TimeoutError):  # a worker that drains the topic does not stop any more: the counts tell
        for _ in range(1 + STARTS):
            slot = run.fleet.slots[0]
            run.wait_for(lambda slot=slot: not slot.alive, STOP_SECONDS)  # type: ignore[misc]
            counts.append(_set_aside(run))
            run.evict_dead()
            run.fleet.tend()
    counts.append(_set_aside(run))
    run.history.note(f"dead letters at each stop: {counts}")

    def none_more(_: Expected, __: Observed) -> Iterable[Difference]:
        if len(set(counts)) > 1:
            yield Difference("dead letters", "set aside at each start", counts[0], counts)

    run.checks.append(none_more)
    run.special = lambda _: LIMITS_OFF
    run.fleet.kill(run.fleet.slots[0])


def _set_aside(run: Run) -> int:
    return sum(asyncio.run(end_offsets(run.bootstrap, [run.topics.dead_letters("usage")])).values())
