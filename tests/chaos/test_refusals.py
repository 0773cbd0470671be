"""Faults that a worker must not work through: it says what is wrong, ends with 1, and goes on where that was mended."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.runtime.table import FORMAT, HEADER
from service.adapters.embedded_kafka import EmbeddedKafka
from tests.chaos.admin import add_partitions, delete_records
from tests.chaos.logs import LIVE_DAY_MS, LOGIN, LogRecord, event
from tests.chaos.run import Place, Plan, Run, running
from tests.integration.kafka_tools import produce

ACCOUNT = "acme"
END_SECONDS = 60

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.chaos]


def logins(first: int, count: int) -> list[LogRecord]:
    """Make logins of one account, numbered from `first`."""
    numbers = range(first, first + count)
    return [event(LOGIN, ACCOUNT, f"e{number}", LIVE_DAY_MS + number, {"user": "u"}) for number in numbers]


@pytest.fixture
def run(broker: EmbeddedKafka, tmp_path: Path) -> Iterator[Run]:
    """Make a deployment whose only worker has applied five events and was stopped."""
    plan = Plan(workers=1)
    with running(plan, Place(broker.bootstrap, broker.bootstrap), tmp_path, 1, {"CHAOS_UNWATCHED": "1"}) as made:
        made.begin(logins(0, 5))
        made.catch_up()
        made.fleet.wait_ready()
        assert made.fleet.terminate(made.fleet.slots[0]) == 0
        yield made


def usage_of(run: Run) -> tuple[str, int]:
    """Name the partition of the account's logins."""
    return run.topics.input("usage"), logins(0, 1)[0].partition


def publish(run: Run, records: list[LogRecord]) -> None:
    """Produce records now."""
    topic = usage_of(run)[0]
    produce(run.bootstrap, topic, [(each.key, each.value, (), each.partition) for each in records])


def refusal(run: Run) -> str:
    """Start the worker, expect it to end with 1, and return what it said."""
    slot = run.fleet.slots[0]
    slot.expected_to_run = True
    run.fleet.tend()
    slot.expected_to_run = False
    assert slot.process is not None
    code = slot.process.process.wait(END_SECONDS)
    assert code == 1, run.fleet.tails()
    return slot.process.output()


def test_input_deleted_before_it_was_read_is_refused(run: Run) -> None:
    """F14: events that retention took before they were scored are not passed over without a word."""
    publish(run, logins(5, 5))
    topic, partition = usage_of(run)
    delete_records(run.bootstrap, {(topic, partition): 8})
    said = refusal(run)
    assert f"{topic}/{partition} begins at offset 8, but records from 5 on are not scored" in said


def test_input_deleted_under_a_running_worker_is_refused(run: Run) -> None:
    """F14: a worker that is overtaken by retention while it runs stops and says so."""
    slot = run.fleet.slots[0]
    topic, partition = usage_of(run)
    slot.expected_to_run = True
    run.fleet.tend()
    run.fleet.wait_ready()
    run.fleet.pause(slot)
    publish(run, logins(5, 1))  # which the fetch that waits at the broker still brings
    publish(run, logins(6, 5))
    delete_records(run.bootstrap, {(topic, partition): 9})
    slot.expected_to_run = False
    run.fleet.resume(slot)
    assert slot.process is not None
    assert slot.process.process.wait(END_SECONDS) == 1
    # From 6 on when the fetch that waited at the broker brought the first record, as it does mostly.
    told = rf"{topic}/{partition} begins at offset 9, but records from [56] on are not scored"
    assert re.search(told, slot.process.output())


def test_a_stored_state_of_an_unknown_format_is_refused(run: Run) -> None:
    """F18: a state that a newer release wrote is neither read nor overwritten."""
    newer = HEADER.pack(FORMAT + 1, 1, 1) + b"who knows"
    produce(run.bootstrap, run.topics.changelog, [(b"newer", newer, (), 3)])
    said = refusal(run)
    assert f"changelog partition 3 offset 0: stored state has format {FORMAT + 1}" in said
    assert "run the version that wrote it, or a newer one" in said


def test_a_raised_partition_count_is_refused(run: Run) -> None:
    """F23: with a raised count keys would move; the worker says the way out, and no event is committed unscored."""
    topic = run.topics.input("usage")
    add_partitions(run.bootstrap, topic, 9)
    slot = run.fleet.slots[0]
    slot.expected_to_run = True
    run.fleet.tend()
    slot.expected_to_run = False
    assert slot.process is not None
    assert slot.process.process.wait(END_SECONDS) == 2
    said = slot.process.output()
    assert f"9 partitions: {topic}" in said
    assert "start over with a new VITALS_TOPIC_PREFIX and" in said
