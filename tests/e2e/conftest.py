"""A whole deployment for tests of the page: broker, projector, Redis and API, and a link to cut before the browser."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from schemas.catalogue import INPUTS
from schemas.codec import encode_input
from service.adapters.embedded_kafka import EmbeddedKafka, free_ports
from service.adapters.embedded_redis import EmbeddedRedis
from service.adapters.topic_admin import ensure_topics
from service.api.keys import add_key
from service.settings import load_settings
from service.topic_catalogue import TopicNames
from tests.chaos.proxy import Proxies, Weather
from tests.e2e.browser import Browser, eventually, open_browser, why_no_browser
from tests.e2e.running import end_all
from tests.integration.kafka_tools import produce, start_role
from tests.service.copy_kit import score


@dataclass
class Deployment:
    """What a browser talks to; `url` leads over the link."""

    url: str
    key: str
    bootstrap: str
    names: TopicNames
    link: Proxies

    def publish_event(self, account: str, short: str, data: dict[str, Any]) -> None:
        """Publish an event of now, as a service would."""
        now_ms = time.time_ns() // 1_000_000
        value = encode_input(short, data, event_id=str(uuid.uuid4()), source="test", account=account, time_ms=now_ms)
        produce(self.bootstrap, self.names.input(INPUTS[short].kind), [(account.encode(), value)])

    def publish_scores(self, *messages: tuple[bytes, bytes]) -> None:
        """Publish scores as a worker would."""
        produce(self.bootstrap, self.names.scores, messages)

    def publish_alerts(self, *messages: tuple[bytes, bytes]) -> None:
        """Publish alerts as a worker would."""
        produce(self.bootstrap, self.names.alerts, messages)

    def publish_actions(self, *messages: tuple[bytes, bytes]) -> None:
        """Publish what became of actions as a worker would."""
        produce(self.bootstrap, self.names.audit, messages)

    def cut(self) -> None:
        """Break what the browser has open, and let it in no more."""
        self.link.set(Weather(reset=True), 0)

    def mend(self) -> None:
        """Let the browser in again."""
        self.link.set(Weather(), 0)


def stand(account: str, seq: int, mrr: int, **changes: Any) -> tuple[bytes, bytes]:
    """Make the score of an account that is at risk with so much revenue."""
    now_ms = time.time_ns() // 1_000_000
    fields = {"name": account.title(), "mrr_minor": mrr * 100, "band": "at_risk", **changes}
    return score(account, seq, time_ms=now_ms, **fields)


@contextmanager
def deployed(broker: EmbeddedKafka, make_folder: Callable[[str], Path], *, works: bool) -> Iterator[Deployment]:
    """Run projector and API of a deployment of its own; and a worker, if it works."""
    folder = make_folder("page")
    prefix = f"t{uuid.uuid4().hex[:10]}-"
    settings = load_settings(broker=broker.bootstrap, app_id=f"{prefix}app", topic_prefix=prefix, home=folder / "home")
    names = TopicNames.from_settings(settings)
    asyncio.run(ensure_topics(broker.bootstrap, names))
    port, outside = free_ports(2)
    with ExitStack() as stack:
        redis = EmbeddedRedis(make_folder("r"))
        redis.start()
        stack.callback(redis.stop)
        link = Proxies([(outside, port)])
        link.start()
        stack.callback(link.stop)
        key = add_key(folder / "keys.json", "dana", "act", None)
        variables = {"VITALS_REDIS": redis.url, "VITALS_API_KEYS": str(folder / "keys.json")}
        roles = [("projector",), ("api", "--port", str(port)), *([("worker",)] if works else [])]
        started = [
            stack.enter_context(start_role(settings, folder / f"{role}.log", role, *options, **variables))
            for role, *options in roles
        ]
        started[0].wait_for("whole and live")
        eventually(lambda: _answers(port), "the API answers")
        yield Deployment(f"http://127.0.0.1:{outside}", key, broker.bootstrap, names, link)
        assert [role.terminate() for role in reversed(started)] == [0] * len(started)


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/livez").is_success
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def deployment(broker: EmbeddedKafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Run the page of this module's own, without a worker: the tests publish what one would."""
    with deployed(broker, tmp_path_factory.mktemp, works=False) as found:
        yield found


@pytest.fixture(scope="module")
def working(broker: EmbeddedKafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Run the page of this module's own, with a worker."""
    with deployed(broker, tmp_path_factory.mktemp, works=True) as found:
        yield found


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Make a home, short enough for a socket, and leave no process behind when a test fails."""
    tmp_path = tmp_path_factory.mktemp("d")
    yield tmp_path / "home"
    end_all(tmp_path)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Open a window, or skip and say why."""
    missing = why_no_browser()
    if missing:
        pytest.skip(missing)
    with open_browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def no_complaint(browser: Browser) -> Iterator[None]:
    """Fail a test that the browser complains about."""
    browser.complaints()
    yield
    assert browser.complaints() == []
