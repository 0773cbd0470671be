"""A whole deployment for tests of the page: broker, projector, Redis and API, and a link to cut before the browser."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from service.adapters.embedded_kafka import EmbeddedKafka, free_ports
from service.adapters.embedded_redis import EmbeddedRedis
from service.adapters.topic_admin import ensure_topics
from service.api.keys import add_key
from service.settings import load_settings
from service.topic_catalogue import TopicNames
from tests.chaos.proxy import Proxies, Weather
from tests.e2e.browser import Browser, open_browser, why_no_browser
from tests.integration.kafka_tools import TestedProcess, produce


@dataclass
class Deployment:
    """What a browser talks to; `url` leads over the link."""

    url: str
    key: str
    bootstrap: str
    names: TopicNames
    link: Proxies

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


@pytest.fixture(scope="module")
def deployment(broker: EmbeddedKafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Run projector and API of a deployment of this module's own."""
    folder = tmp_path_factory.mktemp("page")
    prefix = f"t{uuid.uuid4().hex[:10]}-"
    settings = load_settings(broker=broker.bootstrap, app_id=f"{prefix}app", topic_prefix=prefix, home=folder / "home")
    names = TopicNames.from_settings(settings)
    asyncio.run(ensure_topics(broker.bootstrap, names))
    redis = EmbeddedRedis(tmp_path_factory.mktemp("r"))
    redis.start()
    key = add_key(folder / "keys.json", "dana", "act", None)
    variables = {
        "VITALS_BROKER": broker.bootstrap,
        "VITALS_APP_ID": settings.app_id,
        "VITALS_TOPIC_PREFIX": prefix,
        "VITALS_REDIS": redis.url,
        "VITALS_API_KEYS": str(folder / "keys.json"),
    }
    port, outside = free_ports(2)
    link = Proxies([(outside, port)])
    link.start()
    projector = TestedProcess(folder / "projector.log", "service.cli.main", "projector", **variables)
    api = TestedProcess(folder / "api.log", "service.cli.main", "api", "--port", str(port), **variables)
    try:
        with projector, api:
            projector.wait_for("whole and live")
            yield Deployment(f"http://127.0.0.1:{outside}", key, broker.bootstrap, names, link)
            assert (api.terminate(), projector.terminate()) == (0, 0)
    finally:
        link.stop()
        redis.stop()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Open a window, or skip and say why."""
    missing = why_no_browser()
    if missing:
        pytest.skip(missing)
    with open_browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened
