"""What happens to brokers: they die, the one that leads first, or too few of them are left."""

from __future__ import annotations

import asyncio

from service.adapters.topic_admin import end_offsets
from tests.chaos.quorum import controller, leader_of
from tests.chaos.run import Run

DEAD_SECONDS = 8
BACK_SECONDS = 5
STARTS_PER_BOUNCE_MAX = 1


def kill_brokers(run: Run, times: int) -> None:
    """F5: the leader of the busiest changelog partition dies and comes back, then the controller, each so often.

    Brokers are their own controllers here, so every kill of the second kind also takes a leader of partitions.
    """
    run.fleet.wait_ready()
    for _ in range(times):
        partition = _busiest(run)
        leader = asyncio.run(leader_of(run.bootstrap, run.topics.changelog, partition))
        _bounce(run, leader, f"leads changelog partition {partition}")
    for _ in range(times):
        _bounce(run, asyncio.run(controller(run.bootstrap)), "leads the controllers")


def _busiest(run: Run) -> int:
    ends = asyncio.run(end_offsets(run.bootstrap, [run.topics.changelog]))
    return max(ends, key=lambda partition: ends[partition])[1]


def _bounce(run: Run, node_id: int, why: str) -> None:
    began = {slot.number: slot.started for slot in run.fleet.slots}
    run.fault_ended(f"b{node_id} killed, which {why}")
    run.cluster.kafka.kill(node_id - 1)
    run.fleet.pass_time(DEAD_SECONDS)
    run.cluster.restart(node_id - 1)
    run.history.note(f"b{node_id} is back")
    run.fleet.pass_time(BACK_SECONDS)
    for slot in run.fleet.slots:
        again = slot.started - began[slot.number]
        assert again <= STARTS_PER_BOUNCE_MAX, f"w{slot.number} crashes in a loop: {again} starts\n{run.fleet.tails()}"


def below_min_isr(run: Run, times: int) -> None:
    """F6: two of three brokers are away, so no write is acknowledged; all goes on by itself."""
    run.fleet.wait_ready()
    for _ in range(times):
        run.fleet.pass_time(2)
        for broker in (1, 2):
            run.history.note(f"b{broker + 1} paused")
            run.cluster.kafka.pause(broker)
        run.fleet.pass_time(20 * run.plan.pace)
        for broker in (1, 2):
            run.history.note(f"b{broker + 1} goes on")
            run.cluster.kafka.resume(broker)
        run.fault_ended("enough brokers again")
        run.fleet.pass_time(5)
