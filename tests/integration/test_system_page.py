"""The page of the person on call on a real deployment: without a worker, with one, and what it set aside."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path

import pytest

from service.adapters.topic_admin import ensure_topics
from service.api.page.words import NOTHING
from service.settings import Settings
from service.topic_catalogue import TopicNames
from tests.integration.kafka_tools import produce, start_worker, wait_caught_up
from tests.service.api_kit import Served, serving

pytestmark = pytest.mark.kafka

WITHIN_SECONDS = 60


def read(served: Served) -> str:
    """Read the page."""
    with served.client() as client:
        answer = client.get("/system")
    assert answer.status_code == 200, answer.text
    return answer.text


def cells(page: str, table: str) -> dict[str, list[str]]:
    """Read a table: the texts of a row's cells by its head."""
    body = page[page.index(f'<table id="{table}">') :]
    body = body[: body.index("</table>")].partition("<tbody>")[2]
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in body.split("</tr>") if "<th" in row]
    texts = [[re.sub(r"<[^>]+>", "", cell).strip() for cell in row] for row in rows]
    return {row[0]: row[1:] for row in texts}


def test_it_tells_what_the_person_on_call_needs(redis_url: str, settings: Settings, tmp_path: Path) -> None:
    """No worker and what waits; then a worker, nothing that waits, records that move, dead letters by reason."""
    names = TopicNames.from_settings(settings)
    bootstrap = str(settings.broker)
    asyncio.run(ensure_topics(bootstrap, names))
    topic = next(iter(names.inputs))
    produce(bootstrap, topic, [(b"acme", b"no event")] * 3)
    with serving(redis_url, "none:", settings=settings) as api:
        page = read(api)
        assert "no worker is running" in cells(page, "checks")["Group"][1]
        assert cells(page, "checks")["Lag"] == ["◆ Look", "3 records wait", "start a worker"]
        assert cells(page, "flow")[topic] == ["3", NOTHING, NOTHING]
        assert "None." in page
    with start_worker(settings, tmp_path / "worker.log") as worker:
        wait_caught_up(bootstrap, settings.app_id, list(names.inputs), worker)
        with serving(redis_url, "none:", settings=settings) as api:
            page = read(api)
            assert cells(page, "checks")["Group"][0] == "● Well"
            assert cells(page, "letters")["not json"][:3] == [topic, "3", "0"]
            produce(bootstrap, topic, [(b"acme", b"no event")] * 20)
            wait_for_rate(api, topic)
        assert worker.terminate() == 0


def wait_for_rate(api: Served, topic: str) -> None:
    """Wait until a look saw records arrive and be done."""
    deadline = time.monotonic() + WITHIN_SECONDS
    while True:
        waiting, arrived, done = cells(read(api), "flow")[topic]
        if waiting == "0" and arrived not in {NOTHING, "0.0"} and done not in {NOTHING, "0.0"}:
            return
        assert time.monotonic() < deadline, (waiting, arrived, done)
        time.sleep(0.5)
