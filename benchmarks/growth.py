"""`make bench-growth`: what an event costs a worker as accounts, partitions, batches, events, lateness and alerts grow.

One dimension at a time is changed, all others stay at their usual value. Each point has a process of its own, with the
parts of `benchmarks.inner_worker`: so the figures are processor time of the worker's own code, decoding to commit, and
other work on the machine hardly shows. What the network and Faust's consumer add to an event does not grow with these.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import gc
import json
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import Any, Final

import psutil

from agents.runtime.batch import RecordBatch
from agents.runtime.runner import GC_THRESHOLDS
from benchmarks.command import say
from benchmarks.figures import machine
from benchmarks.growth_page import write_page
from benchmarks.inner_worker import MIDNIGHT_MS, Worker, event_template, fill, in_own_process, states_with_history
from benchmarks.worker_process import BenchmarkError
from schemas.times import time_text
from service.model.loader import load_model
from service.topic_catalogue import SOURCE_KINDS

TEMPLATES: Final = 500
EVENTS: Final = 200_000
HOUR_MS: Final = 3_600_000
NOW_MS: Final = MIDNIGHT_MS - HOUR_MS
LATE_HOURS_MAX: Final = 20
USAGE_SOURCE: Final = SOURCE_KINDS.index("usage")
ACCOUNT_SOURCE: Final = SOURCE_KINDS.index("account")
GOOD_OUTCOMES: Final = frozenset({"applied", "late", "alerts", "scores"})
BANDS: Final = ("at_risk", "healthy")

Handlers = Mapping[int, Callable[[RecordBatch], Awaitable[None]]]


@dataclass(frozen=True, slots=True)
class Point:
    """What a worker has to do; the values are the usual ones."""

    accounts: int = 10_000
    partitions: int = 8
    batch_records: int = 500
    event_bytes: int = 0
    """Bytes that every event has besides those that Vitals reads."""
    late_share: float = 0.0
    """Of the events, those that happened up to 20 hours before newer ones of their account."""
    band_change_share: float = 0.0
    """Of the events, those that move the band; every second one is an alert."""


DIMENSIONS: Final[dict[str, tuple[str, tuple[Any, ...]]]] = {
    "accounts": ("accounts", (1_000, 10_000, 100_000, 1_000_000)),
    "partitions": ("partitions of the worker", (1, 8, 32, 128)),
    "batch_records": ("records of a batch", (10, 50, 100, 500, 2_000)),
    "event_bytes": ("bytes added to an event", (0, 500, 2_000, 8_000)),
    "late_share": ("share of late events", (0.0, 0.01, 0.1, 0.5)),
    "band_change_share": ("share of events that change the band", (0.0, 0.001, 0.01, 0.1)),
}


@dataclass(frozen=True, slots=True)
class Cost:
    """What the worker took for it."""

    cpu_us_per_event: float
    collection_ms_max: float
    """Longest pause of the garbage collector."""
    bytes_per_account: float
    """Resident memory with every account decoded."""


class Batches:
    """Makes the batches of a point: logins evenly over accounts, and changes of the band beside them."""

    def __init__(self, point: Point, worker: Worker, keys: Sequence[Sequence[bytes]]) -> None:
        self._point = point
        self._worker = worker
        self._keys = keys
        self._random = Random(1)
        self._made = 0
        self._flips: dict[bytes, int] = {}
        self._login = event_template("login", "filling")
        until = time_text(MIDNIGHT_MS + 24 * HOUR_MS)
        self._flip = {
            band: event_template(
                "account_updated", "filling", override_band=band, override_reason="x", override_until=until
            )
            for band in BANDS
        }

    def make(self, events: int) -> Iterator[tuple[int, RecordBatch]]:
        """Yield source and batch, partition by partition."""
        changes = 0.0
        for number in range(events // self._point.batch_records):
            partition = number % self._point.partitions
            changes += self._point.batch_records * self._point.band_change_share
            logins = [self._usage(partition) for _ in range(self._point.batch_records - int(changes))]
            yield USAGE_SOURCE, self._worker.batch(partition, logins)
            if int(changes):
                flips = [self._change(partition) for _ in range(int(changes))]
                yield ACCOUNT_SOURCE, self._worker.batch(partition, flips)
            changes -= int(changes)

    def _usage(self, partition: int) -> tuple[bytes, bytes]:
        key = self._random.choice(self._keys[partition])
        late_ms = 0
        if self._random.random() < self._point.late_share:
            late_ms = self._random.randrange(HOUR_MS, LATE_HOURS_MAX * HOUR_MS)
        return key, self._event(self._login, key, late_ms)

    def _change(self, partition: int) -> tuple[bytes, bytes]:
        key = self._random.choice(self._keys[partition])
        flips = self._flips[key] = self._flips.get(key, 0) + 1
        return key, self._event(self._flip[BANDS[flips % 2 - 1]], key)

    def _event(self, template: bytes, key: bytes, late_ms: int = 0) -> bytes:
        self._made += 1
        told = time_text(NOW_MS + self._made // 100 - late_ms).encode()
        filling = b"x" * self._point.event_bytes
        return template % {b"id": self._made, b"account": key, b"time": told, b"filling": filling}


class Collections:
    """Times the pauses of the garbage collector."""

    def __init__(self) -> None:
        self.longest_seconds = 0.0
        self._begin_seconds = 0.0
        gc.callbacks.append(self._called)

    def _called(self, phase: str, _info: dict[str, int]) -> None:
        if phase == "start":
            self._begin_seconds = time.process_time()
        else:
            self.longest_seconds = max(self.longest_seconds, time.process_time() - self._begin_seconds)


async def cost_of(point: Point, events: int) -> Cost:
    """Have a worker with all its accounts decoded take the events of a point."""
    model = load_model()
    states = states_with_history(model, TEMPLATES, NOW_MS - HOUR_MS)
    empty_bytes = psutil.Process().memory_info().rss
    worker = Worker(model, asyncio.get_running_loop().time, point.partitions)
    gc.set_threshold(*GC_THRESHOLDS)
    keys = fill(worker, states, point.accounts)
    for partition, numbered in zip(worker.partitions, keys, strict=True):
        for key in numbered:
            partition.get(key)
    live_bytes = psutil.Process().memory_info().rss - empty_bytes
    batches = list(Batches(point, worker, keys).make(events + events // 4))
    gc.collect()
    gc.freeze()  # as the worker does after recovery
    handlers = {source: worker.ingest.handler(source) for source in (USAGE_SOURCE, ACCOUNT_SOURCE)}
    loops = worker.loops()
    warm_up = len(batches) // 5
    await _apply(worker, handlers, batches[:warm_up])
    collections, begin_seconds = Collections(), time.process_time()
    await _apply(worker, handlers, batches[warm_up:])
    seconds = time.process_time() - begin_seconds
    for loop in loops:
        loop.cancel()
    _check(worker.scorer.outcomes())
    return Cost(seconds / events * 1e6, collections.longest_seconds * 1e3, live_bytes / point.accounts)


async def _apply(worker: Worker, handlers: Handlers, batches: Sequence[tuple[int, RecordBatch]]) -> None:
    for source, batch in batches:
        await handlers[source](batch)
        await asyncio.sleep(0)
    await worker.commit()


def _check(outcomes: dict[str, int]) -> None:
    """Raise BenchmarkError when an event was not applied: the figures would be of something else."""
    others = {name: count for name, count in outcomes.items() if count and name not in GOOD_OUTCOMES}
    if others:
        raise BenchmarkError(f"not every event was applied: {others}")


def measure_growth(events: int, sizes_max: int) -> list[dict[str, Any]]:
    """Measure every point in a process of its own; the usual one once for each dimension."""
    found = []
    for dimension, (label, values) in DIMENSIONS.items():
        for value in values:
            point = dataclasses.replace(Point(), **{dimension: value})
            if point.accounts > sizes_max:
                continue
            cost = in_own_process(cost_of, point, events)
            say(f"{label} {value:,}: {cost.cpu_us_per_event:.1f} us")
            found.append({"dimension": dimension, "label": label, "value": value, **asdict(cost)})
    return found


def main() -> int:
    """Measure, then print and write the page."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.growth", description="Measure how an event's cost grows."
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON and write no page")
    parser.add_argument("--quick", action="store_true", help="few events and accounts: to see that it works")
    arguments = parser.parse_args()
    where = machine()
    points = measure_growth(*(EVENTS // 20, 10_000) if arguments.quick else (EVENTS, 1_000_000))
    run = {"machine": where, "points": points}
    if arguments.json or arguments.quick:
        print(json.dumps(run, indent=2))
    else:
        write_page(run)
    return 0


if __name__ == "__main__":
    sys.exit(main())
