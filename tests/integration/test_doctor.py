"""`vitals doctor` on a real broker: a single embedded broker passes with warnings, faults made there are found."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from service.settings import Settings
from service.topic_catalogue import TopicNames
from tests.conftest import Vitals
from tests.integration.kafka_tools import produce, read_topic, start_worker
from tests.integration.test_publish_watch import create_topics, environment
from tests.integration.test_topics import make_topic
from tests.integration.test_worker import READY, login

pytestmark = pytest.mark.kafka


def levels(done: CompletedProcess[str]) -> dict[str, str]:
    """Index the findings of `--json` by check."""
    told = json.loads(done.stdout)
    assert told["failed"] == (done.returncode == 1), done.stdout
    return {finding["check"]: finding["level"] for finding in told["findings"]}


def test_a_single_broker_with_a_worker_passes_with_warnings(settings: Settings, vitals: Vitals, tmp_path: Path) -> None:
    """Nothing fails; the warnings are about one broker's missing replicas; the worker is not disturbed by the clock."""
    names = create_topics(settings)
    with start_worker(settings, tmp_path / "worker.log") as worker:
        worker.wait_for(READY)
        done = vitals("doctor", "--json", **environment(settings))
        found = levels(done)
        assert done.returncode == 0, done.stdout
        assert {check for check, level in found.items() if level == "WARN"} == {"replicas", "min ISR"}
        assert found["clock"] == found["group"] == found["lag"] == found["changelog"] == "OK"
        assert '"Kafka 4.' in done.stdout
        assert worker.terminate() == 0
    assert read_topic(settings.broker or "", names.clock)
    # What was written to measure the clock is nothing to a worker.
    produce(settings.broker or "", names.input("usage"), [(b"acme", login("acme", "after"))])
    with start_worker(settings, tmp_path / "again.log") as worker:
        worker.wait_for(READY)
        assert worker.terminate() == 0
    without = vitals("doctor", **environment(settings))
    assert without.returncode == 0
    assert "no worker is running" in without.stdout


def test_a_fresh_cluster_is_told_what_to_do(settings: Settings, vitals: Vitals) -> None:
    """Before the first start nothing fails, and the line about topics names the command."""
    done = vitals("doctor", **environment(settings))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "none exists yet" in done.stdout
    assert "vitals topics apply" in done.stdout


def test_faults_of_the_cluster_fail(settings: Settings, vitals: Vitals) -> None:
    """A changelog that deletes, unclean election, unequal counts and missing topics each fail, with exit code 1."""
    names = TopicNames.from_settings(settings)
    bootstrap = settings.broker or ""
    wrong = {"cleanup_policy": "delete", "unclean_leader_election_enable": "true"}
    asyncio.run(make_topic(bootstrap, names.changelog, 8, **wrong))
    asyncio.run(make_topic(bootstrap, names.input("usage"), 3))
    done = vitals("doctor", "--json", **environment(settings))
    found = levels(done)
    assert done.returncode == 1
    failing = {"topics", "partitions", "changelog", "unclean election"}
    assert {check for check, level in found.items() if level == "FAIL"} == failing
    assert found["clock"] == "WARN"  # such a changelog keeps its writers' times


def test_without_a_broker_or_settings_it_still_tells_the_rest(vitals: Vitals, tmp_path: Path) -> None:
    """A broker that does not answer, none at all, and wrong settings are findings with exit code 1, not tracebacks."""
    for given in (
        {"VITALS_BROKER": "127.0.0.1:9"},
        {"VITALS_HOME": str(tmp_path)},
        {"VITALS_COMMIT_INTERVAL_SECONDS": "never"},
    ):
        done = vitals("doctor", "--json", **given)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        failing = [check for check, level in levels(done).items() if level == "FAIL"]
        if "VITALS_BROKER" in given:
            assert "correct how they are reached: topics, clocks and workers were not looked at" in done.stdout
        assert failing == (["settings"] if "VITALS_COMMIT_INTERVAL_SECONDS" in given else ["brokers"])
