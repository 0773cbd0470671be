"""`vitals up` from start to end: broker, worker, Redis, projector and API for its user's own data, which stays.

All of it is in one home, where every other command finds the broker. When one part ends, all end: a process manager
starts the whole again.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from service.adapters.embedded_kafka import EmbeddedKafka, is_free
from service.adapters.embedded_redis import EmbeddedRedis
from service.adapters.kafka_artifacts import kafka_version
from service.adapters.topic_admin import ensure_topics
from service.api.keys import KeyRing, add_key
from service.errors import ConfigError, DependencyError
from service.local.page import Page
from service.local.processes import Role, running_broker
from service.local.signals import StopSignals
from service.settings import Settings
from service.topic_catalogue import TopicNames

LOOK_SECONDS = 1.0
KEY_NAME = "this machine"  # who acts, in the audit; as without keys
OWN_PARTS = ("broker", "redis", "metrics")


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where everything is, once it answers; `key` is None when the keys are the user's own."""

    page: str
    key: str | None
    bootstrap: str
    home: Path


def run_up(
    settings: Settings,
    *,
    port: int,
    broker_port: int | None,
    say: Callable[[str], None],
    ready: Callable[[Addresses], None],
) -> None:
    """Run all of it until a signal comes; `ready` is told the addresses once the page can be opened.

    Raises RoleEndedError when a role dies, DependencyError when a server does or the home is in use, ConfigError for
    settings and data that it cannot run with, KeyboardInterrupt when a signal comes before the broker answers.
    """
    refuse_other_parts(settings)
    home = settings.home.absolute()
    began = time.monotonic()
    with StopSignals() as signals:
        say(f"starting Apache Kafka {kafka_version()} in {home}")
        with running_broker(home, "up", port=broker_port, keeps_data=True) as kafka:
            say(f"Kafka answers at {kafka.bootstrap} after {time.monotonic() - began:.1f} s")
            try:
                asyncio.run(_Up(settings, home, kafka, port, say).run(signals, ready))
            finally:
                signals.ignore()
                say("stopping Redis and Kafka; the data stays")
        say("all processes are stopped")


def refuse_other_parts(settings: Settings) -> None:
    """Raise ConfigError when the settings name parts that it has of its own, or that its processes cannot share."""
    if found := [f"VITALS_{name.upper()}" for name in OWN_PARTS if getattr(settings, name) is not None]:
        raise ConfigError(
            f"{', '.join(found)} cannot be set: this has its own broker and Redis, and three processes cannot serve "
            "metrics at one address; unset it, or run `vitals worker`, `vitals projector` and `vitals api`"
        )


def page_key(home: Path) -> tuple[str, Path]:
    """Return the key of the page and the file of its hash, the same at every start; only their owner can read them."""
    path, hashes = home / "page.key", home / "keys.json"
    try:
        key = path.read_text(encoding="ascii").strip()
        if KeyRing(hashes).find(key) is not None:
            return key, hashes
    except (FileNotFoundError, ConfigError):
        pass  # neither was made yet, or one was deleted
    key = add_key(hashes, KEY_NAME, "act", None)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
        file.write(key + "\n")
    return key, hashes


class _Up:
    """The part that lives while the broker runs."""

    def __init__(
        self, settings: Settings, home: Path, kafka: EmbeddedKafka, port: int, say: Callable[[str], None]
    ) -> None:
        if not is_free(port):
            raise DependencyError(
                f"port 127.0.0.1:{port} is taken by another process: stop it, or choose another with --port"
            )
        self._names = TopicNames.from_settings(settings)
        self._kafka = kafka
        self._redis = EmbeddedRedis(home)
        self._say = say
        key, hashes = page_key(home) if settings.api_keys is None else (None, None)
        variables = _variables(kafka.bootstrap)
        self._worker = Role("worker", home, variables)
        self._page = Page(home, port, variables, api_keys=hashes)
        self._addresses = Addresses(self._page.url, key, kafka.bootstrap, home)

    async def run(self, signals: StopSignals, ready: Callable[[Addresses], None]) -> None:
        loop, asked = asyncio.get_running_loop(), asyncio.Event()
        signals.hand_to(lambda: loop.call_soon_threadsafe(asked.set))
        tasks: list[asyncio.Task[object]] = []
        try:
            self._say("starting worker, projector and API")
            await self._worker.start()
            await ensure_topics(self._kafka.bootstrap, self._names)  # while the worker still loads its code
            await self._page.start()
            tasks = [
                asyncio.create_task(asked.wait()),
                asyncio.create_task(self._worker.fail_at_end()),
                asyncio.create_task(self._page.run(lambda: ready(self._addresses))),
                asyncio.create_task(self._fail_without_servers()),
            ]
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            signals.ignore()
            self._say("stopping worker, projector and API")
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.gather(self._worker.stop(self._say), self._page.stop(self._say))

    async def _fail_without_servers(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for name, runs, log in (
                ("Kafka", self._kafka.status().state == "running", self._kafka.status().brokers[0].log),
                ("Redis", self._redis.is_running(), self._redis.log),
            ):
                if not runs:
                    raise DependencyError(f"{name} ended; its log: {log}")


def _variables(bootstrap: str) -> Mapping[str, str]:
    """Hand on the settings of the user's environment, with this broker."""
    found = {name: value for name, value in os.environ.items() if name.startswith("VITALS_")}
    return {**found, "VITALS_BROKER": bootstrap}
