"""`python -m benchmarks.midnight [--accounts N] [--json]`: what a UTC midnight costs, with every account due at once.

In this process and without a broker: the worker's own scorer, agents, tick loop and committer, a producer in memory
that acknowledges after a fixed time, and events that come by a fixed plan. First they come while nobody is due, then
it is midnight for everybody. A batch's delay runs from the instant at which the plan has it to its last event's
application, so a loop that is held up shows in full. Both parts are of one run, and their ratio is what is promised.

Time is this process's own: computing takes the processor time that it took, waiting takes what was asked for, and
what other processes do meanwhile takes none. The accounts that are due lie encoded, as after a recovery; the events
are of a few thousand others that live.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import resource
import selectors
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from statistics import median, quantiles
from typing import Any, Final, cast

import psutil
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import ConsumerRecord
from faust.types import TP

from agents.breaker import Breaker
from agents.ingest import Ingest
from agents.inputs import Inputs
from agents.runtime.batch import RecordBatch
from agents.runtime.commit import Committer
from agents.runtime.producer import Ack, OutRecord, send_records
from agents.runtime.runner import GC_THRESHOLDS
from agents.runtime.table import FORMAT, HEADER, Partition, PartitionedTable
from agents.scorer import Scorer
from benchmarks.figures import Figure, as_json, machine, print_table
from benchmarks.worker_process import BenchmarkError
from benchmarks.workload import DAY_MS, Workload, account_name
from schemas.times import time_text
from service.ingest import Decoder
from service.model.loader import load_model
from service.scoring.engine import advance, mark_sent, step
from service.scoring.model import Model
from service.scoring.state import AccountState
from service.scoring.state_codec import encode
from service.topic_catalogue import TopicNames

PARTITIONS: Final = 8
TEMPLATES: Final = 500
SILENT_DAYS = 10  # past the days of silence that the packaged model lets pass
LIVE_ACCOUNTS: Final = 4_000
EVENTS_PER_SECOND: Final = 10_000
BATCH_EVENTS: Final = 100
COMMIT_SECONDS: Final = 0.5
ACK_SECONDS: Final = 0.005
PRODUCE_BATCH_BYTES: Final = 256 * 1024
POLL_SECONDS: Final = 0.1
GOAL_RATIO: Final = 2.0
NORMAL_SECONDS: Final = 10.0
MILLION: Final = 1_000_000
MIDNIGHT_MS: Final = 20_500 * DAY_MS
TOPICS: Final = TopicNames()
USAGE: Final = TOPICS.input("usage")


class OwnProcessorLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is the processor time of this process, and all the waiting that it left out."""

    def __init__(self) -> None:
        self.left_out_seconds = 0.0
        super().__init__(_PatientSelector(self))

    def time(self) -> float:
        """Return the loop's time in seconds."""
        return time.process_time() + self.left_out_seconds


class _PatientSelector(selectors.DefaultSelector):
    """Lets a wait be over at once, and tells the loop how long it would have been."""

    def __init__(self, loop: OwnProcessorLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout > 0:
            self._loop.left_out_seconds += timeout
            timeout = 0
        return super().select(timeout)


class InstantProducer:
    """Packs batches as the real producer does and has them acknowledged a fixed time later."""

    def __init__(self) -> None:
        self._ends: Counter[tuple[str, int]] = Counter()

    def create_batch(self) -> BatchBuilder:
        """Make an empty batch."""
        return BatchBuilder(PRODUCE_BATCH_BYTES, 0)

    async def send_batch(self, batch: BatchBuilder, topic: str, *, partition: int) -> asyncio.Future[Ack]:
        """Close the batch; return the acknowledgement to wait for."""
        records = batch.record_count()
        batch.close()
        self._ends[topic, partition] += records
        ack = Ack(topic, self._ends[topic, partition] - records, records)
        return asyncio.ensure_future(asyncio.sleep(ACK_SECONDS, ack))


class OwnedPartitions:
    """What the committer asks of the table."""

    def __init__(self, partitions: Sequence[Partition]) -> None:
        self.owned = {partition.number: partition for partition in partitions}

    def partition(self, number: int) -> Partition | None:
        """Return an owned partition."""
        return self.owned.get(number)


class ReadInputs:
    """Inputs that are always read to their end."""

    names = (*TOPICS.inputs, TOPICS.rekeyed)

    def are_read(self, partition: int) -> bool:  # noqa: ARG002 - the real inputs' signature
        """Say yes: live events are applied as they come."""
        return True


class Worker:
    """The parts of a worker that score and store, on a clock that starts at any instant."""

    def __init__(self, model: Model, now_seconds: Callable[[], float]) -> None:
        self._now_seconds = now_seconds
        self._origin_ms = MIDNIGHT_MS - 3_600_000
        self._begin_seconds = now_seconds()
        self.scorer = Scorer(model, TOPICS, "wall", self.now_ms)
        self.partitions = [Partition(number, self.scorer) for number in range(PARTITIONS)]
        producer = cast("Any", InstantProducer())
        self._table = OwnedPartitions(self.partitions)
        self._committer = Committer(cast("PartitionedTable", self._table), "changelog", lambda: producer)

        async def send(records: list[OutRecord]) -> None:
            await send_records(producer, records)

        self.inputs = cast("Inputs", ReadInputs())
        self.ingest = Ingest(
            scorer=self.scorer,
            topics=TOPICS,
            decoder=Decoder(self.now_ms),
            breaker=Breaker(1, 0),
            partitions=PARTITIONS,
            send=send,
            inputs=self.inputs,
        )
        self._offsets = [0] * PARTITIONS

    def now_ms(self) -> int:
        """Return the worker's wall clock."""
        return self._origin_ms + int((self._now_seconds() - self._begin_seconds) * 1_000)

    def strike_midnight(self) -> None:
        """Set the clock to midnight."""
        self._origin_ms, self._begin_seconds = MIDNIGHT_MS, self._now_seconds()

    def loops(self) -> list[asyncio.Task[None]]:
        """Start the loops that the worker has beside its agents."""
        return [
            asyncio.create_task(self.scorer.tick_forever(self.inputs)),
            asyncio.create_task(self.scorer.publish_urgent(self._committer)),
            asyncio.create_task(self._commit_forever()),
        ]

    async def _commit_forever(self) -> None:
        async def commit_offsets(_offsets: object) -> bool:
            await asyncio.sleep(ACK_SECONDS)
            return True

        while True:
            await asyncio.sleep(COMMIT_SECONDS)
            await self._committer.commit(lambda: {TP(USAGE, 0): 1}, commit_offsets)

    def batch(self, number: int, items: Sequence[tuple[bytes, bytes]]) -> RecordBatch:
        """Make a batch of keys and values for one partition."""
        first = self._offsets[number]
        self._offsets[number] += len(items)
        records = [
            ConsumerRecord(USAGE, number, first + index, 0, 0, key, value, None, len(key), len(value), ())
            for index, (key, value) in enumerate(items)
        ]
        return RecordBatch(TP(USAGE, number), records, self.partitions[number])

    def all_ticked(self) -> bool:
        """Return whether nobody waits for this midnight any more."""
        return all(not task.due or task.due[0][0] > MIDNIGHT_MS for task in self.scorer.tasks.values())


def states_before_midnight(model: Model) -> list[AccountState]:
    """Make accounts with a history that fell silent: they are due at every midnight, the coming one too."""
    decoder = Decoder(lambda: MIDNIGHT_MS)
    states: dict[str, AccountState] = {}
    for item in Workload(3).history(2 * TEMPLATES, MIDNIGHT_MS - SILENT_DAYS * DAY_MS):
        event = decoder.decode_value(None, item.value)
        state = states.setdefault(event.account, AccountState(event.account))
        step(state, event, event.time_ms, model)
    for state in states.values():
        advance(state, MIDNIGHT_MS - 1, model)
        mark_sent(state, state.seq)
    due = [state for state in states.values() if state.next_due_ms == MIDNIGHT_MS]
    if len(due) < TEMPLATES // 2:
        raise RuntimeError(
            f"only {len(due)} of {len(states)} accounts are due at midnight: there is nothing to measure"
        )
    return due


def fill(worker: Worker, states: Sequence[AccountState], accounts: int) -> list[list[bytes]]:
    """Give every partition its encoded accounts, then start the tasks; return the keys that events are for."""
    templates = [HEADER.pack(FORMAT, 0, state.revision) + encode(state) for state in states]
    live: list[list[bytes]] = [[] for _ in worker.partitions]
    for number in range(accounts + LIVE_ACCOUNTS):
        partition = worker.partitions[number % PARTITIONS]
        key = account_name(number).encode()
        # A copy of its own, as every account has one.
        partition.data[key] = bytes(bytearray(templates[number % len(templates)]))
        if number >= accounts:
            live[number % PARTITIONS].append(key)
    for partition in worker.partitions:
        worker.scorer.recovered(partition, [])
    return live


class Plan:
    """Batches of logins at a steady rate, and how long after its planned instant each was applied."""

    def __init__(self, worker: Worker, live: Sequence[Sequence[bytes]]) -> None:
        self._worker = worker
        self._live = live
        event = json.loads(Workload(4).event("login", account_name(0), MIDNIGHT_MS).value)
        # Making an event must take next to nothing, so only its id, account and time change.
        event |= {"id": "%(id)d", "subject": "%(account)s", "time": "%(time)s"}
        self._template = json.dumps(event, separators=(",", ":")).encode()
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
    live = fill(worker, states, accounts)
    gc.freeze()  # as the worker does after recovery
    stored_bytes = psutil.Process().memory_info().rss - empty_bytes
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


def _measure(accounts: int) -> list[Figure]:
    with asyncio.Runner(loop_factory=OwnProcessorLoop) as runner:
        return list(runner.run(spend_night(accounts)).figures())


def measure_midnight(accounts: int) -> list[Figure]:
    """Measure in a process of its own, whose memory is of these accounts alone."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure, (accounts,))


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
