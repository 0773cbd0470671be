"""Measures the copy in Redis and the API on real parts: rebuild, memory, what a question takes. One JSON object.

`python -m benchmarks.copy [ACCOUNTS]`. Broker, Redis, projector and API run as their users run them, in processes of
their own; the accounts have eight factors each with numbers of full length, as those of the default model have.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import orjson
import psutil
from aiokafka import AIOKafkaProducer
from redis import Redis

from schemas.times import time_text
from service.adapters.embedded_kafka import EmbeddedKafka
from service.adapters.embedded_redis import EmbeddedRedis
from service.adapters.topic_admin import ensure_topics
from service.topic_catalogue import TopicNames

ACCOUNTS: Final = 100_000
QUESTIONS: Final = 2_000
WAIT_SECONDS: Final = 300
FACTORS: Final = ("login_trend", "recency", "active_days", "adoption", "payments", "support", "surveys", "sentiment")


def score_record(number: int, seq: int, rng: random.Random) -> tuple[bytes, bytes]:
    """Make an account's score, its numbers drawn."""
    account = f"account-{number:06d}"
    lost = {name: rng.uniform(0, 12.5) for name in FACTORS}
    factors = [
        {
            "name": name,
            "label": name.replace("_", " ").capitalize(),
            "value": rng.uniform(0, 2),
            "output": 100 - 8 * points,
            "weight": 0.125,
            "contribution": 12.5 - points,
            "points_lost": points,
            "sentence": f"{name.replace('_', ' ')} fell by {rng.randrange(100)} % in 30 days: -{points:.0f} points",
        }
        for name, points in lost.items()
    ]
    score = 100 - sum(lost.values())
    data = {
        "account": account,
        "seq": seq,
        "as_of": time_text(time.time_ns() // 1_000_000),
        "score": score,
        "band": "endangered" if score < 40 else "at_risk" if score < 55 else "healthy",
        "coverage": 1.0,
        "model_version": "bench-1",
        "factors": factors,
        "name": f"Company {number} Ltd",
        "tier": rng.choice(("high_touch", "low_touch")),
        "mrr_minor": rng.randrange(10**6),
        "currency": "EUR",
        "owner": f"csm-{rng.randrange(200)}",
        "stage": "active",
        "trend_7": rng.uniform(-10, 10),
        "trend_30": rng.uniform(-20, 20),
        "rules": [],
    }
    event: dict[str, object] = {
        "specversion": "1.0",
        "id": f"{account}:{seq}",
        "source": "vitals",
        "type": "io.vitals.score.v1",
    }
    event |= {"subject": account, "time": data["as_of"], "datacontenttype": "application/json"}
    return account.encode(), orjson.dumps({**event, "data": data})


async def publish(bootstrap: str, topic: str, count: int, seq: int) -> None:
    """Publish a score of every account."""
    rng = random.Random(seq)
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=20, max_batch_size=512 * 1024)
    await producer.start()
    try:
        acks = []
        for number in range(count):
            key, value = score_record(number, seq, rng)
            acks.append(await producer.send(topic, value, key=key))
        await asyncio.gather(*acks)
    finally:
        await producer.stop()


@contextmanager
def running(log: Path, *arguments: str, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command of Vitals in a process of its own."""
    with log.open("ab") as out:
        command = [sys.executable, "-m", "service.cli.main", *arguments]
        process = subprocess.Popen(command, env={**os.environ, **variables}, stdout=out, stderr=out)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def wait_until(holds: Callable[[], bool], log: Path) -> float:
    """Wait until something holds; return the seconds it took."""
    began = time.monotonic()
    while not holds():
        if time.monotonic() - began > WAIT_SECONDS:
            raise TimeoutError(log.read_text()[-2_000:])
        time.sleep(0.05)
    return time.monotonic() - began


def copy_state(redis: Redis, count: int, seq: int) -> bool:
    """Tell whether the copy has this seq of all accounts: of the last in each partition's order, and all in number."""
    epoch = redis.hget("vitals:copy", "epoch")
    if not isinstance(epoch, bytes):
        return False
    prefix = f"vitals:{epoch.decode()}:"
    offsets = redis.hvals(prefix + "offsets")
    return sum(map(int, offsets)) >= count * seq and redis.zcard(prefix + "by:risk") == count


def questions(client: httpx.Client, paths: list[str], pid: int) -> dict[str, float]:
    """Ask one after the other; return milliseconds, and those of the API's processor for each."""
    taken, cpu = [], cpu_seconds(pid)
    for path in paths:
        began = time.perf_counter()
        answer = client.get(path)
        taken.append((time.perf_counter() - began) * 1000)
        if answer.status_code != 200:
            raise RuntimeError(answer.text)
    cuts = statistics.quantiles(taken, n=100)
    cpu_ms = (cpu_seconds(pid) - cpu) / len(paths) * 1000
    return {
        "cpu_ms": round(cpu_ms, 2),
        "p50_ms": round(cuts[49], 2),
        "p99_ms": round(cuts[98], 2),
        "max_ms": round(max(taken), 2),
    }


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process, which other processes of the machine do not change much."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def ask_all(port: int, count: int, pid: int) -> dict[str, Any]:
    """Measure each kind of question."""
    rng = random.Random(1)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        kinds = {
            "one_account": [f"/v1/accounts/account-{rng.randrange(count):06d}" for _ in range(QUESTIONS)],
            "worklist_50": ["/v1/accounts?sort=mrr_at_risk"] * (QUESTIONS // 10),
            "worklist_50_filtered": [
                f"/v1/accounts?owner=csm-{rng.randrange(200)}&band=at_risk" for _ in range(QUESTIONS // 10)
            ],
            "two_bands_and_tier": ["/v1/accounts?band=at_risk&band=endangered&tier=high_touch"] * (QUESTIONS // 10),
            "search": [f"/v1/accounts?search=company%20{rng.randrange(count)}" for _ in range(QUESTIONS // 10)],
            "portfolio": ["/v1/portfolio"] * (QUESTIONS // 10),
        }
        return {kind: questions(client, paths, pid) for kind, paths in kinds.items()}


def measure(count: int, folder: Path) -> dict[str, Any]:
    """Run everything; return the figures."""
    kafka, server = EmbeddedKafka(folder, port=0), EmbeddedRedis(folder)
    kafka.start()
    server.start()
    try:
        names = TopicNames()
        asyncio.run(ensure_topics(kafka.bootstrap, names))
        asyncio.run(publish(kafka.bootstrap, names.scores, count, 1))
        variables = {"VITALS_BROKER": kafka.bootstrap, "VITALS_REDIS": server.url}
        log = folder / "run.log"
        redis = Redis(unix_socket_path=str(server.socket))
        empty = redis.info("memory")["used_memory"]
        figures: dict[str, Any] = {"accounts": count}
        with running(log, "projector", **variables) as projector:
            figures["first_copy_seconds"] = round(wait_until(lambda: copy_state(redis, count, 1), log), 1)
            figures["projector_cpu_us_per_score"] = round(cpu_seconds(projector.pid) / count * 1e6)
            figures["redis_cpu_us_per_score"] = round(
                cpu_seconds(int(redis.info("server")["process_id"])) / count * 1e6
            )
            memory = redis.info("memory")
            figures["bytes_per_account"] = round((memory["used_memory"] - empty) / count)
            figures["resident_bytes_per_account"] = round(memory["used_memory_rss"] / count)
            redis.flushall()
            figures["rebuild_after_wipe_seconds"] = round(wait_until(lambda: copy_state(redis, count, 1), log), 1)
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            with running(log, "api", "--port", str(port), VITALS_API_REQUESTS_PER_SECOND="100000", **variables) as api:
                wait_until(lambda: _ready(port), log)
                figures["questions"] = ask_all(port, count, api.pid)
        return figures
    finally:
        server.stop()
        kafka.stop()


def _ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def main() -> None:
    """Measure and print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else ACCOUNTS
    with tempfile.TemporaryDirectory(prefix="vitals-") as folder:
        print(json.dumps(measure(count, Path(folder)), indent=2))


if __name__ == "__main__":
    main()
