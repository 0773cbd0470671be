"""How a worker ends for a reason that is known, on a real broker: in its time, with one line that says why."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from service.adapters.topic_admin import apply_topics
from service.settings import Settings
from service.topic_catalogue import TopicNames
from tests.chaos.logs import LOGIN, event
from tests.integration.kafka_tools import TestedProcess, lag_records, produce, read_topic, start_worker

END_SECONDS = 90.0
DAY_MS = 1_772_323_200_000  # 2026-03-01
ACCOUNTS = 20_000
BAD_RECORDS = 100
BAD_PARTITION = 3
LOG_LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (?P<level>\w+) +(?P<text>.*)")

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


@pytest.fixture
def names(settings: Settings) -> TopicNames:
    """Make the topics of a deployment of this test's own."""
    made = TopicNames.from_settings(settings)
    asyncio.run(apply_topics(settings.broker or "", made))
    return made


def publish_logins(settings: Settings, names: TopicNames, accounts: int) -> None:
    """Publish one login of each of so many accounts."""
    made = [event(LOGIN, f"a{number}", f"e{number}", DAY_MS, {"user": "u"}) for number in range(accounts)]
    produce(settings.broker or "", names.input("usage"), [(each.key, each.value, (), each.partition) for each in made])


def publish_rubbish(settings: Settings, names: TopicNames) -> None:
    """Publish as many records that cannot be scored as end a worker, to one partition."""
    produce(settings.broker or "", names.input("usage"), [(b"acme", b"{nope", (), BAD_PARTITION)] * BAD_RECORDS)


def assert_ended_for(worker: TestedProcess, told: str) -> None:
    """Check that the worker ended with 1, and said why in one line at the end, without a stack."""
    assert worker.process.wait(END_SECONDS) == 1
    said = worker.output()
    lines = said.splitlines()
    assert all(LOG_LINE.match(line) for line in lines), said[-5000:]
    assert told in lines[-1], said[-5000:]
    assert "worker stops: " in lines[-1]
    assert not [line for line in lines[:-1] if " ERROR " in line or told in line], said[-5000:]


def test_a_breaker_behind_a_backlog_ends_the_worker_in_its_time(
    settings: Settings, names: TopicNames, tmp_path: Path
) -> None:
    """With much to write and read, a worker that must not go on commits what is applied and is gone in its time."""
    publish_logins(settings, names, ACCOUNTS)
    publish_rubbish(settings, names)
    worker = start_worker(settings, tmp_path / "worker.log")
    assert_ended_for(worker, f"{names.input('usage')}/{BAD_PARTITION}: {BAD_RECORDS} records in a row")
    assert BAD_RECORDS <= lag_records(settings.broker or "", settings.app_id, names.inputs) < ACCOUNTS
    assert not read_topic(settings.broker or "", names.dead_letters("usage"))
