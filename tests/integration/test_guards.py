"""Workers that no longer work, on a real broker: each ends by itself, says why, and shows what its threads do."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.adapters.topic_admin import apply_topics
from service.settings import Settings
from service.topic_catalogue import TopicKind, TopicNames
from tests.chaos.admin import add_partitions, delete_topics, rewind_group
from tests.chaos.logs import LOGIN, event
from tests.integration.kafka_tools import TestedProcess, lag_records, produce, read_topic, wait_caught_up

READY = "Worker ready"
END_SECONDS = 60.0
DEATH_SECONDS = 30.0
STOP_SECONDS = 10.0
ACCOUNT = "acme"
DAY_MS = 1_772_323_200_000  # 2026-03-01

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


class Guarded:
    """A deployment of its own whose worker breaks as told."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self.bootstrap = settings.broker or ""
        self.names = TopicNames.from_settings(settings)
        self._log = folder / "worker.log"
        self._started: list[TestedProcess] = []
        asyncio.run(apply_topics(self.bootstrap, self.names))

    def start(self, fault: str = "none", **variables: str) -> TestedProcess:
        """Start a worker and wait until it is ready."""
        log = self._log.with_name(f"worker-{len(self._started)}.log")
        worker = TestedProcess(
            log,
            "tests.integration.guarded_worker",
            "worker",
            VITALS_BROKER=self.bootstrap,
            VITALS_APP_ID=self.settings.app_id,
            VITALS_TOPIC_PREFIX=self.settings.topic_prefix,
            VITALS_SESSION_TIMEOUT_SECONDS="6",
            GUARD_FAULT=fault,
            **variables,
        )
        self._started.append(worker)
        return worker

    def ready(self, fault: str = "none", **variables: str) -> TestedProcess:
        """Start a worker and wait until it is ready."""
        worker = self.start(fault, **variables)
        worker.wait_for(READY, 90)
        return worker

    def publish(self, count: int = 3, first: int = 0) -> None:
        """Publish logins of one account."""
        made = [event(LOGIN, ACCOUNT, f"e{number}", DAY_MS, {"user": "u"}) for number in range(first, first + count)]
        usage = self.names.input("usage")
        produce(self.bootstrap, usage, [(each.key, each.value, (), each.partition) for each in made])

    def wait(self, worker: TestedProcess) -> None:
        """Wait until everything is committed."""
        wait_caught_up(self.bootstrap, self.settings.app_id, [*self.names.inputs], worker)

    def lag(self) -> int:
        """Count the records that are not committed."""
        return lag_records(self.bootstrap, self.settings.app_id, self.names.inputs)

    def close(self) -> None:
        """End what still runs."""
        for worker in self._started:
            if worker.process.poll() is None:
                worker.kill()


@pytest.fixture
def guarded(settings: Settings, tmp_path: Path) -> Iterator[Guarded]:
    """Make a deployment whose workers end with the test."""
    made = Guarded(settings, tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("stall", "the event loop has not run for"),
        ("compute", "the event loop has not run for"),
        ("keep a batch", "{place}: the batch from offset 0 on is delivered, but not applied, for"),
        ("read nothing", "{place} has records from offset 0 to 2, and none is read, for"),
        ("commit for ever", "a commit is under way and does not go on, for"),
        ("spin", "the process computed for"),
    ],
)
def test_a_worker_that_does_not_work_ends_and_says_why(guarded: Guarded, fault: str, reason: str) -> None:
    """Whatever keeps a worker from its work, it ends with 1, a line with the reason, and the stacks of its threads."""
    worker = guarded.ready(fault)
    guarded.publish()
    assert worker.process.wait(END_SECONDS) == 1
    said = worker.output()
    place = f"{guarded.names.input('usage')}/{event(LOGIN, ACCOUNT, 'e0', DAY_MS, {'user': 'u'}).partition}"
    assert f"watchdog: {reason.format(place=place)}" in said
    assert "MainThread" in said or "Current thread" in said
    assert fault == "spin" or guarded.lag() == 3


def test_native_code_that_lets_nothing_run_ends_the_worker(guarded: Guarded) -> None:
    """Even a call that holds the interpreter ends; without a reason, as nothing can tell one, but with the stacks."""
    worker = guarded.ready("hold the interpreter")
    guarded.publish()
    assert worker.process.wait(END_SECONDS) == 1
    assert "Timeout (0:00:04)!" in worker.output()


@pytest.mark.parametrize("fault", ["stall", "compute", "keep a batch", "read nothing", "commit for ever", "spin"])
def test_sigterm_ends_a_worker_that_does_not_work(guarded: Guarded, fault: str) -> None:
    """A broken worker that is asked to stop is gone within its time, whether its loop hears that or not."""
    worker = guarded.ready(fault, GUARD_LIMITS="long")
    guarded.publish()
    time.sleep(1)
    assert worker.terminate(END_SECONDS) in {0, 1}


def test_a_worker_that_was_paused_too_long_ends(guarded: Guarded) -> None:
    """Woken after its partitions may have moved, a worker ends by itself; nothing that was read gets lost."""
    worker = guarded.ready()
    guarded.publish()
    guarded.wait(worker)
    worker.process.send_signal(signal.SIGSTOP)
    time.sleep(5)
    worker.process.send_signal(signal.SIGCONT)
    assert worker.process.wait(END_SECONDS) == 1
    assert "watchdog: the process was paused for" in worker.output()


def test_a_healthy_worker_is_left_alone(guarded: Guarded) -> None:
    """With limits of seconds, work now and then and nothing in between, the watchdog finds nothing."""
    worker = guarded.ready("none", GUARD_LIMITS="short")
    for number in range(5):
        guarded.publish(first=3 * number)
        guarded.wait(worker)
        time.sleep(2)
    assert worker.terminate(END_SECONDS) == 0
    assert "watchdog" not in worker.output()


@pytest.mark.parametrize(("clock", "other"), [("wall", "event"), ("event", "wall")])
def test_a_worker_of_the_other_clock_is_refused(guarded: Guarded, clock: str, other: str) -> None:
    """It ends with 2 before it scores anything, and says how to start it; those of the deployment's clock go on."""
    worker = guarded.ready(VITALS_CLOCK=clock)
    guarded.publish()
    guarded.wait(worker)
    assert worker.terminate(END_SECONDS) == 0
    stranger = guarded.start(VITALS_CLOCK=other)
    assert stranger.process.wait(END_SECONDS) == 2
    said = stranger.output()
    assert f"follows the {clock} clock" in said
    assert f"start it with --clock {clock}" in said
    assert "Traceback" not in said
    guarded.ready(VITALS_CLOCK=clock)


def wait_end(worker: TestedProcess) -> int:
    """Wait for the worker to end by itself, in the time that a deleted topic may take; return its exit code."""
    return worker.process.wait(DEATH_SECONDS)


@pytest.mark.parametrize("kind", ["usage", "account"])
def test_a_deleted_input_ends_the_worker(guarded: Guarded, kind: TopicKind) -> None:
    """A consumed topic that is deleted under a running worker is named within 30 seconds, and the worker ends."""
    worker = guarded.ready()
    guarded.publish()
    guarded.wait(worker)
    delete_topics(guarded.bootstrap, [guarded.names.input(kind)])
    assert wait_end(worker) == 1
    assert f"{guarded.names.input(kind)}: deleted while the worker ran" in worker.output()


def test_a_deleted_changelog_ends_the_worker_and_its_restart_is_refused(guarded: Guarded) -> None:
    """Without its changelog a worker ends, and no restart begins with empty states behind committed events."""
    worker = guarded.ready()
    guarded.publish()
    guarded.wait(worker)
    delete_topics(guarded.bootstrap, [guarded.names.changelog])
    assert wait_end(worker) == 1
    assert f"{guarded.names.changelog}: deleted while the worker ran" in worker.output()
    again = guarded.start()
    assert again.process.wait(END_SECONDS) == 1
    assert "is scored up to offset 2: the state was deleted" in again.output()
    rewind_group(guarded.bootstrap, guarded.settings.app_id, [*guarded.names.inputs])
    assert guarded.ready().terminate(END_SECONDS) == 0


@pytest.mark.parametrize("wait_seconds", [0, 4, 8])
def test_sigterm_ends_a_worker_whose_topics_are_gone(guarded: Guarded, wait_seconds: float) -> None:
    """However far the loss of all topics has got, a worker that is asked to stop is gone within ten seconds."""
    worker = guarded.ready()
    guarded.publish()
    delete_topics(guarded.bootstrap, guarded.names.worker_topics())
    time.sleep(wait_seconds)
    began = time.monotonic()
    assert worker.terminate(END_SECONDS) in {0, 1}
    assert time.monotonic() - began < STOP_SECONDS + 5  # the time to notice, on a busy machine


def test_an_input_made_anew_ends_the_worker(guarded: Guarded) -> None:
    """A topic that is deleted and made anew at once counts from 0 again, so its events would be taken for old ones."""
    worker = guarded.ready()
    guarded.publish(10)
    guarded.wait(worker)
    delete_topics(guarded.bootstrap, [guarded.names.input("usage")])
    asyncio.run(apply_topics(guarded.bootstrap, guarded.names))
    assert worker.process.wait(END_SECONDS) == 1
    assert "worker stops: " + guarded.names.input("usage") in worker.output()


def test_a_partition_count_that_is_raised_ends_the_worker(guarded: Guarded) -> None:
    """With a raised count keys would move; the worker says so, with the way out, and its restart says the same."""
    worker = guarded.ready()
    topic = guarded.names.input("usage")
    add_partitions(guarded.bootstrap, topic, 9)
    assert wait_end(worker) == 2
    said = worker.output()
    assert f"9 partitions: {topic}" in said
    assert "start over with a new VITALS_TOPIC_PREFIX and" in said


def publish_rubbish(guarded: Guarded, count: int) -> None:
    """Publish records that cannot be scored to one partition."""
    produce(guarded.bootstrap, guarded.names.input("usage"), [(b"acme", b"rubbish", (), 3)] * count)


def set_aside(guarded: Guarded) -> int:
    """Count the dead letters."""
    return len(read_topic(guarded.bootstrap, guarded.names.dead_letters("usage")))


def test_a_topic_is_not_drained_into_the_dead_letters(guarded: Guarded) -> None:
    """The worker stops at the record that is one too many, at each start again, until a person lets them pass."""
    worker = guarded.ready()
    publish_rubbish(guarded, 60)
    guarded.wait(worker)
    publish_rubbish(guarded, 39)
    guarded.wait(worker)
    assert worker.terminate(END_SECONDS) == 0
    assert set_aside(guarded) == 99

    publish_rubbish(guarded, 400)
    place = f"{guarded.names.input('usage')}/3"
    for _ in range(2):
        worker = guarded.start()
        assert worker.process.wait(END_SECONDS) == 1
        assert f"worker stops: {place}: 100 records in a row up to offset 99 cannot be scored" in worker.output()
        assert set_aside(guarded) == 99
        assert guarded.lag() == 400

    worker = guarded.ready("none", VITALS_DEAD_LETTER_RATIO_MAX="1", VITALS_DEAD_LETTER_RUN_MAX="0")
    guarded.wait(worker)
    assert worker.terminate(END_SECONDS) == 0
    assert set_aside(guarded) == 499
