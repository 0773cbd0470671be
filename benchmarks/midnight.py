"""`python -m benchmarks.midnight [--accounts N] [--json]`: what a UTC midnight costs, with every account due at once.

In this process and without a broker: the worker's own scorer, agents, tick loop and committer, a producer in memory
that acknowledges after a fixed time, and events that come by a fixed plan. First they come while nobody is due, then
it is midnight for everybody. A batch's delay runs from the instant at which the plan has it to its last event's
application, so a loop that is held up shows in full. Both parts are of one run, and their ratio is what is promised.

The accounts that are due lie encoded, as after a recovery; the events are of a few thousand others that live. For the
clock and the parts of the worker see `benchmarks.inner_worker`.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import resource
import sys
import time
from collections.abc import Awaitable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Final

import psutil

from agents.runtime.runner import GC_THRESHOLDS
from benchmarks.figures import Figure, as_json, machine, print_table
from benchmarks.inner_worker import MIDNIGHT_MS, Worker, event_template, fill, in_own_process, states_with_history
from benchmarks.worker_process import BenchmarkError
from benchmarks.workload import DAY_MS
from schemas.times import time_text
from service.model.loader import load_model
from service.scoring.engine import advance, mark_sent
from service.scoring.model import Model
from service.scoring.state import AccountState

PARTITIONS: Final = 8
TEMPLATES: Final = 500
SILENT_DAYS = 10  # past the days of silence that the packaged model lets pass
LIVE_ACCOUNTS: Final = 4_000
EVENTS_PER_SECOND: Final = 10_000
BATCH_EVENTS: Final = 100
POLL_SECONDS: Final = 0.1
GOAL_RATIO: Final = 2.0
NORMAL_SECONDS: Final = 10.0
MILLION: Final = 1_000_000


def states_before_midnight(model: Model) -> list[AccountState]:
    """Make accounts with a history that fell silent: they are due at every midnight, the coming one too."""
    states = states_with_history(model, 2 * TEMPLATES, MIDNIGHT_MS - SILENT_DAYS * DAY_MS)
    for state in states:
        advance(state, MIDNIGHT_MS - 1, model)
        mark_sent(state, state.seq)
    due = [state for state in states if state.next_due_ms == MIDNIGHT_MS]
    if len(due) < TEMPLATES // 2:
        raise RuntimeError(
            f"only {len(due)} of {len(states)} accounts are due at midnight: there is nothing to measure"
        )
    return due


class Plan:
    """Batches of logins at a steady rate, and how long after its planned instant each was applied."""

    def __init__(self, worker: Worker, live: Sequence[Sequence[bytes]]) -> None:
        self._worker = worker
        self._live = live
        self._template = event_template("login")
        self._made = 0

    async def run(self, stop: asyncio.Event) -> list[float]:
        """Apply batches as planned until `stop`; return their delays in milliseconds."""
        delays_ms: list[float] = []
        handle = self._worker.ingest.handler(0)
        now_seconds = asyncio.get_running_loop().time
        begin, number = now_seconds(), 0
        while not stop.is_set():
            planned = begin + number * BATCH_EVENTS / EVENTS_PER_SECOND
            batch = self._worker.batch(number % PARTITIONS, self._items(number % PARTITIONS))
            # A batch that is behind its plan gives the loop a turn too, as a queue would.
            await asyncio.sleep(max(0.0, planned - now_seconds()))
            await handle(batch)
            delays_ms.append((now_seconds() - planned) * 1_000)
            number += 1
        return delays_ms

    def _items(self, partition: int) -> list[tuple[bytes, bytes]]:
        keys, now = self._live[partition], time_text(self._worker.now_ms()).encode()
        items = []
        for _ in range(BATCH_EVENTS):
            key = keys[self._made % len(keys)]
            self._made += 1
            items.append((key, self._template % {b"id": self._made, b"account": key, b"time": now}))
        return items


@dataclass(frozen=True, slots=True)
class Night:
    """What was measured."""

    accounts: int
    tick_seconds: float
    normal_ms: list[float]
    midnight_ms: list[float]
    stored_bytes: float
    peak_bytes: float

    def figures(self) -> Iterator[Figure]:
        """Yield every figure."""
        yield Figure("midnight_accounts", "accounts due at one midnight", "accounts", float(self.accounts), "more")
        yield Figure("midnight_tick_seconds", "until all of them are ticked", "s", self.tick_seconds)
        rate = self.accounts / self.tick_seconds
        yield Figure("midnight_ticks_per_second", "ticks beside 10,000 events/s", "1/s", rate, "more")
        yield Figure("midnight_million_seconds", "a million accounts at that rate", "s", MILLION / rate)
        parts = {"normal": self.normal_ms, "midnight": self.midnight_ms}
        for name, delays_ms in parts.items():
            yield Figure(f"midnight_{name}_p50_ms", f"event batch applied, {name}: p50", "ms", median(delays_ms))
            yield Figure(f"midnight_{name}_p99_ms", f"event batch applied, {name}: p99", "ms", _p99(delays_ms))
            yield Figure(f"midnight_{name}_max_ms", f"event batch applied, {name}: worst", "ms", max(delays_ms))
        p50, p99 = (of(self.midnight_ms) / of(self.normal_ms) for of in (median, _p99))
        yield Figure("midnight_p50_ratio", "p50 at midnight, of the normal", "1", p50, goal=GOAL_RATIO)
        yield Figure("midnight_p99_ratio", "p99 at midnight, of the normal", "1", p99, goal=GOAL_RATIO)
        yield Figure("midnight_stored_bytes", "memory per account before midnight", "bytes", self.stored_bytes)
        yield Figure("midnight_peak_bytes", "memory per account, most", "bytes", self.peak_bytes)


def _p99(delays_ms: Sequence[float]) -> float:
    return quantiles(delays_ms, n=100)[98]


async def spend_night(accounts: int) -> Night:
    """Measure the delays before midnight, then midnight."""
    model = load_model()
    states = states_before_midnight(model)
    now_seconds = asyncio.get_running_loop().time
    worker = Worker(model, now_seconds)
    empty_bytes = psutil.Process().memory_info().rss
    gc.set_threshold(*GC_THRESHOLDS)
    keys = fill(worker, states, accounts + LIVE_ACCOUNTS)
    gc.freeze()  # as the worker does after recovery
    stored_bytes = psutil.Process().memory_info().rss - empty_bytes
    live = [numbered[-LIVE_ACCOUNTS // PARTITIONS :] for numbered in keys]  # the last accounts get the events
    plan, loops = Plan(worker, live), worker.loops()
    await _events(plan, asyncio.sleep(NORMAL_SECONDS / 4))  # every account that gets events is decoded
    normal_ms = await _events(plan, asyncio.sleep(NORMAL_SECONDS))
    worker.strike_midnight()
    begin, tick_seconds = now_seconds(), 0.0

    async def tick_all() -> None:
        nonlocal tick_seconds
        while not worker.all_ticked():
            _raise_failures(loops)
            await asyncio.sleep(POLL_SECONDS)
        tick_seconds = now_seconds() - begin

    midnight_ms = await _events(plan, tick_all())
    for loop in loops:
        loop.cancel()
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - empty_bytes
    return Night(accounts, tick_seconds, normal_ms, midnight_ms, stored_bytes / accounts, peak_bytes / accounts)


async def _events(plan: Plan, until: Awaitable[None]) -> list[float]:
    stop = asyncio.Event()
    events = asyncio.create_task(plan.run(stop))
    await until
    stop.set()
    return await events


def _raise_failures(loops: Sequence[asyncio.Task[None]]) -> None:
    for loop in loops:
        if loop.done():
            loop.result()
            raise BenchmarkError("a loop of the worker ended")


def measure_midnight(accounts: int) -> list[Figure]:
    """Measure in a process of its own, whose memory is of these accounts alone."""
    return list(in_own_process(spend_night, accounts).figures())


def main() -> int:
    """Measure and print; 1 when events wait longer than they may."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.midnight", description="Measure a UTC midnight.")
    parser.add_argument("--accounts", type=int, default=MILLION, help="how many are due; a million takes its time")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    arguments = parser.parse_args()
    begin_seconds, where = time.monotonic(), machine()
    figures = measure_midnight(arguments.accounts)
    run = {"machine": where, "quick": False, "seconds": round(time.monotonic() - begin_seconds, 1)}
    if arguments.json:
        print(as_json(figures, run))
    else:
        print_table(figures, run)
    return int(any((figure.ratio_to(figure.goal) or 1) < 1 for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
