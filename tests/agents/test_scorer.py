"""The scorer's part of the promises: nothing acked early, alerts out once decided, silence judged after reading."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import Any, cast

import pytest
from aiokafka.structs import ConsumerRecord
from faust.types import TP

from agents.breaker import Breaker
from agents.ingest import Ingest
from agents.inputs import Inputs
from agents.partition_task import PartitionTask
from agents.runtime.batch import RecordBatch
from agents.runtime.commit import Committer
from agents.runtime.producer import OutRecord
from agents.runtime.table import Partition, ViewBudget
from agents.scorer import Scorer
from schemas.codec import encode_input, read_alert, read_score
from schemas.outputs import ScoreData
from service.errors import DependencyError
from service.ingest import Decoder
from service.model.loader import load_model
from service.scoring.model import Model
from service.topic_catalogue import TopicNames

DAY_MS = 86_400_000
START_MS = 20_000 * DAY_MS
NAMES = TopicNames()
USAGE = NAMES.input("usage")


class FixedInputs:
    """Inputs of which every partition is read to its end, or none."""

    names = (*NAMES.inputs, NAMES.rekeyed)

    def __init__(self, *, read: bool) -> None:
        self.read = read

    def are_read(self, partition: int) -> bool:
        return self.read


class Bench:
    """One partition with its scorer and ingest, and a list in place of the broker."""

    def __init__(self, now_ms: int = START_MS + 400 * DAY_MS, model: Model | None = None) -> None:
        self.scorer = Scorer(model or load_model(), NAMES, "wall", lambda: now_ms)
        self.partition = Partition(0, self.scorer)
        self.recover([])
        self.sent: list[OutRecord] = []
        self.refuse_sends = False
        self.offset = 0
        self.ingest = Ingest(
            scorer=self.scorer,
            topics=NAMES,
            decoder=Decoder(lambda: now_ms),
            breaker=Breaker(0.05, 100),
            partitions=1,
            send=self.send,
            inputs=cast("Inputs", FixedInputs(read=True)),
        )

    def recover(self, records: Iterable[OutRecord]) -> None:
        """Take over a partition that has these changelog records."""
        stored = [ConsumerRecord("c", 0, 0, 0, 0, r.key, r.value, None, 0, 0, r.headers) for r in records]
        self.partition.apply_changelog(stored)
        self.scorer.recovered(self.partition, self.partition.finish_recovery())
        self.task: PartitionTask = self.scorer.tasks[0]

    async def send(self, records: list[OutRecord]) -> None:
        if self.refuse_sends:
            raise DependencyError("the broker is away")
        self.sent.extend(records)

    def batch(self, *values: bytes, account: str = "acme") -> RecordBatch:
        """Make a batch of usage records of an account."""
        records = []
        for value in values:
            key = account.encode()
            records.append(ConsumerRecord(USAGE, 0, self.offset, 0, 0, key, value, None, len(key), len(value), ()))
            self.offset += 1
        return RecordBatch(TP(USAGE, 0), records, self.partition)

    def apply(self, *values: bytes, account: str = "acme") -> RecordBatch:
        """Pass a batch through the ingest."""
        batch = self.batch(*values, account=account)
        asyncio.run(self.ingest.handler(0)(batch))
        return batch

    def all_dirty(self) -> tuple[list[bytes], ViewBudget, int]:
        """Return what a commit passes to the partition."""
        keys, progress = self.partition.begin_commit()
        return keys, ViewBudget(), progress

    def flush(self) -> list[OutRecord]:
        """Flush all dirty keys as the committer does; return the outputs."""
        keys = list(self.partition.dirty)
        _, outputs = self.partition.encode_dirty("changelog", keys, ViewBudget())
        for key, made in outputs.items():
            if made:
                self.scorer.published(self.partition, key, self.partition.data[key], made)
        return [output for made in outputs.values() for output in made]


def login(day: int, number: int = 0, account: str = "acme") -> bytes:
    time_ms = START_MS + day * DAY_MS + number * 1000
    return encode_input(
        "login", {"user": "u"}, event_id=f"{day}-{number}", source="test", account=account, time_ms=time_ms
    )


def busy(days: range, account: str = "acme") -> Iterator[bytes]:
    return (login(day, number, account) for day in days for number in range(3))


def alerts_of(outputs: list[OutRecord]) -> list[Any]:
    return [read_alert(output.value or b"").data for output in outputs if output.topic == NAMES.alerts]


def scores_of(outputs: Iterable[OutRecord]) -> dict[str, ScoreData]:
    scores = [read_score(output.value or b"").data for output in outputs if output.topic == NAMES.scores]
    return {score.account: score for score in scores}


def tick_until(bench: Bench, day: int) -> None:
    while bench.task.tick_due(START_MS + day * DAY_MS, 1000):
        pass


def test_a_batch_is_acked_after_its_dead_letters_only() -> None:
    """When the broker does not take a dead letter, the batch is not acked and the error stops the worker."""
    bench = Bench()
    bench.refuse_sends = True
    batch = bench.batch(b"not json")
    with pytest.raises(DependencyError):
        asyncio.run(bench.ingest.handler(0)(batch))
    refused = batch.applied
    bench.refuse_sends = False
    asyncio.run(bench.ingest.handler(0)(batch))
    assert (refused, batch.applied) == (False, True)
    assert [record.value for record in bench.sent] == [b"not json"]


def test_a_batch_of_a_revoked_partition_is_not_applied() -> None:
    """A batch that waited while its partition went and came back is left for its next reading."""
    bench = Bench()
    batch = bench.batch(login(0))
    bench.scorer.revoked(bench.partition)
    bench.scorer.recovered(Partition(0, bench.scorer), [])
    asyncio.run(bench.ingest.handler(0)(batch))
    assert not batch.applied
    assert not bench.scorer.tasks[0].partition.data


def test_silence_becomes_an_alert_that_leaves_with_the_next_flush() -> None:
    """Ticks alone bring a silent account down; the alert leaves with the flush that stores it, and is marked sent."""
    bench = Bench()
    bench.apply(*busy(range(80)))
    assert not alerts_of(bench.flush())
    tick_until(bench, 160)
    assert bench.task.urgent == {b"acme"}
    alerts = alerts_of(bench.flush())
    assert [alert.kind for alert in alerts] == ["score_drop", "at_risk", "endangered"]
    assert [alert.seq for alert in alerts] == [1, 2, 3]
    assert bench.partition.get(b"acme").unsent == ()  # type: ignore[union-attr]
    assert not alerts_of(bench.flush())


def test_moves_to_another_band_are_counted_also_of_partitions_that_went() -> None:
    """Each counts once, by the new band, whether a batch or a tick moved the account; a band that stays does not."""
    bench = Bench()
    bench.apply(*busy(range(80)))
    assert bench.scorer.band_changes() == {"healthy": 1}
    bench.apply(login(80), login(80, 1))
    tick_until(bench, 160)
    moved = {"healthy": 1, "at_risk": 1, "endangered": 1}
    assert bench.scorer.band_changes() == moved
    bench.scorer.revoked(bench.partition)
    assert bench.scorer.band_changes() == moved


def test_alerts_not_acknowledged_before_a_crash_are_sent_again_with_the_same_ids() -> None:
    """A recovered partition publishes the unsent alerts of its unpublished keys, and their scores."""
    bench = Bench()
    bench.apply(*busy(range(80)))
    tick_until(bench, 160)
    records, outputs = bench.partition.encode_dirty("changelog", *bench.all_dirty())
    lost = alerts_of(outputs[b"acme"])

    after = Bench()
    after.recover(records)
    outputs_again = after.flush()
    assert [alert.id for alert in alerts_of(outputs_again)] == [alert.id for alert in lost]
    assert sum(output.topic == NAMES.scores for output in outputs_again) == 1


def test_a_recovered_partition_wakes_the_accounts_that_are_due() -> None:
    """The heap is rebuilt from the stored states, without an event."""
    bench = Bench()
    bench.apply(*busy(range(80)))
    records, _ = bench.partition.encode_dirty("changelog", *bench.all_dirty())
    after = Bench()
    after.recover(records)
    tick_until(after, 160)
    assert [alert.kind for alert in alerts_of(after.flush())] == ["score_drop", "at_risk", "endangered"]


@pytest.mark.parametrize("read", [True, False])
def test_silence_is_judged_only_when_everything_is_read(*, read: bool) -> None:
    """After an outage the wall clock does not tick accounts whose events still wait to be read."""
    bench = Bench(now_ms=START_MS + 160 * DAY_MS)
    bench.apply(*busy(range(80)))

    async def let_time_pass() -> None:
        loop = asyncio.ensure_future(bench.scorer.tick_forever(cast("Inputs", FixedInputs(read=read))))
        await asyncio.sleep(0.3)
        loop.cancel()

    # Alerts wait for the urgent loop, which does not run here; one account stays below the backlog's bound.
    asyncio.run(let_time_pass())
    assert bool(bench.task.urgent) is read


class StuckCommitter:
    """Flushes every partition but one, whose brokers do not answer."""

    def __init__(self, stuck: int) -> None:
        self.stuck = stuck
        self.flushed: list[tuple[int, set[bytes]]] = []

    async def flush_urgent(self, partition: Partition, keys: set[bytes]) -> None:
        if partition.number == self.stuck:
            await asyncio.Event().wait()
        self.flushed.append((partition.number, keys))


def test_alerts_of_a_partition_do_not_wait_for_those_of_another() -> None:
    """While the flush of one partition stands still, the alerts of another leave, the later ones too."""

    async def run() -> list[tuple[int, set[bytes]]]:
        scorer, committer = Bench().scorer, StuckCommitter(stuck=0)
        tasks = [PartitionTask(Partition(number, scorer), scorer.model) for number in range(2)]
        scorer.tasks = dict(enumerate(tasks))
        publishing = asyncio.create_task(scorer.publish_urgent(cast("Committer", committer)))
        for key in (b"first", b"second"):
            for task in tasks:
                task.urgent.add(key)
                scorer.wake_urgent(task)
            for _ in range(3):
                await asyncio.sleep(0)
        publishing.cancel()
        return committer.flushed

    assert asyncio.run(run()) == [(1, {b"first"}), (1, {b"second"})]


def test_the_log_tells_what_was_done_and_that_nothing_was(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Counts are those of the last ten seconds, and a worker that waits says so once in every six of them."""
    reports = 14
    bench = Bench()
    bench.scorer.counters.add("dead_letter_not_json", 3)
    left = iter(range(reports))

    async def pass_time(_: float) -> None:
        if next(left, None) is None:
            raise asyncio.CancelledError

    monkeypatch.setattr("agents.scorer.asyncio.sleep", pass_time)
    caplog.set_level("INFO", logger="agents.scorer")

    async def report() -> None:
        with pytest.raises(asyncio.CancelledError):
            await bench.scorer.report_forever({})

    asyncio.run(report())
    assert caplog.messages == [
        "in 10 s: dead_letter_not_json 3",
        "waiting: nothing read for 60 s, 1 partition",
        "waiting: nothing read for 120 s, 1 partition",
    ]
