"""The whole way on real parts: an event is published, the worker scores it, the copy has it, the API answers it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import httpx
import orjson
import pytest

from schemas.codec import encode_input
from service.adapters.embedded_kafka import free_ports
from service.adapters.embedded_redis import EmbeddedRedis
from service.adapters.redis_client import open_redis
from service.adapters.topic_admin import ensure_topics
from service.settings import Settings
from service.topic_catalogue import TopicNames
from tests.integration.kafka_tools import TestedProcess, produce, start_worker

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

ACCOUNT = "org/acme & sons"
PATH = "/v1/accounts/org%2Facme%20%26%20sons"


def unpaid(answer: httpx.Response) -> list[str]:
    """List the unpaid invoices of a view, none while its details are missing."""
    details = answer.json()["details"]
    return [invoice["invoice"] for invoice in details["invoices"]] if details else []


async def wipe(url: str) -> None:
    async with open_redis(url) as redis:
        await redis.flushall()


def wait_for(
    client: httpx.Client,
    path: str,
    process: TestedProcess,
    holds: Callable[[httpx.Response], bool] = lambda _: True,
    within_seconds: float = 60,
) -> httpx.Response:
    """Ask until the answer is 200 and what is wanted."""
    deadline = time.monotonic() + within_seconds
    while True:
        try:
            if (answer := client.get(path)).status_code == 200 and holds(answer):
                return answer
            told = answer.text
        except httpx.TransportError as error:
            told = str(error)
        assert process.process.poll() is None, process.output()[-3000:]
        assert time.monotonic() < deadline, told
        time.sleep(0.1)


def event(kind: str, number: int, data: dict[str, object]) -> tuple[bytes, bytes]:
    now_ms = time.time_ns() // 1_000_000
    return ACCOUNT.encode(), encode_input(
        kind, data, event_id=str(number), source="test", account=ACCOUNT, time_ms=now_ms
    )


def test_an_event_becomes_an_answer_and_is_heard(
    settings: Settings, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """With its name and score; a second event is heard on the stream; each process ends when it is asked to."""
    names, broker = TopicNames.from_settings(settings), str(settings.broker)
    asyncio.run(ensure_topics(broker, names))
    redis = EmbeddedRedis(tmp_path_factory.mktemp("r"))
    redis.start()
    variables = {
        "VITALS_BROKER": broker,
        "VITALS_APP_ID": settings.app_id,
        "VITALS_TOPIC_PREFIX": settings.topic_prefix,
        "VITALS_REDIS": redis.url,
    }
    port = free_ports(1)[0]
    worker = start_worker(settings, tmp_path / "worker.log")
    projector = TestedProcess(tmp_path / "projector.log", "service.cli.main", "projector", **variables)
    api = TestedProcess(tmp_path / "api.log", "service.cli.main", "api", "--port", str(port), **variables)
    try:
        with worker, projector, api, httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
            produce(
                broker, names.input("account"), [event("account_updated", 1, {"name": "Acme Ltd", "owner": "dana"})]
            )
            produce(broker, names.input("usage"), [event("login", 2, {"user": "ann"})])
            view = wait_for(client, PATH, api).json()
            assert view["score"]["account"] == ACCOUNT
            wait_for(client, "/v1/accounts?owner=dana", api)
            projector.wait_for("whole and live")
            with client.stream("GET", "/v1/stream", params={"account": ACCOUNT}) as stream:
                lines = stream.iter_lines()
                assert next(lines).startswith("retry")
                failed = {"invoice": "i-1", "amount_minor": 100, "currency": "EUR"}
                produce(broker, names.input("payment"), [event("payment_failed", 3, failed)])
                heard = next(line for line in islice(lines, 20) if line.startswith("data: ") and "account" in line)
            told = orjson.loads(heard.removeprefix("data: "))
            assert told["seq"] > view["score"]["seq"]
            assert told["score"] < view["score"]["score"]
            listed = client.get("/v1/accounts", params={"search": "acme"}).json()
            assert [row["name"] for row in listed["accounts"]] == ["Acme Ltd"]
            assert listed["stale"] is False
            assert client.get("/v1/portfolio").json()["portfolio"]["accounts"] == 1
            view = wait_for(client, PATH, api, lambda found: unpaid(found) == ["i-1"])
            assert view.json()["details"]["signals"]["failed_payments"] == 1
            asyncio.run(wipe(redis.url))
            again = wait_for(client, PATH, api, lambda found: unpaid(found) == ["i-1"])
            assert again.json()["details"] == view.json()["details"]
            deadline = time.monotonic() + 20
            while not client.get("/v1/model").json()["in_force"]:
                assert time.monotonic() < deadline
                time.sleep(0.1)
            assert (api.terminate(), projector.terminate(), worker.terminate()) == (0, 0, 0)
    finally:
        redis.stop()
