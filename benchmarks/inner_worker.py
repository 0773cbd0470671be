"""A worker's scorer, agents, tick loop and committer inside this process, without brokers, on its processor time.

Only what the worker's own code costs is seen: a producer in memory acknowledges after a fixed time, computing takes the
processor time that it took, waiting takes what was asked for, and what other processes do meanwhile takes none. What
Faust's consumer and the network add is not seen.
"""

from __future__ import annotations

import asyncio
import json
import selectors
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from multiprocessing import get_context
from typing import Any, Final, TypeVar, cast

from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import ConsumerRecord
from faust.types import TP

from agents.breaker import Breaker
from agents.ingest import Ingest
from agents.inputs import Inputs
from agents.runtime.batch import RecordBatch
from agents.runtime.commit import Committer
from agents.runtime.producer import Ack, OutRecord, send_records
from agents.runtime.table import FORMAT, HEADER, Partition, PartitionedTable
from agents.scorer import Scorer
from benchmarks.workload import DAY_MS, Workload, account_name
from service.ingest import Decoder
from service.scoring.engine import mark_sent, step
from service.scoring.model import Model
from service.scoring.state import AccountState
from service.scoring.state_codec import encode
from service.topic_catalogue import TopicNames

COMMIT_SECONDS: Final = 0.5
ACK_SECONDS: Final = 0.005
PRODUCE_BATCH_BYTES: Final = 256 * 1024
MIDNIGHT_MS: Final = 20_500 * DAY_MS
TOPICS: Final = TopicNames()
USAGE: Final = TOPICS.input("usage")

ResultT = TypeVar("ResultT")


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

    def __init__(self, model: Model, now_seconds: Callable[[], float], partitions: int = 8) -> None:
        self._now_seconds = now_seconds
        self._origin_ms = MIDNIGHT_MS - 3_600_000
        self._begin_seconds = now_seconds()
        self.scorer = Scorer(model, TOPICS, "wall", self.now_ms)
        self.partitions = [Partition(number, self.scorer) for number in range(partitions)]
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
            partitions=partitions,
            send=send,
            inputs=self.inputs,
        )
        self._offsets = [0] * partitions

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

    async def commit(self) -> None:
        """Flush and commit what is applied."""

        async def commit_offsets(_offsets: object) -> bool:
            await asyncio.sleep(ACK_SECONDS)
            return True

        await self._committer.commit(lambda: {TP(USAGE, 0): 1}, commit_offsets)

    async def _commit_forever(self) -> None:
        while True:
            await asyncio.sleep(COMMIT_SECONDS)
            await self.commit()

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


def event_template(short: str, *variables: str, **changes: Any) -> bytes:
    """Make an event with places for `%(id)d`, `%(account)s`, `%(time)s` and more variables: filling takes no time."""
    event = json.loads(Workload(4).event(short, account_name(0), MIDNIGHT_MS, **changes).value)
    event |= {"id": "%(id)d", "subject": "%(account)s", "time": "%(time)s"}
    event |= {name: f"%({name})s" for name in variables}
    return json.dumps(event, separators=(",", ":")).encode()


def in_own_process(measure: Callable[..., Coroutine[Any, Any, ResultT]], *arguments: Any) -> ResultT:
    """Measure in a process of its own, whose memory is of this alone, on its processor time."""
    with get_context("spawn").Pool(1) as pool:
        measured: ResultT = pool.apply(_measured, (measure, arguments))
        return measured


def _measured(measure: Callable[..., Coroutine[Any, Any, ResultT]], arguments: tuple[Any, ...]) -> ResultT:
    with asyncio.Runner(loop_factory=OwnProcessorLoop) as runner:
        return runner.run(measure(*arguments))


def states_with_history(model: Model, accounts: int, end_ms: int) -> list[AccountState]:
    """Make accounts that have the benchmarks' history of 75 days, with everything published."""
    decoder = Decoder(lambda: end_ms)
    states: dict[str, AccountState] = {}
    for item in Workload(3).history(accounts, end_ms):
        event = decoder.decode_value(None, item.value)
        state = states.setdefault(event.account, AccountState(event.account))
        step(state, event, event.time_ms, model)
    for state in states.values():
        mark_sent(state, state.seq)
    return list(states.values())


def fill(worker: Worker, states: Sequence[AccountState], accounts: int) -> list[list[bytes]]:
    """Give every partition its encoded accounts, as after a recovery, then start the tasks; return the keys of each."""
    templates = [HEADER.pack(FORMAT, 0, state.revision) + encode(state) for state in states]
    keys: list[list[bytes]] = [[] for _ in worker.partitions]
    for number in range(accounts):
        place = number % len(keys)
        key = account_name(number).encode()
        # A copy of its own, as every account has one.
        worker.partitions[place].data[key] = bytes(bytearray(templates[number % len(templates)]))
        keys[place].append(key)
    for partition in worker.partitions:
        worker.scorer.recovered(partition, [])
    return keys
