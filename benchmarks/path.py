"""Where the microseconds of an event go inside a worker: the same code on the same records, without the brokers.

Fetched bytes of one partition are taken, decoded and applied, and what became dirty is stored and shown, each part
timed by itself: processor time of this thread, the best of several repeats. What Faust and the network add is the
difference to `cpu_us_per_event` of a whole worker.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable
from math import inf
from typing import Any, Final, cast

from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_UNCOMMITTED, PartitionRecords
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from faust.types import TP

from agents.breaker import Breaker
from agents.ingest import Ingest
from agents.inputs import Inputs
from agents.runtime.app import PRODUCE_BATCH_BYTES
from agents.runtime.batch import RecordBatch
from agents.runtime.fetching import Record, unpack
from agents.runtime.producer import OutRecord, pack
from agents.runtime.table import Partition, ViewBudget
from agents.scorer import Scorer
from benchmarks.figures import Figure
from benchmarks.workload import Workload
from service.ingest import Decoder
from service.input_files import FileEvent
from service.model.loader import load_model
from service.scoring.engine import apply_record, mark_sent, step, use_model
from service.scoring.events import Event
from service.scoring.state import AccountState
from service.scoring.state_codec import decode
from service.topic_catalogue import TopicNames

REPEATS: Final = 5
ACCOUNTS: Final = 1_000
EVENTS: Final = 10_000
BATCH_RECORDS: Final = 500
USAGE: Final = ("login", "login", "feature_used", "login", "feature_used", "session")


def measure_path(now_ms: int) -> list[Figure]:
    """Time every part of a usage event's way, per event, and of a flush, per account."""
    bench = _Bench(now_ms)
    take_us = bench.best_us(bench.take, EVENTS)
    decode_us = bench.best_us(bench.decode, EVENTS)
    core_us = bench.best_us(bench.score, EVENTS, bench.fill)
    whole_us = bench.best_us(bench.handle, EVENTS, bench.fill)
    store_us = bench.best_us(lambda: bench.flush(0), ACCOUNTS, bench.change_all)
    both_us = bench.best_us(lambda: bench.flush(inf), ACCOUNTS, bench.change_all)
    bench.change_all()
    records = bench.flush(inf)
    pack_us = bench.best_us(lambda: pack(new_batch, records), len(records))
    parts = [
        ("take", "take a fetched record (consumer's thread)", take_us),
        ("decode", "decode and check a usage event", decode_us),
        ("core", "score a usage event", core_us),
        ("rest", "the loop around both, for each event", whole_us - decode_us - core_us),
        ("store", "store a dirty account", store_us),
        ("show", "make a score message", both_us - store_us),
        ("pack", "pack a record for the brokers", pack_us),
    ]
    return [Figure(f"path_{name}_us", label, "us", value) for name, label, value in parts]


def new_batch() -> BatchBuilder:
    """Begin a batch as the producer does."""
    return BatchBuilder(PRODUCE_BATCH_BYTES, 0)


class _Bench:
    """One partition with history, and the fetched bytes of usage events for its accounts."""

    def __init__(self, now_ms: int) -> None:
        workload = Workload(3)
        self.decoder = Decoder(lambda: now_ms)
        self.scorer = Scorer(load_model(None), TopicNames(), "wall", lambda: now_ms)
        self.ingest = Ingest(
            scorer=self.scorer,
            topics=TopicNames(),
            decoder=self.decoder,
            breaker=Breaker(1, 0),
            partitions=1,
            send=_send_nothing,
            inputs=cast("Inputs", None),  # of the event clock only
        )
        states: dict[str, AccountState] = {}
        for item in workload.history(ACCOUNTS, now_ms - 3_600_000):
            event = self.decoder.decode_value(None, item.value)
            step(states.setdefault(event.account, AccountState(event.account)), event, event.time_ms, self.scorer.model)
        for state in states.values():
            mark_sent(state, state.seq)
        self.histories = {state.account.encode(): self.scorer.encode(state) for state in states.values()}
        accounts = list(states)
        items = [
            workload.event(USAGE[number % len(USAGE)], accounts[number * 7 % ACCOUNTS], now_ms - 60_000 + number)
            for number in range(EVENTS)
        ]
        self.blob = b"".join(_fetched(items, start) for start in range(0, EVENTS, BATCH_RECORDS))
        self.records = self.take()
        self.events = self.decode()
        self.fill()

    def best_us(self, call: Callable[[], Any], count: int, before: Callable[[], Any] = gc.collect) -> float:
        """Time a call that does something `count` times; return microseconds for each."""
        best = float("inf")
        for _ in range(REPEATS):
            before()
            gc.disable()
            begin = time.thread_time()
            call()
            best = min(best, time.thread_time() - begin)
            gc.enable()
        return best / count * 1e6

    def fill(self) -> None:
        """Begin anew with every account's history, decoded and scored once."""
        self.partition = Partition(0, self.scorer)
        self.scorer.recovered(self.partition, [])
        for key, history in self.histories.items():
            state = decode(key.decode(), history)
            use_model(state, self.scorer.model)
            self.partition.put(key, state)
        self.partition.dirty.clear()

    def take(self) -> list[Record]:
        """Take the records of a fetch."""
        tp = TopicPartition("usage", 0)
        fetched = PartitionRecords(tp, MemoryRecords(self.blob), [], 0, None, None, True, READ_UNCOMMITTED)
        return unpack(tp, fetched)

    def decode(self) -> list[Event]:
        """Decode and check every record."""
        decode = self.decoder.decode
        return [decode("usage", record.key, record.value, record.headers) for record in self.records]

    def score(self) -> None:
        """Score every event."""
        states, model = self.partition.data, self.scorer.model
        for record, event in zip(self.records, self.events, strict=True):
            apply_record(states[record.key], 0, record.offset, event, event.time_ms, model)

    def handle(self) -> None:
        """Pass every record through the agent, in batches."""
        tp, handle = TP(TopicNames().input("usage"), 0), self.ingest.handler(0)

        async def run() -> None:
            for start in range(0, EVENTS, BATCH_RECORDS):
                await handle(RecordBatch(tp, self.records[start : start + BATCH_RECORDS], self.partition))
                self.scorer.tasks[0].urgent.clear()

        asyncio.run(run())

    def change_all(self) -> None:
        """Make every account dirty, its score out of date."""
        self.partition.dirty.update(self.histories)
        self.partition.outdated.update(self.histories)

    def flush(self, views_seconds: float) -> list[OutRecord]:
        """Encode what is dirty, and make so many views."""
        records, outputs = self.partition.encode_dirty("changelog", list(self.histories), ViewBudget(views_seconds))
        return records + [output for made in outputs.values() for output in made]


def _fetched(items: list[FileEvent], start: int) -> bytes:
    """Build the batch that holds the events from `start` on, as a broker sends it."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, 0, 1 << 20)
    for place, item in enumerate(items[start : start + BATCH_RECORDS]):
        builder.append(place, 0, item.event.account.encode(), item.value, [])
    return start.to_bytes(8, "big") + bytes(builder.build())[8:]


async def _send_nothing(records: list[OutRecord]) -> None:
    assert not records, "every event of the benchmark is a good one"
