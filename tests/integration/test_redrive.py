"""`vitals dlq redrive` on a real broker: every dead letter that is meant goes back once, whatever dies or repeats."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from schemas.codec import encode_input
from schemas.outputs import DeadLetter, failed_attempts
from service.adapters.topic_admin import ensure_topics
from service.dead_letters import NOTE_HEADER, REDRIVEN_FROM_HEADER, Filters, Note
from service.errors import DependencyError
from service.redrive import ATTEMPTS_MAX, RedriveOptions, RedriveSummary, redrive
from service.settings import Settings
from service.topic_catalogue import TopicNames
from tests.conftest import Vitals
from tests.integration.kafka_tools import produce, read_topic, start_worker, wait_caught_up

pytestmark = pytest.mark.kafka

NOW_MS = 1_770_000_000_000
LEASE_SECONDS = 0.5


class Deployment:
    """The topics of one test, filled with dead letters as the worker writes them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.names = TopicNames.from_settings(settings)
        self.bootstrap = settings.broker or ""
        self.environment = {
            "VITALS_BROKER": self.bootstrap,
            "VITALS_APP_ID": settings.app_id,
            "VITALS_TOPIC_PREFIX": settings.topic_prefix,
        }
        self.usage = self.names.input("usage")
        asyncio.run(ensure_topics(self.bootstrap, self.names))

    def set_aside(self, *letters: tuple[int, bytes | None, dict[str, Any]], headers: Any = ()) -> None:
        """Write dead letters of the usage topic: (source offset, value, changes to what is told), on partition 1."""
        records = []
        for offset, value, changes in letters:
            told = {
                "reason": "future_time",
                "detail": "time: too early",
                "topic": self.usage,
                "partition": 1,
                "offset": offset,
                "failed_at": NOW_MS + offset,
                "app_version": "0",
                **changes,
            }
            added = DeadLetter.model_validate(told).to_headers()
            records.append((b"acme", value, [*headers, *added], 1))
        produce(self.bootstrap, self.names.dead_letters("usage"), records)

    def redrive(self, *, dry_run: bool = False, **filters: Any) -> RedriveSummary:
        """Redrive in this process."""
        options = RedriveOptions(Filters(**filters), dry_run=dry_run, lease_seconds=LEASE_SECONDS)
        return asyncio.run(redrive(self.bootstrap, self.names, options, lambda: 2_000_000_000_000))

    def published(self) -> list[Any]:
        """Return what stands in the input topic."""
        return read_topic(self.bootstrap, self.usage)


@pytest.fixture
def deployment(settings: Settings) -> Deployment:
    """Make the topics of a test."""
    return Deployment(settings)


def event(number: int, **changes: Any) -> bytes:
    """Write a login that this version accepts."""
    written = encode_input(
        "login", {"user": "u1"}, event_id=f"event-{number}", source="test", account="acme", time_ms=NOW_MS + number
    )
    return json.dumps({**json.loads(written), **changes}).encode()


def sources(records: list[Any]) -> list[str]:
    """Name the source of every redriven record."""
    return [dict(record.headers)[REDRIVEN_FROM_HEADER].decode().split(" ")[0] for record in records]


def test_a_dead_letter_goes_back_as_it_came(deployment: Deployment) -> None:
    """Key, value and the publisher's headers are untouched, on its old partition; what the worker added is gone."""
    own = [("trace", b"\x00\xff"), ("dlq.reason", b"the publisher's own"), ("trace", b"again")]
    deployment.set_aside((7, event(7), {"attempts": 2}), headers=own)
    summary = deployment.redrive()
    assert (summary.selected, summary.published, summary.left) == (1, 1, 0)
    (record,) = deployment.published()
    assert (record.partition, record.key, record.value) == (1, b"acme", event(7))
    assert list(record.headers[:-2]) == own
    assert failed_attempts(record.headers) == 2
    assert sources([record]) == [f"{deployment.usage}/1/7"]


def test_running_twice_publishes_once(deployment: Deployment) -> None:
    """A second run, also with other filters, finds everything published; new dead letters still go."""
    deployment.set_aside(*((number, event(number), {}) for number in range(1_100)))
    deployment.set_aside(*((number, event(number), {}) for number in (3, 4)))  # set aside again after a crash
    assert deployment.redrive().published == 1_100
    second = deployment.redrive(reasons=frozenset({"future_time"}))
    assert (second.selected, second.published, second.already_redriven) == (1_100, 0, 1_100)
    deployment.set_aside((2_000, event(2_000), {}))
    assert deployment.redrive().published == 1
    published = deployment.published()
    assert sources(published) == [f"{deployment.usage}/1/{number}" for number in (*range(1_100), 2_000)]


@pytest.mark.parametrize(
    ("point", "count"), [("begun", 1), ("sent a batch", 3), ("sent a batch", 13), ("published", 2)]
)
def test_a_crash_half_way_publishes_nothing_twice_and_loses_nothing(
    deployment: Deployment, point: str, count: int
) -> None:
    """Killed between any two steps, the next run goes on: every dead letter is published exactly once."""
    deployment.set_aside(*((number, event(number), {}) for number in range(700)))
    prefix = deployment.settings.topic_prefix
    command = [sys.executable, "-m", "tests.integration.redrive_process", deployment.bootstrap, prefix, point]
    died = subprocess.run([*command, str(count)], capture_output=True, text=True, timeout=120, check=False)
    assert died.returncode == -9, died.stderr
    before = len(deployment.published())
    summary = deployment.redrive()
    assert (summary.selected, summary.left) == (700, 0)
    assert summary.published + summary.already_redriven == 700
    assert summary.already_redriven >= before
    assert Counter(sources(deployment.published())) == {f"{deployment.usage}/1/{number}": 1 for number in range(700)}
    assert deployment.redrive().published == 0


def test_a_run_that_is_still_at_work_is_waited_for(deployment: Deployment) -> None:
    """A `begin` note without its `done` is waited for; when the `done` comes, its records are not published again."""
    deployment.set_aside((1, event(1), {}), (2, event(2), {}))
    letters = deployment.names.dead_letters("usage")

    async def write(note: Note) -> None:
        await asyncio.to_thread(produce, deployment.bootstrap, letters, [(None, note.value(), note.headers(), 1)])

    async def run() -> RedriveSummary:
        await write(Note("other", ends={deployment.usage: 0}))
        waiting = asyncio.Event()
        options = RedriveOptions(Filters(), lease_seconds=60, waiting=lambda _: waiting.set())
        task = asyncio.create_task(redrive(deployment.bootstrap, deployment.names, options, lambda: 2_000_000_000_000))
        while not waiting.is_set():
            assert not task.done(), task.result()
            await asyncio.sleep(0.05)
        await asyncio.sleep(2)
        assert await asyncio.to_thread(deployment.published) == []
        await write(Note("other", offsets={deployment.usage: [1]}))
        return await task

    summary = asyncio.run(run())
    assert (summary.published, summary.already_redriven) == (1, 1)
    assert sources(deployment.published()) == [f"{deployment.usage}/1/2"]


def test_of_two_runs_at_once_one_retires(deployment: Deployment) -> None:
    """A run that finds the other's `begin` just before its own publishes nothing, says so, and may run again."""
    deployment.set_aside((1, event(1), {}))
    letters = deployment.names.dead_letters("usage")
    notes = [Note("other", ends={deployment.usage: 0})]

    def begin_first(_done: int, _total: int) -> None:  # the other run begins after this one has looked at everything
        while notes:
            note = notes.pop()
            records = [(None, note.value(), note.headers(), 1)]
            other = threading.Thread(target=produce, args=(deployment.bootstrap, letters, records))
            other.start()
            other.join()

    options = RedriveOptions(Filters(), lease_seconds=LEASE_SECONDS, progress=begin_first)
    with pytest.raises(DependencyError, match="another redrive"):
        asyncio.run(redrive(deployment.bootstrap, deployment.names, options, lambda: 2_000_000_000_000))
    assert deployment.published() == []
    assert deployment.redrive().published == 1


def test_filters_and_dry_run(deployment: Deployment) -> None:
    """Reason, topic and time choose; a dry run counts the same and writes nothing, not even a note."""
    deployment.set_aside(
        (1, event(1), {}), (2, event(2), {"reason": "unknown_type"}), (3, event(3), {}), (4, event(4), {})
    )
    chosen: dict[str, Any] = {"reasons": frozenset({"future_time"}), "since_ms": NOW_MS + 2, "until_ms": NOW_MS + 4}
    dry = deployment.redrive(dry_run=True, **chosen)
    assert (dry.selected, dry.published) == (1, 1)
    assert deployment.published() == []
    assert all(
        dict(r.headers).get(NOTE_HEADER) is None
        for r in read_topic(deployment.bootstrap, deployment.names.dead_letters("usage"))
    )
    assert deployment.redrive(topics=frozenset({deployment.names.input("payment")})).selected == 0
    assert deployment.redrive(**chosen).published == 1
    assert sources(deployment.published()) == [f"{deployment.usage}/1/3"]


def test_what_would_fail_again_stays_until_it_is_asked_for(deployment: Deployment) -> None:
    """A record that this version refuses is counted by its reason and stays, unless --reason names it."""
    deployment.set_aside(
        (1, b"{", {"reason": "not_json"}), (2, b"x" * 70_000, {"reason": "too_large"}), (3, event(3), {})
    )
    summary = deployment.redrive()
    assert (summary.selected, summary.published, summary.left) == (3, 1, 2)
    assert summary.refused_again == {"not_json": 1, "too_large": 1}
    assert deployment.redrive(reasons=frozenset({"too_large"})).published == 1
    assert sources(deployment.published()) == [f"{deployment.usage}/1/3", f"{deployment.usage}/1/2"]


def test_a_record_that_keeps_failing_is_not_sent_for_ever(
    deployment: Deployment, vitals: Vitals, tmp_path: Path
) -> None:
    """Each time that a redriven record fails again it comes back with one attempt more; after three it stays."""
    (sent,) = produce(deployment.bootstrap, deployment.usage, [(b"acme", b"rubbish", [("trace", b"1")])])
    letters = deployment.names.dead_letters("usage")
    with start_worker(deployment.settings, tmp_path / "worker.log") as worker:
        for attempt in range(1, ATTEMPTS_MAX + 1):
            told = newest_letter(deployment, letters, attempt)
            assert (told.attempts, told.reason) == (attempt, "not_json")
            done = vitals("dlq", "redrive", "--reason", "not_json", "--json", **deployment.environment)
            assert done.returncode == (0 if attempt < ATTEMPTS_MAX else 3), done.stderr
        summary = json.loads(done.stdout)
        assert (summary["published"], summary["already_redriven"], summary["attempts_used_up"]) == (0, 2, 1)
        # What can be scored is scored; from partition 1, which is not acme's, by way of the re-keyed topic.
        deployment.set_aside((900, event(1), {}))
        assert vitals("dlq", "redrive", **deployment.environment).returncode == 3
        inputs = [deployment.usage, deployment.names.rekeyed]
        wait_caught_up(deployment.bootstrap, deployment.settings.app_id, inputs, worker)
        assert worker.terminate() == 0
    records = [record for record in read_topic(deployment.bootstrap, deployment.usage) if record.value == b"rubbish"]
    assert [failed_attempts(record.headers) for record in records] == [0, 1, 2]
    assert all(dict(record.headers)["trace"] == b"1" and record.partition == sent.partition for record in records)
    shown = vitals("state", "show", "acme", "--json", **deployment.environment)
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["applied_offsets"][deployment.names.rekeyed] == 0


def newest_letter(deployment: Deployment, topic: str, attempts: int) -> DeadLetter:
    """Wait until so many dead letters stand in a topic; return what the last one tells."""
    deadline = time.monotonic() + 90
    while True:
        records = [r for r in read_topic(deployment.bootstrap, topic) if NOTE_HEADER not in dict(r.headers)]
        if len(records) >= attempts:
            return DeadLetter.from_headers(records[-1].headers)
        assert time.monotonic() < deadline, f"{len(records)} dead letters, expected {attempts}"
        time.sleep(0.3)


def test_odd_records_go_back_too(deployment: Deployment) -> None:
    """A record without key and value goes back; one that no longer fits into its topic stays and is counted."""
    topic = deployment.names.dead_letters("usage")
    told = {"detail": "", "topic": deployment.usage, "partition": 1, "failed_at": NOW_MS, "app_version": "0"}
    empty = DeadLetter.model_validate({**told, "reason": "empty_value", "offset": 1}).to_headers()
    large = DeadLetter.model_validate({**told, "reason": "too_large", "offset": 2}).to_headers()
    later = DeadLetter.model_validate({**told, "reason": "empty_value", "offset": 3}).to_headers()
    full = b"x" * (4 * 1024 * 1024 - 100)
    records = [(None, None, list(empty), 1), (b"k", full, list(large), 1), (b"k", None, list(later), 1)]
    asyncio.run(produce_odd(deployment.bootstrap, topic, records))
    reasons = frozenset({"empty_value", "too_large"})
    summary = deployment.redrive(reasons=reasons)
    assert (summary.selected, summary.published, summary.too_large_for_topic) == (3, 2, 1)
    assert [(record.key, record.value) for record in deployment.published()] == [(None, None), (b"k", None)]
    again = deployment.redrive(reasons=reasons)
    assert (again.published, again.already_redriven, again.left) == (0, 2, 1)


async def produce_odd(bootstrap: str, topic: str, records: list[tuple[Any, ...]]) -> None:
    """Produce records that the client's plain way refuses: with neither key nor value."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, max_request_size=8 * 1024 * 1024)
    await producer.start()
    try:
        for key, value, headers, partition in records:
            batch = producer.create_batch()
            batch.append(timestamp=None, key=key, value=value, headers=headers)
            await (await producer.send_batch(batch, topic, partition=partition))
    finally:
        await producer.stop()
