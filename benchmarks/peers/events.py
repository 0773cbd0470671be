"""The topic that every engine reads, and the states and alerts that it must come to: counted anew, in the plainest way.

An account has 100 events on average, whatever the size of the run, so that small runs do the same work. Alerts are rare
(some three in a thousand events) and spread over the whole run.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import murmur2

from agents.runtime.producer import OutRecord, send_records
from benchmarks.peers.apps.work import ALERT_SCORE, FIRST_SCORE
from benchmarks.workload import FEATURES, account_name
from service.adapters.topic_admin import create_topics, open_admin
from service.adapters.topic_reader import open_reader
from service.topic_catalogue import TopicSpec

PARTITIONS: Final = 4
EVENT_BYTES: Final = 283
EVENTS_PER_ACCOUNT: Final = 100
BEGIN: Final = datetime(2026, 3, 1, tzinfo=UTC)
CHUNK_EVENTS: Final = 5_000
BATCH_BYTES: Final = 256 * 1024


@dataclass(slots=True)
class Expected:
    """What an engine must have come to: states by account, and how often each alert was raised."""

    states: dict[str, dict[str, Any]] = field(default_factory=dict)
    alerts: Counter[tuple[str, float]] = field(default_factory=Counter)


def make_events(count: int, seed: int = 1) -> Iterator[tuple[str, bytes]]:
    """Yield account and JSON of events, each of exactly 283 bytes."""
    draw = random.Random(seed)
    accounts = max(1, count // EVENTS_PER_ACCOUNT)
    for number in range(count):
        account = account_name(draw.randrange(accounts))
        time = (BEGIN + timedelta(milliseconds=50 * number)).isoformat(timespec="milliseconds")
        event = {
            "event_id": f"{draw.getrandbits(128):032x}",
            "account_id": account,
            "type": draw.choice(("login", "feature", "ticket")),
            "ts": time,
            "n": draw.randrange(1, 10),
            "feature": draw.choice(FEATURES),
            "user": f"user-{draw.randrange(40):05d}@{account}.example.com",
            "note": "",
        }
        room = EVENT_BYTES - len(json.dumps(event, separators=(",", ":")))
        event["note"] = "x" * room
        yield account, json.dumps(event, separators=(",", ":")).encode()


async def make_topic(bootstrap: str, name: str, *, is_compact: bool = False) -> None:
    """Make one topic; all have one partition count."""
    config = {"cleanup.policy": "compact"} if is_compact else {}
    async with open_admin(bootstrap) as admin:
        await create_topics(admin, bootstrap, [TopicSpec(name, PARTITIONS, 1, config)])


async def publish(bootstrap: str, topic: str, count: int) -> None:
    """Fill the topic with events, keyed by account as every default partitioner does."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", max_batch_size=BATCH_BYTES)
    await producer.start()
    homes: dict[str, int] = {}
    try:
        chunk: list[OutRecord] = []
        for account, value in make_events(count):
            key = account.encode()
            home = homes.get(account)
            if home is None:
                home = homes[account] = (murmur2(key) & 0x7FFFFFFF) % PARTITIONS
            chunk.append(OutRecord(topic, home, key, value))
            if len(chunk) == CHUNK_EVENTS:
                await send_records(producer, chunk)
                chunk = []
        await send_records(producer, chunk)
    finally:
        await producer.stop()


async def recount(bootstrap: str, topic: str) -> Expected:
    """Read the topic and do the work again: one record after the other, nothing shared with what is measured."""
    expected = Expected()
    async with open_reader(bootstrap) as reader:
        for partition in range(PARTITIONS):
            bounds = await reader.bounds(topic, partition)
            async for records in reader.read(topic, partition, bounds.start, bounds.end):
                for record in records:
                    _count(expected, record.offset, json.loads(record.value or b""))
    return expected


def _count(expected: Expected, offset: int, event: dict[str, Any]) -> None:
    account = event["account_id"]
    known = expected.states.get(account)
    before = known["score"] if known else FIRST_SCORE
    score = before * 0.99 + event["n"] * 0.1
    features = known["features"] if known else {}
    expected.states[account] = {
        "offset": offset,
        "events": (known["events"] if known else 0) + 1,
        "total": (known["total"] if known else 0) + event["n"],
        "last": event["ts"],
        "score": score,
        "features": {**features, event["feature"]: features.get(event["feature"], 0) + 1},
    }
    if before < ALERT_SCORE <= score:
        expected.alerts[account, score] += 1
