"""`python -m benchmarks.serving [--json] [--quick]`: the copy in Redis, the HTTP API and the page, on real parts.

Broker, Redis, projector and API run as their users run them, in processes of their own, and callers have a key. What
asks and what is asked share the processors, so the share of what asks is told, too.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import psutil
from redis import Redis

from benchmarks.asking import Asked, Follower, ask_by_plan, ask_in_turns, request
from benchmarks.command import on_broker, run, say
from benchmarks.deployment import Deployment
from benchmarks.figures import Figure
from benchmarks.page_speed import measure_page
from benchmarks.recovery import write_changelog
from benchmarks.serving_data import OWNERS, owner_name, publish_alerts, publish_scores
from benchmarks.serving_process import LOOK_SECONDS, WAIT_SECONDS, running, serving, wait_until
from benchmarks.worker_process import BenchmarkError, cpu_seconds
from benchmarks.workload import account_name
from service.adapters.embedded_kafka import free_ports
from service.adapters.embedded_redis import EmbeddedRedis
from service.api.keys import add_key
from tests.integration.kafka_tools import TestedProcess

GOAL_SCORES_PER_SECOND: Final = 20_000
GOAL_READS_PER_SECOND: Final = 3_000
GOAL_READ_P99_MS: Final = 15.0
GOAL_WORKLIST_P99_MS: Final = 50.0
GOAL_STREAMS_MIB: Final = 200e6 / 2**20
READ_RATE: Final = 1_000
CONNECTIONS: Final = 16
PLAN_CONNECTIONS: Final = 64
FOLLOWERS: Final = 500
NEWS: Final = 100


@dataclass(frozen=True, slots=True)
class ServingSizes:
    """How much is measured."""

    accounts: int
    updates: int
    reads: int
    plan_seconds: int
    lists: int
    rounds: int  # of an event whose row is waited for


FULL: Final = ServingSizes(accounts=100_000, updates=50_000, reads=15_000, plan_seconds=10, lists=200, rounds=20)
QUICK: Final = ServingSizes(accounts=10_000, updates=5_000, reads=3_000, plan_seconds=2, lists=30, rounds=5)


class Copy:
    """The copy under measurement, seen from outside."""

    def __init__(self, server: EmbeddedRedis) -> None:
        self.client: Redis = Redis(unix_socket_path=str(server.socket))
        self.process = psutil.Process(int(self.client.info("server")["process_id"]))

    def applied(self, topic: str) -> int:
        """Count the records of a topic that are applied, by the offsets in the copy."""
        epoch = self.client.hget("vitals:copy", "epoch")
        if not isinstance(epoch, bytes):
            return 0
        offsets: Any = self.client.hgetall(f"vitals:{epoch.decode()}:offsets")
        return sum(int(offset) for place, offset in offsets.items() if place.decode().rpartition(":")[0] == topic)


def catch_up(copy: Copy, topic: str, total: int, process: TestedProcess, accounts: str) -> list[Figure]:
    """Time the copying of a backlog of scores, from the first look at which something of it was applied."""
    before = copy.applied(topic)
    wait_until(lambda: copy.applied(topic) > before, process)
    projector = psutil.Process(process.process.pid)
    begin, first = time.monotonic(), copy.applied(topic)
    cpu, redis_cpu = cpu_seconds(projector), cpu_seconds(copy.process)
    wait_until(lambda: copy.applied(topic) >= total, process)
    seconds, count = time.monotonic() - begin, total - first
    cpu, redis_cpu = cpu_seconds(projector) - cpu, cpu_seconds(copy.process) - redis_cpu
    label, rate = f"{accounts} accounts", count / seconds
    return [
        Figure(
            f"copy_{accounts}_scores_per_second",
            f"scores copied to Redis, {label}",
            "1/s",
            rate,
            "more",
            GOAL_SCORES_PER_SECOND,
        ),
        Figure(f"copy_{accounts}_projector_cpu_us", f"projector CPU per score, {label}", "us", cpu / count * 1e6),
        Figure(f"copy_{accounts}_redis_cpu_us", f"Redis CPU per score, {label}", "us", redis_cpu / count * 1e6),
    ]


async def measure_copying(deployment: Deployment, copy: Copy, sizes: ServingSizes, **variables: str) -> list[Figure]:
    """Measure the projector: scores of accounts that the copy does not have, then of those that it has."""
    names, empty = deployment.names, int(copy.client.info("memory")["used_memory"])
    say(f"scores of {sizes.accounts:,} accounts are copied to Redis ...")
    await deployment.publish(iter(()))  # makes the topics
    published = await publish_scores(deployment, range(sizes.accounts), 1)
    with running(deployment, "projector", **variables) as projector:
        figures = catch_up(copy, names.scores, published, projector, "new")
        alerts = await publish_alerts(deployment, sizes.accounts)
        await write_changelog(deployment, sizes.accounts)
        wait_until(lambda: copy.applied(names.changelog) >= sizes.accounts, projector)
        wait_until(lambda: copy.applied(names.alerts) >= alerts, projector)
    used = (int(copy.client.info("memory")["used_memory"]) - empty) / sizes.accounts
    published += await publish_scores(deployment, range(sizes.updates), 2)
    with running(deployment, "projector", **variables) as projector:
        figures += catch_up(copy, names.scores, published, projector, "known")
    return [*figures, Figure("copy_bytes_per_account", "memory in Redis per account", "bytes", used)]


def measure_reads(port: int, key: str, api: psutil.Process, sizes: ServingSizes) -> list[Figure]:
    """Read single accounts: as fast as answers come, then by a plan."""
    rng = random.Random(1)

    def questions(count: int) -> list[bytes]:
        return [request(f"/v1/accounts/{account_name(rng.randrange(sizes.accounts))}", key) for _ in range(count)]

    say("one account over HTTP, as fast as answers come ...")
    ask_in_turns(port, questions(sizes.reads // 10), CONNECTIONS)  # connections and caches are warm afterwards
    cpu = cpu_seconds(api)
    fast = ask_in_turns(port, questions(sizes.reads), CONNECTIONS)
    cpu_us = (cpu_seconds(api) - cpu) / sizes.reads * 1e6
    rate, share = sizes.reads / fast.seconds, fast.cpu_seconds / fast.seconds * 100
    say(f"one account over HTTP, {READ_RATE:,} a second ...")
    planned = ask_by_plan(port, questions(READ_RATE * sizes.plan_seconds), PLAN_CONNECTIONS, READ_RATE)
    return [
        Figure("api_reads_per_second", "one account over HTTP", "1/s", rate, "more", GOAL_READS_PER_SECOND),
        Figure("api_read_cpu_us", "API CPU per account read", "us", cpu_us),
        Figure("api_asking_cpu_percent", "CPU of who asks meanwhile", "%", share),
        *_spread(planned, "api_read", f"one account at {READ_RATE:,}/s", GOAL_READ_P99_MS),
    ]


def measure_lists(port: int, key: str, sizes: ServingSizes) -> list[Figure]:
    """Ask for lists and the portfolio, one after the other."""
    say("worklists and the portfolio over HTTP ...")
    rng = random.Random(2)
    kinds: dict[str, tuple[str, Callable[[], str], float | None]] = {
        "worklist": ("50 accounts by revenue at risk", lambda: "/v1/accounts?sort=mrr_at_risk", GOAL_WORKLIST_P99_MS),
        "worklist_owner": (
            "50 accounts of an owner and a band",
            lambda: f"/v1/accounts?band=at_risk&owner={owner_name(rng.randrange(OWNERS))}",
            GOAL_WORKLIST_P99_MS,
        ),
        "worklist_walk": (
            "50 accounts of two bands and a tier",
            lambda: "/v1/accounts?band=at_risk&band=endangered&tier=high_touch",
            GOAL_WORKLIST_P99_MS,
        ),
        "search": (
            "accounts whose name begins so",
            lambda: f"/v1/accounts?search=company%20{rng.randrange(1_000, sizes.accounts)}",
            None,
        ),
        "portfolio": ("the portfolio", lambda: "/v1/portfolio", None),
    }
    figures: list[Figure] = []
    for name, (label, path, goal) in kinds.items():
        asked = ask_in_turns(port, [request(path(), key) for _ in range(sizes.lists)], 1)
        figures += _spread(asked, f"api_{name}", label, goal)
    return figures


def _spread(asked: Asked, name: str, label: str, goal: float | None) -> list[Figure]:
    cuts = statistics.quantiles(asked.taken, n=100, method="inclusive")
    return [
        Figure(f"{name}_p50_ms", f"{label}, p50", "ms", cuts[49] * 1e3),
        Figure(f"{name}_p99_ms", f"{label}, p99", "ms", cuts[98] * 1e3, goal=goal),
        Figure(f"{name}_max_ms", f"{label}, worst", "ms", max(asked.taken) * 1e3),
    ]


async def measure_streams(
    deployment: Deployment, port: int, key: str, api: psutil.Process, sizes: ServingSizes
) -> list[Figure]:
    """Have many follow the stream at once, and tell them some news."""
    say(f"{FOLLOWERS} follow the stream ...")
    before = api.memory_info().rss
    loop, question = asyncio.get_running_loop(), request("/v1/stream", key)
    followers = [
        (await loop.create_connection(lambda: Follower(question), "127.0.0.1", port))[1] for _ in range(FOLLOWERS)
    ]
    try:
        await _every(followers, lambda follower: follower.is_open, "stream is open")
        cpu = cpu_seconds(api)
        await publish_scores(deployment, range(sizes.updates, sizes.updates + NEWS), 3)
        await _every(followers, lambda follower: follower.scores >= NEWS, "follower was told all")
        told_us = (cpu_seconds(api) - cpu) / NEWS / FOLLOWERS * 1e6
        rss = api.memory_info().rss
    finally:
        for follower in followers:
            follower.close()
    label = f"memory of the API with {FOLLOWERS} streams"
    return [
        Figure("api_rss_mib", "memory of the API before", "MiB", before / 2**20),
        Figure("api_streams_rss_mib", label, "MiB", rss / 2**20, goal=GOAL_STREAMS_MIB),
        Figure("api_stream_cpu_us", "API CPU to tell one follower one score", "us", told_us),
    ]


async def _every(followers: Sequence[Follower], holds: Callable[[Follower], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not all(map(holds, followers)):
        if refusal := next((follower.refusal for follower in followers if follower.refusal), ""):
            raise BenchmarkError(refusal)
        if time.monotonic() > deadline:
            count = sum(map(holds, followers))
            raise BenchmarkError(f"only {count} of {len(followers)}: {what}")
        await asyncio.sleep(LOOK_SECONDS)


async def measure_serving(sizes: ServingSizes, bootstrap: str, home: Path) -> list[Figure]:
    """Measure projector, API and page on a broker."""
    deployment, server = Deployment(bootstrap, home, "serving"), EmbeddedRedis(home)
    await asyncio.to_thread(server.start)
    try:
        copy, redis = Copy(server), {"VITALS_REDIS": server.url}
        figures = await measure_copying(deployment, copy, sizes, **redis)
        keys, (port,) = home / "keys.json", free_ports(1)
        key = add_key(keys, "bench", "read", None)
        served = {**redis, "VITALS_API_KEYS": str(keys), "VITALS_API_REQUESTS_PER_SECOND": "100000"}
        with serving(deployment, port, **served) as api:
            process = psutil.Process(api.process.pid)
            figures += measure_reads(port, key, process, sizes)
            figures += measure_lists(port, key, sizes)
            figures += await measure_streams(deployment, port, key, process, sizes)
            url, small = f"http://127.0.0.1:{port}", Deployment(bootstrap, home, "page")
            figures += await measure_page(url, key, server.url, small, sizes.rounds)
        return figures
    finally:
        await asyncio.to_thread(server.stop)


def main() -> int:
    """Measure and print; 1 when something could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description="Measure copy, API and page.")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--quick", action="store_true", help="small sizes: to see that it works")
    arguments = parser.parse_args()
    measure = partial(measure_serving, QUICK if arguments.quick else FULL)
    return run(lambda home: asyncio.run(on_broker(home, measure)), in_json=arguments.json, is_quick=arguments.quick)


if __name__ == "__main__":
    sys.exit(main())
