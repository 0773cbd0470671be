"""Faults of the topics that a worker writes to."""

from __future__ import annotations

from tests.chaos.run import Run

REFUSING = {True: "100", False: "4194304"}
"""`max.message.bytes` of a topic that takes nothing, and of one that takes all."""


def refuse_alerts(run: Run, times: int) -> None:
    """F20: the alert topic refuses writes until a worker stops, as it must; nothing is lost."""
    for _ in range(times):
        run.fleet.pass_time(1.5)
        crashes = run.fleet.crashes
        run.set_topic(run.topics.alerts, "max.message.bytes", REFUSING[True])
        run.fleet.wait_until(lambda crashes=crashes: run.fleet.crashes > crashes, "a worker to stop", 60)  # type: ignore[misc]
        run.set_topic(run.topics.alerts, "max.message.bytes", REFUSING[False])


def refuse_alerts_shortly(run: Run, times: int) -> None:
    """F20: the alert topic refuses writes for moments, whatever the workers make of it."""
    run.fleet.wait_ready()
    for _ in range(times):
        run.fleet.pass_time(1)
        run.set_topic(run.topics.alerts, "max.message.bytes", REFUSING[True])
        run.fleet.pass_time(run.rng.uniform(1, 3))
        run.set_topic(run.topics.alerts, "max.message.bytes", REFUSING[False])
