"""From an event to its alert while events come in at a steady rate.

Open loop: every event has its instant before the run begins, and a slow worker does not move it. Time counts from the
hand-over to the producer to the arrival at a consumer; how late the producer itself was is told beside it. The
accounts that cross are made so that, by the packaged model, exactly their last event takes them into At-Risk; the
scoring core itself confirms that before anything is published.
"""

from __future__ import annotations

import asyncio
import gc
import random
import statistics
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.partitioner import murmur2

from benchmarks.deployment import Deployment
from benchmarks.figures import Figure
from benchmarks.worker_process import BenchmarkError, MeasuredWorker
from benchmarks.workload import Workload
from service.adapters.topic_admin import describe_partitions
from service.ingest import Decoder
from service.input_files import FileEvent
from service.model.loader import load_model
from service.scoring.effects import ALERTED
from service.scoring.engine import step
from service.scoring.state import AccountState

BUSY_RATE: Final = 10_000  # events a second
QUIET_RATE: Final = 1_000
GOAL_P99_MS: Final = {BUSY_RATE: 100.0, QUIET_RATE: 30.0}
TURN_SECONDS: Final = 0.01
QUIET_SECONDS: Final = 1.0  # no crossing at the very begin, when connections are made
ALERT_SECONDS_MAX: Final = 15.0

Counts: TypeAlias = Mapping[str, int | None]


@dataclass(frozen=True, slots=True)
class Planned:
    """One record with its place and its instant, in seconds after the begin."""

    at_seconds: float
    topic: str
    partition: int
    key: bytes
    value: bytes
    crosses: bool


def crossing_events(workload: Workload, account: str, time_ms: int) -> tuple[list[FileEvent], FileEvent]:
    """Make what an account did before, and the event that takes it into At-Risk; raises BenchmarkError if not."""
    before = [
        workload.event("login", account, time_ms - 5_000),
        workload.event("ticket_opened", account, time_ms - 4_000, ticket="T-1", severity="urgent"),
    ]
    last = workload.event("ticket_opened", account, time_ms, ticket="T-2", severity="urgent")
    decoder, model, state = Decoder(lambda: time_ms), load_model(None), AccountState(account)
    alerted = []
    for item in (*before, last):
        event = decoder.decode_value(None, item.value)
        alerted.append(bool(step(state, event, event.time_ms, model) & ALERTED))
    if alerted != [False, False, True]:
        raise BenchmarkError("with this model, two urgent tickets no longer make an account At-Risk: craft others")
    return before, last


async def measure_latency(
    deployment: Deployment,
    worker: MeasuredWorker,
    workload: Workload,
    *,
    accounts: int,
    rate: int,
    seconds: int,
    crossings: int,
) -> list[Figure]:
    """Bring the crossing accounts to the brink, run the plan of `rate` events a second, time each alert."""
    now_ms = time.time_ns() // 1_000_000
    names = [f"cross-{rate}-{number:06d}" for number in range(crossings)]
    made = {name: crossing_events(workload, name, now_ms) for name in names}
    await deployment.publish(event for before, _ in made.values() for event in before)
    await worker.catch_up(deployment.published)
    counts = await describe_partitions(deployment.bootstrap, deployment.names.inputs)
    live = workload.live(accounts, rate * seconds, now_ms, now_ms + 1_000 * seconds)
    plan = _plan(deployment, live, [last for _, last in made.values()], rate=rate, seconds=seconds, counts=counts)
    gc.freeze()  # the plan is large, and a collection of it would stop the producer for a quarter of a second
    before_cpu, before_seconds = worker.cpu_seconds, time.monotonic()
    delays, late_seconds = await _run(deployment, plan, crossings)
    cpu_share = (worker.cpu_seconds - before_cpu) / (time.monotonic() - before_seconds)
    deployment.published += len(plan)
    await worker.catch_up(deployment.published)
    await deployment.check_nothing_set_aside()
    cuts = statistics.quantiles(delays, n=100)
    at, prefix = f"at {rate:,} events/s", "" if rate == BUSY_RATE else "quiet_"
    return [
        Figure(f"{prefix}alert_p50_ms", f"event to alert {at}, p50", "ms", statistics.median(delays) * 1e3),
        Figure(f"{prefix}alert_p99_ms", f"event to alert {at}, p99", "ms", cuts[98] * 1e3, goal=GOAL_P99_MS.get(rate)),
        Figure(f"{prefix}alert_max_ms", f"event to alert {at}, worst", "ms", max(delays) * 1e3),
        Figure(f"{prefix}latency_cpu_percent", f"worker CPU {at}", "%", cpu_share * 100),
        Figure(f"{prefix}producer_late_ms", f"producer behind its plan {at}, worst", "ms", late_seconds * 1e3),
    ]


def _plan(
    deployment: Deployment,
    live: Iterable[FileEvent],
    last_events: list[FileEvent],
    *,
    rate: int,
    seconds: int,
    counts: Counts,
) -> list[Planned]:
    """Place live events evenly over the run and crossing events at random instants of it."""
    hashes: dict[str, tuple[bytes, int]] = {}

    def planned(at_seconds: float, item: FileEvent, crosses: bool) -> Planned:
        account = item.event.account
        known = hashes.get(account)
        if known is None:
            key = account.encode()
            known = hashes[account] = (key, murmur2(key) & 0x7FFFFFFF)
        topic = deployment.names.input(item.kind)
        return Planned(at_seconds, topic, known[1] % (counts[topic] or 1), known[0], item.value, crosses)

    plan = [planned(number / rate, item, False) for number, item in enumerate(live)]
    draw = random.Random(7)
    plan += [planned(draw.uniform(QUIET_SECONDS, seconds), item, True) for item in last_events]
    return sorted(plan, key=lambda item: item.at_seconds)


async def _run(deployment: Deployment, plan: list[Planned], crossings: int) -> tuple[list[float], float]:
    """Produce by plan and listen; return every crossing's delay and the producer's own worst, in seconds."""
    topic = deployment.names.alerts
    counts = await describe_partitions(deployment.bootstrap, [topic])
    consumer = AIOKafkaConsumer(bootstrap_servers=deployment.bootstrap, enable_auto_commit=False)
    producer = AIOKafkaProducer(
        bootstrap_servers=deployment.bootstrap, acks="all", enable_idempotence=True, linger_ms=1
    )
    await consumer.start()
    try:
        await producer.start()
        consumer.assign([TopicPartition(topic, number) for number in range(counts[topic] or 0)])
        await consumer.seek_to_end()
        begin_seconds = time.monotonic() + 0.5
        listening = asyncio.ensure_future(_listen(consumer, {item.key for item in plan if item.crosses}))
        sent, late_seconds = await _produce(producer, plan, begin_seconds)
        try:
            seen = await asyncio.wait_for(listening, ALERT_SECONDS_MAX)
        except TimeoutError:
            raise BenchmarkError(f"not all of {crossings} alerts came within {ALERT_SECONDS_MAX} s") from None
        return [seen[key] - sent_seconds for key, sent_seconds in sent.items()], late_seconds
    finally:
        await producer.stop()
        await consumer.stop()


async def _listen(consumer: Any, waited: set[bytes]) -> dict[bytes, float]:
    """Note when the alert of each waited account arrives; return when all did."""
    seen: dict[bytes, float] = {}
    while len(seen) < len(waited):
        fetched = await consumer.getmany(timeout_ms=1_000)
        now_seconds = time.monotonic()
        for records in fetched.values():
            for record in records:
                if record.key in waited:
                    seen.setdefault(record.key, now_seconds)
    return seen


async def _produce(producer: Any, plan: list[Planned], begin_seconds: float) -> tuple[dict[bytes, float], float]:
    """Send every record at its instant, in turns of 10 ms; return when each crossing left, and the worst lateness."""
    acks, sent, worst, turn_seconds = [], {}, 0.0, begin_seconds
    for item in plan:
        at_seconds = begin_seconds + item.at_seconds
        if at_seconds > turn_seconds:
            turn_seconds = max(at_seconds, turn_seconds + TURN_SECONDS)
            await asyncio.sleep(max(0.0, turn_seconds - time.monotonic()))
            worst = max(worst, time.monotonic() - turn_seconds)
        if item.crosses:
            sent[item.key] = time.monotonic()
        acks.append(await producer.send(item.topic, item.value, key=item.key, partition=item.partition))
    await asyncio.gather(*acks)
    return sent, worst
