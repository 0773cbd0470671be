"""The whole service at work, to be broken: a broker behind a link of its worker's, Redis, worker, projector, API.

Publishers and readers of the API go on by themselves, in threads, and reach broker and API whatever the link does.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Final

from schemas.codec import encode_input
from schemas.times import time_text
from service.adapters.embedded_kafka import free_ports
from service.adapters.embedded_redis import EmbeddedRedis
from service.adapters.topic_admin import ensure_topics
from service.settings import Settings, load_settings
from service.topic_catalogue import TopicKind, TopicNames
from tests.chaos.cluster import CLEAR, Cluster
from tests.chaos.proxy import Weather
from tests.deploy.again import Again
from tests.deploy.exposition_kit import DAY_MS, scrape, start_scraped, wait_for
from tests.integration.kafka_tools import TestedProcess, produce

ACCOUNTS: Final = 60
HABIT_DAYS: Final = 40
LOGINS: Final = 30  # twice a second; one more that is none is more than a hundredth, and too little to stop the worker
BIG_BYTES: Final = 60_000
BIG_EVENTS: Final = 300
NEW_ACCOUNTS: Final = 600
BANDS: Final = {"healthy": ACCOUNTS, "at_risk": 1}
# Longer than any of our faults, so that none of them costs the worker its partitions.
SESSION_TIMEOUT_SECONDS: Final = "90"


class LiveService:
    """Started by the block; `ports` are those of the metrics by role."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cluster = Cluster(folder, brokers=1)
        self.redis = EmbeddedRedis(folder)
        self.ports: dict[str, int] = {}
        self.worker: TestedProcess
        self.silent = self.poisoned = False
        self._numbers = itertools.count()
        self._names = TopicNames.from_settings(self._settings("none:1"))
        self._api_port = free_ports(1)[0]

    # -- its processes ---------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run everything until the block ends; all accounts are in the copy when it begins, one at risk."""
        with contextlib.ExitStack() as stack:
            stack.callback(self._cluster.stop)
            self._cluster.start()
            stack.callback(self.redis.stop)
            self.redis.start()
            asyncio.run(ensure_topics(self._cluster.direct, self._names))
            self._publish_habits()
            started = {"worker": self._start_worker(), "projector": self._start("projector")}
            started["api"] = self._start("api", "--port", str(self._api_port))
            for process, _ in started.values():
                stack.callback(_kill, process)
            self.worker = started["worker"][0]
            stack.callback(lambda: _kill(self.worker))
            self.ports = {role: port for role, (_, port) in started.items()}
            for role in ("projector", "api"):
                known = (f'vitals_accounts{{band="{band}"}} {count}.0' for band, count in BANDS.items())
                wait_for(*started[role], *known)
            yield

    def _start_worker(self, **variables: str) -> tuple[TestedProcess, int]:
        timeout = {"VITALS_SESSION_TIMEOUT_SECONDS": SESSION_TIMEOUT_SECONDS}
        return self._start("worker", VITALS_BROKER=self._cluster.bootstrap(0), **timeout, **variables)

    def _start(self, *arguments: str, **variables: str) -> tuple[TestedProcess, int]:
        settings = self._settings(self._cluster.direct)
        return start_scraped(settings, self.redis.url, self._folder, *arguments, **variables)

    def _settings(self, broker: str) -> Settings:
        return load_settings(broker=broker, app_id="live", topic_prefix="live-", home=self._folder)

    def restart_worker(self) -> None:
        """Stop the worker as a process manager does, and start one in its place."""
        assert self.worker.terminate(within_seconds=30) == 0
        self.worker, _ = self._start_worker(VITALS_METRICS=f"127.0.0.1:{self.ports['worker']}")

    def wait_worker(self, told: Callable[[dict[str, float]], bool], within_seconds: float = 30) -> None:
        """Wait until the worker tells something in its metrics."""
        deadline = time.monotonic() + within_seconds
        while not told(found := self._told()):
            assert self.worker.process.poll() is None, self.worker.output()[-3000:]
            assert time.monotonic() < deadline, f"{found}\n{self.worker.output()[-3000:]}"
            time.sleep(0.05)

    def _told(self) -> dict[str, float]:
        lines = (line.rpartition(" ") for line in scrape(self.ports["worker"]).splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in lines}

    # -- its link --------------------------------------------------------------------------------------------------

    def slow_link(self, bytes_per_second: float) -> None:
        """Let little through between worker and broker."""
        self._cluster.set_weather(Weather(bytes_per_second=bytes_per_second), worker=0)

    def cut_link(self) -> None:
        """Let nothing through; connections stay open."""
        self._cluster.set_weather(Weather(cut=True), worker=0)

    def mend_link(self) -> None:
        """Let everything through again."""
        self._cluster.set_weather(CLEAR)

    # -- what comes in ---------------------------------------------------------------------------------------------

    def publishing(self) -> Again:
        """Publish logins all the time, some of which are none while `poisoned`; nothing while `silent`."""
        return Again(self._publish_logins, 0.5)

    def asking(self) -> Again:
        """Ask the API for accounts all the time, whatever it answers."""
        return Again(self._ask, 0.25)

    def _publish_habits(self) -> None:
        """Publish what makes every account known: facts, and a login a day until today."""
        now_ms = _now_ms()
        begin_ms = now_ms - HABIT_DAYS * DAY_MS
        names = [f"a{number}" for number in range(ACCOUNTS)]
        by_hand: dict[str, object] = {"override_band": "at_risk", "override_reason": "test"}
        by_hand["override_until"] = time_text(now_ms + DAY_MS)
        watched = self._event("account_updated", by_hand, "watched")
        self._produce("account", [*(self._facts(name, begin_ms) for name in (*names, "watched")), watched])
        days = range(HABIT_DAYS, -1, -1)
        self._produce("usage", [self._login(name, now_ms - day * DAY_MS) for name in names for day in days])

    def _publish_logins(self) -> None:
        if self.silent:
            return
        logins = [self._login(f"a{next(self._numbers) % ACCOUNTS}") for _ in range(LOGINS)]
        self._produce("usage", [*logins, (b"a0", b"not json")] if self.poisoned else logins)

    def _ask(self) -> None:
        with contextlib.suppress(urllib.error.HTTPError):
            urllib.request.urlopen(f"http://127.0.0.1:{self._api_port}/v1/accounts/a1", timeout=10).close()

    def publish_big(self) -> None:
        """Publish events that are long, all of one account."""
        padding = base64.b64encode(Random(1).randbytes(BIG_BYTES * 3 // 4)).decode()
        login: dict[str, object] = {"user": "u", "padding": padding}
        self._produce("usage", [self._event("login", login, "a2") for _ in range(BIG_EVENTS)])

    def publish_new(self) -> None:
        """Publish accounts that are new, each of which gets a score."""
        self._produce("account", [self._facts(f"n{next(self._numbers)}") for _ in range(NEW_ACCOUNTS)])

    def publish_complaints(self, accounts: range) -> None:
        """Have accounts answer two surveys as badly as they can, which the default model alerts for."""
        answer = {"kind": "nps", "score": 0}
        surveys = [
            self._event("survey_answered", {**answer, "response": f"r{number}"}, f"a{account}")
            for account in accounts
            for number in range(2)
        ]
        self._produce("survey", surveys)

    def _produce(self, kind: TopicKind, records: list[tuple[bytes, bytes]]) -> None:
        produce(self._cluster.direct, self._names.input(kind), records)

    def _login(self, account: str, time_ms: int | None = None) -> tuple[bytes, bytes]:
        return self._event("login", {"user": "u"}, account, time_ms)

    def _facts(self, account: str, time_ms: int | None = None) -> tuple[bytes, bytes]:
        facts = {"name": account, "mrr_minor": 90_000, "currency": "EUR"}
        return self._event("account_updated", facts, account, time_ms)

    def _event(
        self, kind: str, data: dict[str, object], account: str, time_ms: int | None = None
    ) -> tuple[bytes, bytes]:
        number = f"{kind}-{next(self._numbers)}"
        at_ms = _now_ms() if time_ms is None else time_ms
        value = encode_input(kind, data, event_id=number, source="test", account=account, time_ms=at_ms)
        return account.encode(), value


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _kill(process: TestedProcess) -> None:
    if process.process.poll() is None:
        process.kill()
