"""How long it takes until a fault is made up for, measured beside the run: what is committed of what was acknowledged.

A partition stands still while it has acknowledged records that are not committed and its committed offset does not
move. A fault is made up for when everything that was acknowledged until a second after it is committed: the second
lets records come to the partitions that it hit. While brokers do not answer nothing can be seen, which counts as no
progress.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from service.adapters.clients import Partition
from service.adapters.topic_admin import open_admin

SAMPLE_SECONDS = 0.4
ANSWER_SECONDS = 3.0
AFTER_SECONDS = 1.0

Ends = dict[Partition, int]


@dataclass
class Fault:
    """One fault, and when it was made up for."""

    what: str
    at: float
    due: Ends | None = None
    """What must be committed; known a second after the fault."""
    seconds: float | None = None


class Progress(threading.Thread):
    """Looks at the group's offsets a few times a second; it reaches brokers directly, whatever the weather."""

    def __init__(self, bootstrap: str, group: str, ends: Callable[[], Ends], note: Callable[[str], None]) -> None:
        super().__init__(name="progress", daemon=True)
        self.faults: list[Fault] = []
        self.still_seconds_max = 0.0
        self._brokers = bootstrap
        self._group = group
        self._ends = ends
        self._note = note
        self._stop_asked = threading.Event()
        self._committed: Ends = {}
        self._moved: dict[Partition, float] = {}

    def fault_ended(self, what: str) -> None:
        """Measure from now how long it takes until this fault is made up for."""
        self.faults.append(Fault(what, time.monotonic()))

    @property
    def is_settled(self) -> bool:
        """Whether every fault so far is made up for."""
        return all(fault.seconds is not None for fault in self.faults)

    def stop(self) -> None:
        """Look no more."""
        self._stop_asked.set()
        if self.is_alive():
            self.join(30)

    def run(self) -> None:
        """Look until asked to stop."""
        asyncio.run(self._watch())

    async def _watch(self) -> None:
        while not self._stop_asked.is_set():
            try:
                async with open_admin(self._brokers) as admin:
                    while not self._stop_asked.is_set():
                        asked = admin.list_consumer_group_offsets(self._group)
                        found = await asyncio.wait_for(asked, ANSWER_SECONDS)
                        offsets = {(tp.topic, tp.partition): max(0, meta.offset) for tp, meta in found.items()}
                        self._take(offsets, time.monotonic())
                        await asyncio.sleep(SAMPLE_SECONDS)
            except Exception:  # brokers are away, or there is no group yet: ask again
                await asyncio.sleep(SAMPLE_SECONDS)

    def _take(self, committed: Ends, now: float) -> None:
        ends = self._ends()
        for partition, end in ends.items():
            at = committed.get(partition, 0)
            if at >= end or at != self._committed.get(partition, 0):
                self._moved[partition] = now
            else:
                still = now - self._moved.setdefault(partition, now)
                self.still_seconds_max = max(self.still_seconds_max, still)
        self._committed = committed
        for fault in self.faults:
            if fault.due is None and now >= fault.at + AFTER_SECONDS:
                fault.due = ends
            if fault.seconds is None and fault.due is not None and _reached(committed, fault.due):
                fault.seconds = now - fault.at
                self._note(f"made up for after {fault.seconds:.1f} s: {fault.what}")


def _reached(committed: Ends, due: Ends) -> bool:
    return all(committed.get(partition, 0) >= end for partition, end in due.items())
