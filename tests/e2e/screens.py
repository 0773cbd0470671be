"""`make screens`: a picture of each page, light and dark and on a phone, into docs/screens."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from service.adapters.embedded_kafka import EmbeddedKafka
from service.adapters.embedded_redis import EmbeddedRedis
from service.adapters.topic_admin import ensure_topics
from service.api.deployment import LOOK_SECONDS
from service.api.keys import KeyRing, add_key
from service.settings import Settings, load_settings
from service.topic_catalogue import TopicNames
from tests.e2e.browser import Browser, open_browser, why_no_browser
from tests.e2e.sample import fill, newest_lines
from tests.integration.kafka_tools import produce, start_worker, wait_caught_up
from tests.service.api_kit import Served, serving

FOLDER: Final = Path(__file__).resolve().parents[2] / "docs" / "screens"
MOST_HEIGHT: Final = 1_500


def main() -> int:
    """Take all pictures; exit code 1 without a browser."""
    missing = why_no_browser()
    if missing:
        print(missing, file=sys.stderr)  # noqa: T201 - a command's own line
        return 1
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        keys = folder / "keys.json"
        key = add_key(keys, "dana", "read", None)
        with (
            working(folder) as settings,
            started(EmbeddedRedis(folder)) as redis,
            serving(redis.url, "screens:", keys=KeyRing(keys), settings=settings) as served,
        ):
            served.change(fill)
            with open_browser(folder / "profile") as browser:
                take_all(browser, served, key)
    return 0


Server = TypeVar("Server", EmbeddedRedis, EmbeddedKafka)


@contextmanager
def started(server: Server) -> Iterator[Server]:
    """Run a server of its own."""
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def working(folder: Path) -> Iterator[Settings]:
    """Run a broker and a worker that has scored the events of a day, one of them no event at all."""
    with started(EmbeddedKafka(folder, brokers=1, port=0)) as kafka:
        settings = load_settings(broker=kafka.bootstrap)
        names = TopicNames.from_settings(settings)
        asyncio.run(ensure_topics(kafka.bootstrap, names))
        for kind, lines in newest_lines().items():
            produce(kafka.bootstrap, names.input(kind), [(line.account.encode(), line.value) for line in lines])
        produce(kafka.bootstrap, names.input("payment"), [(b"acme", b"no event")])
        with start_worker(settings, folder / "worker.log") as worker:
            wait_caught_up(kafka.bootstrap, settings.app_id, list(names.inputs), worker)
            yield settings
            worker.terminate()


def take_all(browser: Browser, served: Served, key: str) -> None:
    """Walk from the login to the account that stands first."""
    take(browser, served.url + "/login", "login")
    browser.run("document.getElementById('key').value = arguments[0]; document.forms[0].requestSubmit()", key)
    browser.wait("return document.getElementById('connection')?.dataset.state === 'live'")
    first = browser.run("return document.querySelector('#rows th a').href")
    take(browser, served.url + "/", "portfolio")
    take(browser, served.url + "/alerts", "alerts")
    take(browser, str(first), "account")
    browser.driver.get(served.url + "/system")
    time.sleep(LOOK_SECONDS + 1)  # the second look has rates
    take(browser, served.url + "/system", "system")


def take(browser: Browser, url: str, name: str) -> None:
    """Take the pictures of one page."""
    for look, width, dark in (("light", 1280, False), ("dark", 1280, True), ("phone", 375, False)):
        browser.look(width=width, dark=dark)
        browser.driver.get(url)
        browser.wait("return (document.getElementById('connection')?.dataset.state ?? 'live') === 'live'")
        browser.picture(FOLDER / f"{name}-{look}.png", MOST_HEIGHT)


if __name__ == "__main__":
    sys.exit(main())
