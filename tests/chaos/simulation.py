"""The worker's own code on a broker of lists: thousands of crashes a minute, each at a step that the seed chose.

Ingest, scorer, partitions and committer are the product's; here are only a producer that writes to lists, a loop that
reads them, and a power switch. Every produce request and every offset commit is a step. At the chosen one the world
ends: the request is lost, or written without an acknowledgement. Or it ends at a named point, as the worker under test
does: see `splits.py`. A world may also freeze there and wake up while its
successor works, as a paused process does: then its writes are accepted, and its commit is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass
from random import Random
from typing import Any, cast

from aiokafka.structs import ConsumerRecord
from faust.types import TP

from agents.breaker import Breaker
from agents.ingest import Ingest
from agents.inputs import Inputs
from agents.runtime.batch import RecordBatch
from agents.runtime.commit import Committer
from agents.runtime.producer import Ack, OutRecord, send_records
from agents.runtime.table import Partition
from agents.runtime.transport import BatchConsumer
from agents.scorer import Scorer
from service.errors import DependencyError
from service.ingest import Decoder
from service.scoring.model import Model
from service.topic_catalogue import TopicNames
from tests.chaos.logs import LIVE_NOON_MS, PARTITIONS, LogRecord
from tests.chaos.observed import Observed
from tests.chaos.splits import (
    ASIDE_SENT,
    HALF_SENT,
    RECOVERY_BEGUN,
    RECOVERY_HALFWAY,
    RECOVERY_HANDED_OVER,
    RECOVERY_POINTS,
    RECOVERY_READ,
    TO_BE_SENT,
)

CHUNK_RECORDS_MAX = 12
BATCH_RECORDS_MAX = 20
ZOMBIE_TURNS = 2_000
STEPS_MAX = 60
PASSINGS_MAX = 4


class ListBroker:
    """Topics as lists, and the offsets of one group."""

    def __init__(self, topics: TopicNames, log: list[LogRecord]) -> None:
        self.topics = topics
        self.records: dict[TP, list[Any]] = {}
        self.committed: dict[TP, int] = {}
        for record in log:
            self.write(TP(topics.input(record.kind), record.partition), record.key, record.value, record.headers)

    def write(self, tp: TP, key: bytes | None, value: bytes | None, headers: Any) -> None:
        """Append a record."""
        log = self.records.setdefault(tp, [])
        sizes = (len(key or b""), len(value or b""))
        log.append(ConsumerRecord(tp.topic, tp.partition, len(log), 0, 1, key, value, None, *sizes, tuple(headers)))

    def observed(self) -> Observed:
        """Return what is there, as it is read from real topics."""
        names = self.topics.worker_topics()
        read: dict[str, list[Any]] = {name: [] for name in names}
        for tp in sorted(self.records):
            read[tp.topic] += self.records[tp]
        inputs = [*self.topics.inputs, self.topics.rekeyed]
        ends = {tuple(tp): len(log) for tp, log in self.records.items() if tp.topic in inputs}
        committed = {tuple(tp): offset for tp, offset in self.committed.items()}
        return Observed(self.topics, read, cast("Any", committed), cast("Any", ends))


class ListBatch:
    """A produce request: few records fit."""

    def __init__(self) -> None:
        self.records: list[tuple[bytes | None, bytes | None, list[Any]]] = []

    def append(self, *, timestamp: int | None, key: bytes | None, value: bytes | None, headers: list[Any]) -> object:
        """Add a record, None when it does not fit."""
        if len(self.records) >= BATCH_RECORDS_MAX:
            return None
        self.records.append((key, value, headers))
        return self

    def record_count(self) -> int:
        """Count the records."""
        return len(self.records)


@dataclass
class Fate:
    """Where the power of a world fails: at the n-th of all steps, or of the passings of a point; 0: never."""

    step: int = 0
    point: str = ""
    passing: int = 0

    def passes(self, point: str) -> bool:
        """Pass a point; say whether the world ends there."""
        self.passing -= point == self.point
        return point == self.point and self.passing == 0


class World:
    """One process: its tasks, its memory, and its fate."""

    def __init__(self, broker: ListBroker, model: Model, rng: Random, *, epoch: int, fate: Fate) -> None:
        self.broker = broker
        self._epoch = epoch
        self.rng = rng
        self.ended = asyncio.Event()
        self.awake = asyncio.Event()
        self.awake.set()
        self.is_zombie = False
        self.failures: list[str] = []
        self.steps = 0
        self._fate = fate
        self.has_died = False
        self.scorer = Scorer(model, broker.topics, "wall", lambda: LIVE_NOON_MS)
        self.owned: dict[int, Partition] = {}
        self.committer = Committer(cast("Any", self), broker.topics.changelog, lambda: cast("Any", self), self._pass)
        self._delivered: dict[TP, deque[RecordBatch]] = {}
        self._passed: dict[TP, int] = {}
        self._read: dict[TP, int] = {}
        self._orders: dict[TP, asyncio.Lock] = {}
        self._flushed = {broker.topics.changelog, broker.topics.alerts, broker.topics.audit, broker.topics.scores}
        self.inputs = broker.topics.sources
        self._ingest = Ingest(
            scorer=self.scorer,
            topics=broker.topics,
            decoder=Decoder(lambda: LIVE_NOON_MS),
            breaker=Breaker(0.05, 100),
            partitions=PARTITIONS,
            send=self._send_aside,
            inputs=cast("Inputs", None),
        )
        self._tasks: list[asyncio.Task[None]] = []

    # -- what the committer takes for table and producer ---------------------------------------------------------

    def partition(self, number: int) -> Partition | None:
        """Return an owned partition."""
        return self.owned.get(number)

    def create_batch(self) -> ListBatch:
        """Make an empty produce request."""
        return ListBatch()

    async def send_batch(self, batch: ListBatch, topic: str, *, partition: int) -> asyncio.Future[Ack]:
        """Take a produce request; the future is its acknowledgement."""
        return asyncio.ensure_future(self._written(batch, TP(topic, partition)))

    async def _written(self, batch: ListBatch, tp: TP) -> Ack:
        async with self._orders.setdefault(tp, asyncio.Lock()):  # requests to one partition keep their order
            await self._wait_a_little()
            fails = await self._step()
            is_flush = tp.topic in self._flushed
            if is_flush:
                await self._pass(TO_BE_SENT)
            if fails and self.rng.random() < 0.5:
                await self._end()
            offset = len(self.broker.records.get(tp, ()))
            for key, value, headers in batch.records:
                self.broker.write(tp, key, value, headers)
            if fails:
                await self._end()
            if is_flush:
                await self._pass(HALF_SENT)
            return Ack(tp.topic, offset, len(batch.records))

    async def _send_aside(self, records: list[OutRecord]) -> None:
        await send_records(cast("Any", self), records)
        if records:
            await self._pass(ASIDE_SENT)

    async def _commit_offsets(self, offsets: dict[TP, int]) -> bool:
        fails = await self._step()
        if fails and self.rng.random() < 0.5:
            await self._end()
        if self.is_zombie:
            raise DependencyError("the group has gone on without this member")
        self.broker.committed.update(offsets)
        if fails:
            await self._end()
        return True

    async def _step(self) -> bool:
        await self.awake.wait()
        self.steps += 1
        return self.steps == self._fate.step

    async def _pass(self, point: str) -> None:
        if self._fate.passes(point):
            await self._end()

    async def _wait_a_little(self) -> None:
        for _ in range(self.rng.randrange(4)):
            await asyncio.sleep(0)

    async def _end(self) -> None:
        """Stop here: frozen until somebody wakes the zombie, if ever."""
        self.has_died = True
        self.awake.clear()
        self.ended.set()
        await self.awake.wait()

    # -- a life ------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Recover every partition and start to work."""
        if self._recovers():
            self._start(self._read_all())
            self._start(self._commit_often())
            self._start(self.scorer.publish_urgent(self.committer))

    def _recovers(self) -> bool:
        """Recover every partition; return whether it lives to see the end."""
        changelog, scores = self.broker.topics.changelog, self.broker.topics.scores
        if self._dies_in_recovery(RECOVERY_BEGUN):
            return False
        for number in range(PARTITIONS):
            partition = Partition(number, self.scorer, self._epoch)
            states = self.broker.records.get(TP(changelog, number), [])
            partition.apply_changelog(states)
            views = self.broker.records.get(TP(scores, number), [])
            partition.own_ends = {changelog: len(states), scores: len(views)}
            self.owned[number] = partition
            if number == PARTITIONS // 2 and self._dies_in_recovery(RECOVERY_HALFWAY):
                return False
        if self._dies_in_recovery(RECOVERY_READ):
            return False
        for partition in self.owned.values():
            views = self.broker.records.get(TP(scores, partition.number), [])
            doubtful = {record.key for record in views[partition.views_end or 0 :]}
            self.scorer.recovered(partition, partition.finish_recovery(doubtful))
        return not self._dies_in_recovery(RECOVERY_HANDED_OVER)

    def _dies_in_recovery(self, point: str) -> bool:
        if self._fate.passes(point):
            self.has_died = True
            self.ended.set()
        return self.has_died

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        task.add_done_callback(self._note_end)
        self._tasks.append(task)

    def _note_end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self.failures.append(repr(task.exception()))
            self.ended.set()  # an error stops the worker

    async def _read_all(self) -> None:
        handlers = [self._ingest.handler(source) for source in range(len(self.inputs))]
        while True:
            unread = [
                tp for tp in self.broker.records if tp.topic in self.inputs and self._position(tp) < self._end_of(tp)
            ]
            if not unread:
                await asyncio.sleep(0)
                continue
            tp = self.rng.choice(unread)
            start = self._position(tp)
            chunk = self.broker.records[tp][start : start + self.rng.randint(1, CHUNK_RECORDS_MAX)]
            self._read[tp] = start + len(chunk)
            batch = RecordBatch(tp, chunk, self.owned[tp.partition])
            self._delivered.setdefault(tp, deque()).append(batch)
            await handlers[self.inputs.index(tp.topic)](batch)
            await self._wait_a_little()

    def _position(self, tp: TP) -> int:
        return self._read.setdefault(tp, self.broker.committed.get(tp, 0))

    def _end_of(self, tp: TP) -> int:
        return len(self.broker.records[tp])

    async def _commit_often(self) -> None:
        while True:
            for _ in range(self.rng.randrange(1, 12)):
                await asyncio.sleep(0)
            await self.committer.commit(self._take_offsets, self._commit_offsets)
            if self._is_done():
                self.ended.set()

    def _take_offsets(self) -> dict[TP, int]:
        return BatchConsumer.take_offsets(cast("Any", self))

    def _is_done(self) -> bool:
        inputs = [tp for tp in self.broker.records if tp.topic in self.inputs]
        is_read = all(self.broker.committed.get(tp, 0) == self._end_of(tp) for tp in inputs)
        return is_read and not any(
            part.dirty or part.outdated or part.late or part.lock.locked() for part in self.owned.values()
        )

    async def wake(self) -> None:
        """Go on as a zombie until its commit is refused, or until there is nothing that it would commit."""
        self.is_zombie = True
        self._fate = Fate()
        self.ended.clear()
        self.awake.set()
        for _ in range(ZOMBIE_TURNS):
            if self.ended.is_set():
                return
            await asyncio.sleep(0)

    async def stop(self) -> None:
        """End every task."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(BaseException):
                await task


def _fate(rng: Random, life: int, point: str) -> Fate:
    """Choose where a life ends; before each that ends in recovery there is one that leaves something to recover."""
    if point and not (point in RECOVERY_POINTS and life % 2 == 0):
        return Fate(point=point, passing=1 if point in RECOVERY_POINTS else rng.randint(1, PASSINGS_MAX))
    return Fate(step=rng.randrange(1, STEPS_MAX))


async def simulate(
    broker: ListBroker, model: Model, rng: Random, *, lives: int, zombies: float, point: str = ""
) -> tuple[int, list[str]]:
    """Let worlds end one after the other, and the last one finish; return how many died, and the history."""
    history: list[str] = []
    sleeping: World | None = None
    life = deaths = 0
    while life < lives or sleeping is not None:
        fate = _fate(rng, life, point) if life < lives else Fate()
        world = World(broker, model, rng, epoch=life + 1, fate=fate)
        world.begin()
        if sleeping is not None:
            for _ in range(rng.randrange(STEPS_MAX)):
                await asyncio.sleep(0)
            history.append(f"the zombie wakes up after {world.steps} steps of its successor")
            await sleeping.wake()
            await sleeping.stop()
            sleeping = None
        await world.ended.wait()
        deaths += world.has_died
        history.append(
            f"life {life} ended at step {world.steps}, {'died' if world.has_died else 'done'} {world.failures}"
        )
        life += 1
        if life < lives and rng.random() < zombies:
            sleeping = world
        else:
            await world.stop()
    last = World(broker, model, rng, epoch=life + 1, fate=Fate())
    last.begin()
    await last.ended.wait()
    await last.stop()
    history.append(f"the last life ended at step {last.steps} {last.failures}")
    return deaths, history
