"""What is in the copy while reading is measured: scores of full length, alerts of some accounts, everybody's state.

Scores have eight factors with numbers of full length, as those of the default model have; bands are drawn, so that
every filter has many accounts to look through. States are real ones with a full history.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final

import orjson
from aiokafka import AIOKafkaProducer

from agents.runtime.producer import OutRecord, send_records
from benchmarks.deployment import Deployment
from benchmarks.workload import account_name
from schemas.catalogue import OUTPUTS
from schemas.times import time_text
from service.account_topics import partition_of
from service.adapters.topic_admin import describe_partitions

FACTORS: Final = ("login_trend", "recency", "active_days", "adoption", "payments", "support", "surveys", "sentiment")
OWNERS: Final = 200
ALERTED_EVERY: Final = 5
CHUNK_RECORDS: Final = 10_000
WEIGHT: Final = 1 / len(FACTORS)
ENDANGERED, AT_RISK = 40, 55


def owner_name(number: int) -> str:
    """Name who looks after accounts."""
    return f"csm-{number:03d}"


def score_data(number: int, seq: int) -> dict[str, Any]:
    """Make an account's score, its numbers drawn; from one `seq` to the next a factor changes."""
    rng = random.Random(number)
    lost = [rng.uniform(0, 100 * WEIGHT) for _ in FACTORS]
    for step in range(1, seq):
        lost[(number + step) % len(FACTORS)] = rng.uniform(0, 100 * WEIGHT)
    score = 100 - sum(lost)
    return {
        "account": account_name(number),
        "seq": seq,
        "as_of": time_text(time.time_ns() // 1_000_000),
        "score": score,
        "band": "endangered" if score < ENDANGERED else "at_risk" if score < AT_RISK else "healthy",
        "coverage": 1.0,
        "model_version": "bench-1",
        "factors": [_factor(name, points, rng) for name, points in zip(FACTORS, lost, strict=True)],
        "name": f"Company {number} Ltd",
        "tier": ("high_touch", "low_touch")[number % 2],
        "mrr_minor": number * 7_919 % 10**6,
        "currency": "EUR",
        "owner": owner_name(number // 2 % OWNERS),
        "stage": "active",
        "trend_7": rng.uniform(-10, 10),
        "trend_30": rng.uniform(-20, 20),
        "rules": [],
    }


def _factor(name: str, points: float, rng: random.Random) -> dict[str, Any]:
    words = name.replace("_", " ")
    return {
        "name": name,
        "label": words.capitalize(),
        "value": rng.uniform(0, 2),
        "output": 100 - points / WEIGHT,
        "weight": WEIGHT,
        "contribution": 100 * WEIGHT - points,
        "points_lost": points,
        "sentence": f"{words} fell by {rng.randrange(100)} % in 30 days: -{points:.0f} points",
    }


def alert_data(score: dict[str, Any]) -> dict[str, Any]:
    """Make the alert of an account that stood better before."""
    told = ("account", "as_of", "band", "score", "coverage", "model_version", "name", "mrr_minor", "currency", "owner")
    factors = [
        {
            **{name: factor[name] for name in ("name", "label", "value", "output", "contribution", "sentence")},
            "value_before": factor["value"] + 0.5,
            "output_before": 100.0,
            "contribution_before": 100 * WEIGHT,
            "points_change": -factor["points_lost"],
        }
        for factor in score["factors"]
    ]
    return {
        **{name: score[name] for name in told},
        "id": f"{score['account']}:1",
        "seq": 1,
        "kind": "at_risk",
        "previous_band": "healthy",
        "previous_score": 90.0,
        "factors": factors,
        "sentence": f"{score['name']} is at risk: {score['score']:.1f}, down from 90.",
        "suppressed": 0,
        "rule": None,
    }


def message(kind: str, data: dict[str, Any]) -> bytes:
    """Write an event of the catalogue as a worker does."""
    envelope = {
        "specversion": "1.0",
        "id": f"{data['account']}:{data['seq']}",
        "source": "vitals",
        "type": OUTPUTS[kind].type,
        "subject": data["account"],
        "time": data["as_of"],
        "datacontenttype": "application/json",
    }
    return orjson.dumps({**envelope, "data": data})


async def publish_scores(deployment: Deployment, numbers: Iterable[int], seq: int) -> int:
    """Publish a score of each of these accounts; return how many."""
    data = (("score", score_data(number, seq)) for number in numbers)
    return await _publish(deployment, deployment.names.scores, data)


async def publish_alerts(deployment: Deployment, accounts: int) -> int:
    """Publish an alert of every fifth account; return how many."""
    numbers = range(0, accounts, ALERTED_EVERY)
    data = (("alert", alert_data(score_data(number, 1))) for number in numbers)
    return await _publish(deployment, deployment.names.alerts, data)


async def _publish(deployment: Deployment, topic: str, messages: Iterable[tuple[str, dict[str, Any]]]) -> int:
    count = (await describe_partitions(deployment.bootstrap, [topic]))[topic] or 0

    def records() -> Iterator[OutRecord]:
        for kind, data in messages:
            key = data["account"].encode()
            yield OutRecord(topic, partition_of(key, count), key, message(kind, data))

    producer = AIOKafkaProducer(bootstrap_servers=deployment.bootstrap, acks="all", enable_idempotence=True)
    await producer.start()
    try:
        left, sent = records(), 0
        while chunk := list(islice(left, CHUNK_RECORDS)):
            await send_records(producer, chunk)
            sent += len(chunk)
        return sent
    finally:
        await producer.stop()
