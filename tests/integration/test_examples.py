"""The examples of the README, run as a reader would: an event goes in, a worker scores it, alerts come out."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from schemas.codec import encode_input
from service.settings import Settings
from service.topic_catalogue import TopicNames
from tests.integration.kafka_tools import (
    TestedProcess,
    lag_records,
    produce,
    read_topic,
    start_worker,
    wait_caught_up,
)

DAY_MS = 86_400_000
Vitals = Callable[..., "CompletedProcess[str]"]


def run_example(settings: Settings, log: Path, name: str, *arguments: str) -> TestedProcess:
    """Start one of docs/examples as a process."""
    return TestedProcess(
        log,
        f"docs.examples.{name}",
        *arguments,
        VITALS_BROKER=settings.broker or "",
        VITALS_TOPIC_PREFIX=settings.topic_prefix,
    )


def publish_silence(settings: Settings, topic: str) -> None:
    """Publish a login on each of 70 days, the last of them a month ago."""
    now_ms = time.time_ns() // 1_000_000
    records = [
        (
            b"acme",
            encode_input(
                "login",
                {"user": "ada"},
                event_id=f"login-{day}",
                source="test",
                account="acme",
                time_ms=now_ms - day * DAY_MS,
            ),
        )
        for day in range(100, 30, -1)
    ]
    produce(settings.broker or "", topic, records)


@pytest.mark.kafka
def test_a_published_event_is_scored_and_alerts_are_consumed_once(
    settings: Settings, vitals: Vitals, tmp_path: Path
) -> None:
    """The publisher's login is in the account's score, and the consumer prints each alert of the silence before it."""
    names = TopicNames.from_settings(settings)
    bootstrap = settings.broker or ""
    applied = vitals(
        "topics",
        "apply",
        VITALS_BROKER=bootstrap,
        VITALS_APP_ID=settings.app_id,
        VITALS_TOPIC_PREFIX=settings.topic_prefix,
    )
    assert applied.returncode == 0, applied.stderr
    publish_silence(settings, names.input("usage"))
    with run_example(settings, tmp_path / "publisher.log", "publish_event", "acme", "bob") as publisher:
        assert publisher.process.wait(60) == 0, publisher.output()
    assert lag_records(bootstrap, settings.app_id, [names.input("usage")]) == 71

    with (
        start_worker(settings, tmp_path / "worker.log") as worker,
        run_example(settings, tmp_path / "consumer.log", "consume_alerts") as consumer,
    ):
        wait_caught_up(bootstrap, settings.app_id, [*names.inputs, names.rekeyed], worker)
        consumer.wait_for("acme endangered")
        assert worker.terminate() == 0
        alerts = [json.loads(record.value)["data"] for record in read_topic(bootstrap, names.alerts)]
        # A copy of the first alert, as a crash would leave it, is recognised; what comes after it is not lost.
        repeated = {**alerts[0], "seq": 1}
        unseen = {**alerts[-1], "account": "other", "seq": 1}
        partition = read_topic(bootstrap, names.alerts)[0].partition
        produce(
            bootstrap,
            names.alerts,
            [(b"acme", json.dumps({"data": data}).encode(), [], partition) for data in (repeated, unseen)],
        )
        consumer.wait_for("other endangered")
        printed = [line for line in consumer.output().splitlines() if line.startswith(("acme ", "other "))]

    assert [alert["seq"] for alert in alerts] == list(range(1, len(alerts) + 1))
    assert [line.split(",")[0] for line in printed] == [
        *(f"acme {alert['kind']}" for alert in alerts),
        "other endangered",
    ]
    score = json.loads(read_topic(bootstrap, names.scores)[-1].value)["data"]
    assert score["account"] == "acme"
    assert next(factor["value"] for factor in score["factors"] if factor["name"] == "recency") == 0
