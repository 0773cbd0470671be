"""How an application tells the measuring process how far it is, and leaves its last state to be compared.

Marks go through a pipe: the first event, every 50,000th, the last of all that a worker is to do, and the end of a
graceful stop. Each carries the wall clock of the application; its processor time is read from outside when it arrives.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

EVENTS = int(os.environ.get("PEER_EVENTS", "0"))
BOOTSTRAP = os.environ.get("PEER_BOOTSTRAP", "")
TOPIC = os.environ.get("PEER_TOPIC", "")
ALERTS = os.environ.get("PEER_ALERTS", "")
RUN = os.environ.get("PEER_RUN", "")
FOLDER = os.environ.get("PEER_FOLDER", "")
MARK_EVERY = max(1, EVENTS // 20)

_pipe: list[int] = []


def mark(count: int, worker: str = "w") -> None:
    """Tell how many events a worker has done."""
    if not _pipe:
        _pipe.append(os.open(os.environ["PEER_MARKS"], os.O_WRONLY))
    os.write(_pipe[0], b"%s %d %d\n" % (worker.encode(), count, time.time_ns()))


def mark_done() -> None:
    """Tell that all is flushed and committed."""
    mark(0, "done")


class Progress:
    """Counts events and marks on the way; without a call of `begin` the clock starts when the first batch is done."""

    __slots__ = ("_next", "_worker", "count")

    def __init__(self, worker: str = "w") -> None:
        self.count = 0
        self._next = 0
        self._worker = worker

    def begin(self) -> None:
        """Mark the start of the very first batch; call it before the work on each."""
        if not self.count and not self._next:
            self._next = MARK_EVERY
            mark(0, self._worker)

    def add(self, count: int) -> bool:
        """Count events that are done; return whether they were the last."""
        self.count += count
        if self.count >= self._next:
            self._next += MARK_EVERY
            mark(self.count, self._worker)
        return self.count >= EVENTS


def dump(states: Iterable[tuple[str, dict[str, Any]]], name: str = "state") -> None:
    """Write the last states, after the clock has stopped."""
    with Path(FOLDER, f"{name}.jsonl").open("a", encoding="utf-8") as file:
        file.writelines(json.dumps({"account": account, **fields}) + "\n" for account, fields in states)
