"""How a worker ends for a reason that is known, on a real broker: in its time, with one line that says why."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aiokafka import TopicPartition

from agents.runtime.table import MARKER_KEY
from schemas.outputs import DeadLetter
from service.adapters.embedded_kafka import EmbeddedKafka
from service.adapters.group_less import open_consumer
from service.adapters.topic_admin import apply_topics
from service.settings import Settings, load_settings
from service.topic_catalogue import TopicNames
from tests.chaos.logs import LOGIN, event
from tests.integration.kafka_tools import (
    TestedProcess,
    lag_records,
    produce,
    read_topic,
    start_role,
    start_worker,
    wait_caught_up,
)

STARTED = {"worker": "Worker ready", "projector": "whole and live"}
AWAY, BACK = "the brokers do not answer: waiting", "the brokers answer again"
END_SECONDS = 90.0
STOP_SECONDS = 9.0
# Of a machine that others use as well.
SPARE_SECONDS = 5.0
DAY_MS = 1_772_323_200_000  # 2026-03-01
ACCOUNTS = 10_000
BAD_RECORDS = 100
BAD_PARTITION = 3
# A machine that others use as well may leave a worker without time for seconds.
PATIENT = {"VITALS_SESSION_TIMEOUT_SECONDS": "30"}
UNLIMITED = {"VITALS_DEAD_LETTER_RATIO_MAX": "1", "VITALS_DEAD_LETTER_RUN_MAX": "0"}
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
    log = tmp_path / "worker.log"
    assert_ended_for(start_worker(settings, log, **PATIENT), f"{names.input('usage')}/{BAD_PARTITION}: ")
    assert "cannot be scored" in log.read_text().splitlines()[-1]
    assert lag_records(settings.broker or "", settings.app_id, names.inputs) > 0

    again = start_worker(settings, tmp_path / "again.log", **PATIENT, **UNLIMITED)
    wait_caught_up(settings.broker or "", settings.app_id, [*names.inputs], again, within_seconds=240)
    again.kill()
    stored = {record.key for record in read_topic(settings.broker or "", names.changelog)} - {MARKER_KEY}
    letters = read_topic(settings.broker or "", names.dead_letters("usage"))
    set_aside = {DeadLetter.from_headers(letter.headers).offset for letter in letters}
    assert (len(stored), len(set_aside)) == (ACCOUNTS, BAD_RECORDS)


class Outage:
    """A worker whose only broker, its own, goes away and comes back."""

    def __init__(self, folder: Path) -> None:
        self.kafka = EmbeddedKafka(folder / "broker", port=0)
        self.kafka.start()
        self._log = folder / "worker.log"
        self.settings = load_settings(broker=self.kafka.bootstrap, app_id="outage", topic_prefix="o-", home=folder)
        self.names = TopicNames.from_settings(self.settings)
        asyncio.run(apply_topics(self.kafka.bootstrap, self.names))

    def start(self, role: str = "worker", **variables: str) -> TestedProcess:
        """Start a role; brokers away for a while do not throw a worker out of its group."""
        process = start_role(self.settings, self._log, role, **{**PATIENT, **variables})
        process.wait_for(STARTED[role], END_SECONDS)
        return process


@pytest.fixture
def outage(tmp_path: Path) -> Iterator[Outage]:
    """Run a broker of this test's own."""
    made = Outage(tmp_path)
    yield made
    made.kafka.stop()


def test_a_worker_tells_once_that_brokers_go_and_come_back(outage: Outage) -> None:
    """An outage is two lines of the worker's and few of the client's, and after it the worker works as before."""
    with outage.start() as worker:
        outage.kafka.kill(0)
        began = time.monotonic()
        worker.wait_for(AWAY, END_SECONDS)
        time.sleep(10)
        outage.kafka.restart(0)
        worker.wait_for(BACK, END_SECONDS)
        away_seconds = time.monotonic() - began
        publish_logins(outage.settings, outage.names, 10)
        wait_caught_up(outage.kafka.bootstrap, outage.settings.app_id, [*outage.names.inputs], worker)
        said = worker.output()
        assert (said.count(AWAY), said.count(BACK)) == (1, 1), said[-5000:]
        told = [match["text"] for line in said.splitlines() if (match := LOG_LINE.match(line))]
        assert all(told.count(text) <= 1 + away_seconds / 10 for text in told), said[-5000:]
        assert worker.terminate(END_SECONDS) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_without_brokers_says_that_nothing_is_lost(outage: Outage, number: signal.Signals) -> None:
    """A worker that cannot commit ends in its time, tells what the next start reads again, and shows no stacks."""
    with outage.start(VITALS_COMMIT_INTERVAL_SECONDS="30") as worker:
        publish_logins(outage.settings, outage.names, 10)
        worker.wait_for("in 10 s: ", END_SECONDS)  # they are applied
        uncommitted = lag_records(outage.kafka.bootstrap, outage.settings.app_id, outage.names.inputs)
        outage.kafka.kill(0)
        worker.wait_for(AWAY, END_SECONDS)
        worker.process.send_signal(number)
        began = time.monotonic()
        assert worker.process.wait(END_SECONDS) == 1
        assert time.monotonic() - began < STOP_SECONDS + SPARE_SECONDS
        said = worker.output()
        assert all(LOG_LINE.match(line) for line in said.splitlines()), said[-5000:]
        assert "worker stops: the brokers do not answer, so " in said.splitlines()[-1]
        assert "nothing is lost" in said.splitlines()[-1]
        assert uncommitted == 0 or f"{outage.names.input('usage')}/" in said.splitlines()[-1]
    outage.kafka.restart(0)
    with outage.start() as worker:
        wait_caught_up(outage.kafka.bootstrap, outage.settings.app_id, [*outage.names.inputs], worker)
        assert worker.terminate(END_SECONDS) == 0


@pytest.mark.parametrize("role", ["worker", "projector"])
def test_a_stop_without_brokers_and_without_work_shows_no_stacks(outage: Outage, role: str, redis_url: str) -> None:
    """What has nothing to write ends at once, and its fetches that wait for the brokers end without a word."""
    with outage.start(role, VITALS_REDIS=redis_url) as process:
        outage.kafka.kill(0)
        process.wait_for("Failed fetch messages", END_SECONDS)
        assert process.terminate(END_SECONDS) == 0
        said = process.output()
        assert all(LOG_LINE.match(line) for line in said.splitlines()), said[-5000:]


def test_a_consumer_is_closed_while_its_fetch_waits_for_brokers(outage: Outage) -> None:
    """The client's own cancellation is no cancellation of who closes it."""

    async def close_without_brokers() -> None:
        async with open_consumer(outage.kafka.bootstrap, retry_backoff_ms=60_000) as consumer:
            consumer.assign([TopicPartition(outage.names.scores, 0)])
            await consumer.seek_to_end()
            await consumer.getmany(timeout_ms=500)
            await asyncio.to_thread(outage.kafka.kill, 0)
            await consumer.getmany(timeout_ms=3_000)

    asyncio.run(close_without_brokers())


def test_a_start_without_a_broker_is_one_line(vitals: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    """Nothing of the client's stands before the line that names the address and the setting."""
    done = vitals("worker", VITALS_BROKER="127.0.0.1:1")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "no Kafka answers at 127.0.0.1:1" in done.stderr
