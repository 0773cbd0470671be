"""Erasure on real parts: from the request to a broker whose files, and a Redis whose keys, do not hold the account."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from agents.runtime.table import MARKER_KEY
from schemas.codec import encode_input
from service.adapters.embedded_kafka import EmbeddedKafka, free_ports
from service.adapters.embedded_redis import EmbeddedRedis
from service.adapters.incremental_configs import IncrementalAlterConfigsRequest
from service.adapters.redis_client import REDIS_FAILURES, open_redis
from service.adapters.topic_admin import open_admin
from service.api.keys import add_key
from service.settings import Settings
from tests.chaos.recoveries import EAGER_CLEANING
from tests.conftest import Vitals
from tests.integration.kafka_tools import TestedProcess, produce, read_topic
from tests.integration.test_worker import Deployment, home_of
from tests.service.copy_kit import everything

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

MODEL = Path(__file__).parents[1] / "chaos" / "live.yaml"  # a ticket decides
ACCOUNT = "zebra-7781"
NAME = "Zebra Holding"
OTHERS = [
    name for name in (f"acct-{number}" for number in range(99)) if home_of(name.encode()) == home_of(b"zebra-7781")
]
DIGEST = sha256(ACCOUNT.encode()).hexdigest()
COMPACTED_SECONDS = 150.0


class Parts:
    """Every process of a deployment, and who looks at what they hold."""

    def __init__(self, deployment: Deployment, kafka: EmbeddedKafka, redis: EmbeddedRedis, api: httpx.Client) -> None:
        self.deployment = deployment
        self.redis = redis
        self.api = api
        self.events = 0
        self._data = kafka.data

    def publish(self, short: str, kind: str, account: str, time_ms: int | None = None, **data: Any) -> None:
        """Publish an event of now, or of another time."""
        self.events += 1
        time_ms = time.time_ns() // 1_000_000 if time_ms is None else time_ms
        value = encode_input(short, data, event_id=f"e{self.events}", source="test", account=account, time_ms=time_ms)
        produce(self.deployment.bootstrap, self.deployment.names.input(kind), [(account.encode(), value)])  # type: ignore[arg-type]

    def last_values(self, topic: str) -> dict[bytes, bytes | None]:
        """Return the last value of each key."""
        return {record.key: record.value for record in read_topic(self.deployment.bootstrap, topic)}

    def erase(self, key: str, client: httpx.Client | None = None, **headers: str) -> httpx.Response:
        """Ask for the account to be erased."""
        body = {"action": "erase", "reason": "request 17"}
        place = f"/v1/accounts/{ACCOUNT}/actions"
        return (client or self.api).post(place, json=body, headers={"Idempotency-Key": key, **headers})

    def in_redis(self) -> bytes:
        """Return every key and value of Redis, packed ones unpacked too."""
        return asyncio.run(_everything(self.redis.url))

    def on_disk(self) -> list[str]:
        """Name the files of the account's partition of changelog and scores that hold its id or name."""
        names, number = self.deployment.names, home_of(ACCOUNT.encode())
        folders = [f"{topic}-{number}" for topic in (names.changelog, names.scores)]
        files = [path for folder in folders for path in self._data.rglob(f"{folder}/*") if path.is_file()]
        assert any(path.suffix == ".log" for path in files)
        found = []
        for path in files:
            with suppress(FileNotFoundError):  # just compacted
                content = path.read_bytes()
                found += [str(path)] * (ACCOUNT.encode() in content or NAME.encode() in content)
        return found


async def _everything(url: str) -> bytes:
    async with open_redis(url) as client:
        return await everything(client, "*")


def wait_until(holds: Callable[[], object], within_seconds: float = 60.0, what: str = "") -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + within_seconds
    while True:
        with suppress(httpx.TransportError, *REDIS_FAILURES):
            if holds():
                return
        assert time.monotonic() < deadline, what
        time.sleep(0.3)


@pytest.fixture
def parts(
    settings: Settings, vitals: Vitals, broker: EmbeddedKafka, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Parts]:
    """Run projector and API of a deployment; the test runs the workers."""
    deployment, port = Deployment(settings, vitals, tmp_path), free_ports(1)[0]
    redis = EmbeddedRedis(tmp_path_factory.mktemp("r"))
    redis.start()
    variables = {
        "VITALS_BROKER": deployment.bootstrap,
        "VITALS_APP_ID": settings.app_id,
        "VITALS_TOPIC_PREFIX": settings.topic_prefix,
        "VITALS_REDIS": redis.url,
        "VITALS_API_KEYS": str(tmp_path / "keys.json"),
    }
    token = add_key(tmp_path / "keys.json", "dana", "admin", None)
    run = "service.cli.main"
    with ExitStack() as stack:
        stack.callback(redis.stop)
        stack.enter_context(TestedProcess(tmp_path / "projector.log", run, "projector", **variables))
        stack.enter_context(TestedProcess(tmp_path / "api.log", run, "api", "--port", str(port), **variables))
        headers = {"Authorization": f"Bearer {token}"}
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60)
        yield Parts(deployment, broker, redis, stack.enter_context(client))


def begin_account(parts: Parts) -> None:
    """Give the account all that one can have, in every store, and another one beside it."""
    now_ms = time.time_ns() // 1_000_000
    for account, name in ((ACCOUNT, NAME), (OTHERS[0], "Other")):
        parts.publish("account_updated", "account", account, now_ms - 60_000, name=name, owner=f"owner of {account}")
        parts.publish("login", "usage", account, now_ms - 50_000, user="ann")
        parts.publish("ticket_opened", "ticket", account, now_ms - 40_000, ticket="t1", severity="normal")
    wait_until(lambda: parts.api.get(f"/v1/accounts/{ACCOUNT}").json().get("alerts"), what="an alert in the copy")
    wait_until(lambda: parts.api.get(f"/v1/accounts/{ACCOUNT}").json().get("details"), what="details in the copy")
    note = {"action": "note", "note": f"met the head of {NAME}"}
    place = f"/v1/accounts/{ACCOUNT}/actions"
    noted = parts.api.post(place, json=note, headers={"Idempotency-Key": "note-0001", "Prefer": "wait=30"})
    assert noted.status_code == 200, noted.text
    wait_until(lambda: NAME.encode() in parts.in_redis())
    assert parts.on_disk()


def test_an_erased_account_is_gone_from_every_store(parts: Parts) -> None:
    """Though the worker is killed right after the request; what is late is dropped, and compaction leaves no byte."""
    deployment, names = parts.deployment, parts.deployment.names
    with deployment.start("--model", str(MODEL)) as worker:
        begin_account(parts)
        accepted = parts.erase("erase-0001")
        assert accepted.status_code in {200, 202}, accepted.text
        worker.kill()
    with deployment.start("--model", str(MODEL)) as worker:
        place = accepted.headers["location"]
        wait_until(lambda: parts.api.get(place).json()["state"] == "applied", what=worker.output()[-2000:])
        outcome = parts.api.get(place).json()["outcome"]
        assert outcome["account_sha256"] == DIGEST
        assert (outcome["actor"], outcome["reason"], outcome["found"]) == ("dana", "request 17", True)
        assert (outcome["stores"], outcome["followers"]) == (["state", "changelog", "scores"], ["alerts", "copy"])
        assert parts.last_values(names.changelog)[ACCOUNT.encode()] is None
        assert parts.last_values(names.scores)[ACCOUNT.encode()] is None
        assert parts.last_values(names.alerts)[ACCOUNT.encode()] is None
        told = json.loads(parts.last_values(names.audit)[DIGEST.encode()] or b"")
        assert (told["type"], told["subject"]) == ("io.vitals.erasure_completed.v1", DIGEST)
        expect_gone_from_redis(parts)
        assert parts.erase("erase-0001").json()["outcome"] == outcome, "the same request again is the same erasure"

        late_ms = time.time_ns() // 1_000_000 - 30_000
        parts.publish("account_updated", "account", ACCOUNT, late_ms, name=NAME)
        parts.publish("login", "usage", ACCOUNT, late_ms, user="ann")
        deployment.wait(worker)
        wait_until(lambda: "erased 2" in worker.output(), what=worker.output()[-2000:])
        assert parts.last_values(names.changelog)[ACCOUNT.encode()] is None

        asyncio.run(wipe(parts.redis.url))
        wait_until(lambda: parts.api.get(f"/v1/accounts/{OTHERS[0]}").status_code == 200)
        wait_until(lambda: copy_is_whole(parts), what="the copy made anew")
        expect_gone_from_redis(parts)

        asyncio.run(clean_eagerly(deployment.bootstrap, [names.changelog, names.scores]))
        deadline = time.monotonic() + COMPACTED_SECONDS
        while found := parts.on_disk():
            assert time.monotonic() < deadline, found
            parts.publish("login", "usage", OTHERS[0], user=f"u{parts.events}")  # the last segment is never compacted
            parts.publish("set_sentiment", "action", OTHERS[0], actor="dana", sentiment=parts.events % 100 / 100)
            time.sleep(1)
        assert worker.terminate() == 0
    kept = {key for key in parts.last_values(names.changelog) if home_key(key)}
    assert kept == {b"\x00erased:" + DIGEST.encode()}
    expect_new_account(parts)


def home_key(key: bytes) -> bool:
    """Tell whether a key is one of a partition's own, other than the marker."""
    return key[:1] == b"\x00" and key != MARKER_KEY


def expect_gone_from_redis(parts: Parts) -> None:
    """Neither id nor name is in any key or value, and the API knows nothing of the account."""
    wait_until(lambda: ACCOUNT.encode() not in parts.in_redis(), what="the id is in Redis")
    found = parts.in_redis().lower()
    assert NAME.lower().encode() not in found
    assert ACCOUNT.encode() not in found
    assert OTHERS[0].encode() in found
    assert parts.api.get(f"/v1/accounts/{ACCOUNT}").status_code == 404


def expect_new_account(parts: Parts) -> None:
    """Begin the account anew by what happens after the erasure, after a restart too: its alerts count from 1."""
    with parts.deployment.start("--model", str(MODEL)) as worker:
        parts.publish("ticket_opened", "ticket", ACCOUNT, ticket="t9", severity="normal")
        wait_until(lambda: parts.api.get(f"/v1/accounts/{ACCOUNT}").status_code == 200, what=worker.output()[-2000:])
        view = parts.api.get(f"/v1/accounts/{ACCOUNT}").json()
        assert view["score"]["name"] is None
        wait_until(lambda: parts.api.get(f"/v1/accounts/{ACCOUNT}").json()["alerts"])
        assert [alert["seq"] for alert in parts.api.get(f"/v1/accounts/{ACCOUNT}").json()["alerts"]] == [1]
        assert worker.terminate() == 0


def copy_is_whole(parts: Parts) -> bool:
    """Tell whether every partition was read to its end."""

    async def ask() -> bool:
        async with open_redis(parts.redis.url) as client:
            return bool(await client.hget("vitals:copy", "live") == b"1")

    return asyncio.run(ask())


async def wipe(url: str) -> None:
    """Lose the copy."""
    async with open_redis(url) as client:
        await client.flushall()


async def clean_eagerly(bootstrap: str, topics: list[str]) -> None:
    """Have topics compacted at once, and their tombstones removed too."""
    async with open_admin(bootstrap) as admin:
        request = IncrementalAlterConfigsRequest(dict.fromkeys(topics, EAGER_CLEANING))
        response = await admin._client.send(admin._client.get_random_node(), request)
        assert all(code == 0 for code, *_ in response.resources), response.resources


def test_the_command_line_erases_and_tells(settings: Settings, vitals: Vitals, tmp_path: Path) -> None:
    """What was told before is not explained any more; an account that nobody knows is said to be none."""
    deployment = Deployment(settings, vitals, tmp_path)
    with deployment.start("--model", str(MODEL)) as worker:
        ticket = {"ticket": "t1", "severity": "normal"}
        for erased in (False, True):
            now_ms = time.time_ns() // 1_000_000
            value = encode_input(
                "ticket_opened", ticket, event_id=f"{erased}", source="t", account="acme", time_ms=now_ms
            )
            produce(deployment.bootstrap, deployment.names.input("ticket"), [(b"acme", value)])
            deployment.wait(worker)
            noted = deployment.run("act", "note", "acme", "--note", f"{erased}", "--actor", "eve", "--wait")
            assert noted.returncode == 0, noted.stderr
            if not erased:
                act = ("act", "erase", "acme", "--reason", "request 17", "--actor", "dana", "--wait")
                done = deployment.run(*act)
                assert done.returncode == 0, done.stderr
                assert done.stdout.startswith("acme: erased from state, changelog, scores; as of ")
                gone = deployment.run("explain", "acme", "--live")
                assert gone.returncode != 0
                assert "Traceback" not in gone.stderr
        wait_until(lambda: deployment.run("explain", "acme", "--live").returncode == 0)
        explained = json.loads(deployment.run("explain", "acme", "--live", "--json").stdout)
        assert [action["note"] for action in explained["actions"]] == ["True"]
        assert [alert["seq"] for alert in explained["alerts"]] == [1]
        nobody = deployment.run("act", "erase", "nobody", "--reason", "x", "--actor", "dana", "--wait", "--json")
        assert json.loads(nobody.stdout)["outcome"]["found"] is False
        watched = deployment.run("watch", "actions", "--from-start", "--limit", "3").stdout
        assert "dana: request 17" in watched
        assert "erased" in deployment.run("watch", "alerts", "--from-start", "--limit", "2").stdout
        assert worker.terminate() == 0
