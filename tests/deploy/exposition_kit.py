"""One scrape of every kind of process at real work, for all tests that need to know what is exposed."""

from __future__ import annotations

import asyncio
import contextlib
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.metrics_core import Metric as Family
from prometheus_client.parser import text_string_to_metric_families

from schemas.codec import encode_input
from service.adapters.embedded_kafka import free_ports
from service.adapters.topic_admin import ensure_topics
from service.cli.health import ask
from service.settings import Settings, load_settings
from service.topic_catalogue import TOPIC_KINDS, TopicKind, TopicNames
from tests.integration.kafka_tools import TestedProcess, produce

DAY_MS = 86_400_000
ACCOUNTS = ["acme", "globex & sons", "org/initech"]


@dataclass(frozen=True, slots=True)
class Scraped:
    """What each role answered, as text."""

    texts: dict[str, str]
    unready: dict[str, list[str]]
    """Why each role says that it is not ready."""

    def families(self, role: str) -> dict[str, Family]:
        """Read a role's text as a client does; by name with `_total`."""
        found = text_string_to_metric_families(self.texts[role])
        return {family.name + ("_total" if family.type == "counter" else ""): family for family in found}

    def value(self, role: str, name: str, **labels: str) -> float:
        """Sum the samples of a name that have these labels."""
        samples = (sample for family in self.families(role).values() for sample in family.samples)
        return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())


def scrape(port: int) -> str:
    """Read what a process exposes; empty while it does not answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            return str(answer.read(), "utf-8")
    except (urllib.error.URLError, OSError):
        return ""


def wait_for(process: TestedProcess, port: int, *lines: str, within_seconds: float = 120) -> str:
    """Scrape until the text has all of some lines; return it."""
    deadline = time.monotonic() + within_seconds
    while not all(f"\n{line}\n" in (text := scrape(port)) for line in lines):
        assert process.process.poll() is None, process.output()[-3000:]
        assert time.monotonic() < deadline, f"no {lines} in\n{text}\n{process.output()[-2000:]}"
        time.sleep(0.3)
    return text


def events() -> Iterator[tuple[TopicKind, bytes, bytes]]:
    """Yield topic kind, key and value: three accounts that went quiet, one event twice, one that is none."""
    now_ms = time.time_ns() // 1_000_000
    for account in ACCOUNTS:
        facts = {"name": account, "mrr_minor": 90_000, "currency": "EUR"}
        yield "account", account.encode(), _event("account_updated", facts, account, 0, now_ms - 90 * DAY_MS)
        for day in range(80, 30, -1):
            yield "usage", account.encode(), _event("login", {"user": "u"}, account, day, now_ms - day * DAY_MS)
    yield "usage", b"acme", _event("login", {"user": "u"}, "acme", 31, now_ms - 31 * DAY_MS)
    yield "usage", b"acme", b"not json"


def _event(kind: str, data: dict[str, object], account: str, number: int, time_ms: int) -> bytes:
    return encode_input(kind, data, event_id=f"{kind}-{number}", source="test", account=account, time_ms=time_ms)


def _publish(settings: Settings) -> None:
    names, broker = TopicNames.from_settings(settings), str(settings.broker)
    asyncio.run(ensure_topics(broker, names))
    found = list(events())
    for kind in TOPIC_KINDS:
        produce(broker, names.input(kind), [(key, value) for of, key, value in found if of == kind])


def start_scraped(
    settings: Settings, redis_url: str, folder: Path, *arguments: str, **variables: str
) -> tuple[TestedProcess, int]:
    """Start a role that tells its metrics; return it and the port of them."""
    port = free_ports(1)[0]
    known = {
        "VITALS_BROKER": str(settings.broker),
        "VITALS_APP_ID": settings.app_id,
        "VITALS_TOPIC_PREFIX": settings.topic_prefix,
        "VITALS_REDIS": redis_url,
        "VITALS_REDIS_PREFIX": f"{settings.topic_prefix}:",
        "VITALS_METRICS": f"127.0.0.1:{port}",
    }
    process = TestedProcess(folder / f"{arguments[0]}.log", "service.cli.main", *arguments, **{**known, **variables})
    return process, port


def _ask(port: int, paths: Iterable[str]) -> None:
    for path in paths:
        with contextlib.suppress(urllib.error.HTTPError):  # a status like any other
            urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10).close()


def scrape_all(broker: str, redis_url: str, folder: Path) -> Scraped:
    """Run worker, projector and API on a few events, and scrape each when it is through."""
    prefix = f"t{uuid.uuid4().hex[:10]}-"
    settings = load_settings(broker=broker, app_id=f"{prefix}app", topic_prefix=prefix, home=folder)
    _publish(settings)
    texts: dict[str, str] = {}
    api_port = free_ports(1)[0]
    with contextlib.ExitStack() as running:

        def start(*arguments: str) -> tuple[TestedProcess, int]:
            process, port = start_scraped(settings, redis_url, folder, *arguments)
            running.callback(process.kill)
            return process, port

        worker = start("worker")
        through = (
            'vitals_events_total{outcome="duplicate",topic="usage"} 1.0',
            'vitals_lag_records{topic="usage"} 0.0',
        )
        wait_for(*worker, *through, 'vitals_dead_letters_total{reason="not_json"} 1.0', "vitals_scores_waiting 0.0")
        projector = start("projector")
        texts["projector"] = wait_for(*projector, 'vitals_accounts{band="endangered"} 3.0')
        api = start("api", "--port", str(api_port))
        wait_for(*api, 'vitals_accounts{band="endangered"} 3.0')
        _ask(
            api_port,
            ["/livez", "/v1/accounts/acme", "/v1/accounts/globex%20%26%20sons", "/v1/accounts/nobody", "/acme"],
        )
        texts["api"] = scrape(api[1])
        texts["worker"] = scrape(worker[1])
        ports = {"worker": worker[1], "projector": projector[1], "api": api[1]}
        unready = {role: ask(f"127.0.0.1:{port}", "/readyz")[1] for role, port in ports.items()}
        assert all(process.terminate(within_seconds=60) == 0 for process, _ in (api, projector, worker))
    return Scraped(texts, unready)
