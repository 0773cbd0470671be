"""The worker as Prometheus sees it: read from what the parts count anyway, when somebody asks.

Lag in seconds comes from timestamps of records. When the oldest record that is not applied is not fetched yet, the last
one before it stands in: the oldest is younger, so the lag is never told too small.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, get_args

from faust.types import TP

from agents.runtime.app import RuntimeApp
from agents.scorer import Scorer
from schemas.outputs import Band, DeadLetterReason
from service.metrics import catalogue
from service.metrics.exposition import Sample

if TYPE_CHECKING:
    from agents.runtime.recovery import ChunkedRecovery
    from agents.runtime.transport import BatchConsumer

# As much as the rule that tells of lag (deploy/prometheus) allows.
READY_LAG_MS_MAX = 60_000


class WorkerMetrics:
    """Reads the app and its scorer; `inputs` are the topics by source index."""

    def __init__(self, app: RuntimeApp, scorer: Scorer, inputs: list[str], version: str) -> None:
        self._app = app
        self._scorer = scorer
        self._inputs = inputs
        self._version = version

    def samples(self) -> Iterator[Sample]:
        """Give everything that the worker tells."""
        yield Sample(catalogue.BUILD, 1, {"version": self._version, "role": "worker"})
        yield Sample(catalogue.MODEL, 1, {"version": self._scorer.model.version})
        yield from self._outcomes()
        yield from self._lag()
        yield from self._commits()
        yield from self._accounts()
        yield from self._recovery()

    def unready(self) -> Iterator[str]:
        """Tell what keeps the worker from being ready; one without partitions, while others have them, is ready."""
        app = self._app
        if app.rebalancing:
            yield "a rebalance is under way"
        elif app.state_table.recovering:
            yield f"state is read back: {self._recovery_of().remaining_records()} records to go"
        elif not self._consumer_of().flow_active:
            yield "starting: no partitions assigned yet"
        else:
            now_ms = self._scorer.now_ms()
            late_ms = now_ms - min(self._oldest_unapplied_ms(), default=now_ms)
            if late_ms > READY_LAG_MS_MAX:
                yield f"{late_ms // 1000} s behind; a worker that is ready is {READY_LAG_MS_MAX // 1000} s at most"

    def _oldest_unapplied_ms(self) -> Iterator[int]:
        for name in self._inputs:
            yield from self._unapplied(name)[1]

    def _unapplied(self, topic: str) -> tuple[int, list[int]]:
        """Count an input's records that are not applied yet, and give the oldest timestamps that are known of them."""
        consumer = self._consumer_of()
        owned = [TP(topic, number) for number in self._app.state_table.owned]
        unapplied = {tp: records for tp in owned if (records := consumer.unapplied_records(tp))}
        found = (consumer.oldest_unapplied_ms(tp) or self._scorer.figures.applied_to_ms.get(tp) for tp in unapplied)
        return sum(unapplied.values()), [time_ms for time_ms in found if time_ms is not None]

    def _outcomes(self) -> Iterator[Sample]:
        scorer = self._scorer
        counted, events = scorer.counters.outcomes, scorer.events()
        for source, topic in enumerate(catalogue.TOPICS):
            for outcome in catalogue.OUTCOMES:
                yield Sample(catalogue.EVENTS, events[source, outcome], {"topic": topic, "outcome": outcome})
        yield Sample(catalogue.REKEYED, counted.get("rekeyed", 0))
        for reason in get_args(DeadLetterReason):
            yield Sample(catalogue.DEAD_LETTERS, counted.get(f"dead_letter_{reason}", 0), {"reason": reason})
        yield Sample(catalogue.EVENT_AGE, scorer.figures.event_age)
        yield Sample(catalogue.ALERT_LATENCY, scorer.figures.alert_latency)
        for kind in {*scorer.model.cool_downs, *scorer.figures.alerts}:
            yield Sample(catalogue.ALERTS, scorer.figures.alerts[kind], {"kind": kind})
        yield Sample(catalogue.SCORES, counted.get("scores", 0))
        band_changes = scorer.band_changes()
        for band in get_args(Band):
            yield Sample(catalogue.BAND_CHANGES, band_changes[band], {"to": band})

    def _lag(self) -> Iterator[Sample]:
        now_ms = self._scorer.now_ms()
        for name, topic in zip(self._inputs, catalogue.TOPICS, strict=True):
            records, known = self._unapplied(name)
            yield Sample(catalogue.LAG_RECORDS, records, {"topic": topic})
            yield Sample(catalogue.LAG_SECONDS, max(now_ms - min(known, default=now_ms), 0) / 1000, {"topic": topic})
            if known:
                yield Sample(catalogue.OLDEST_UNAPPLIED, min(known) / 1000, {"topic": topic})

    def _commits(self) -> Iterator[Sample]:
        stats = self._app.committer.stats
        yield Sample(catalogue.COMMITS, stats.commits)
        yield Sample(catalogue.COMMIT_DURATION, stats.commit_seconds)
        yield Sample(catalogue.FLUSHES, stats.flushes)
        yield Sample(catalogue.FLUSH_DURATION, stats.flush_seconds)
        yield Sample(catalogue.STATE_RECORDS, stats.state_records)
        yield Sample(catalogue.STATE_BYTES, stats.state_bytes)

    def _accounts(self) -> Iterator[Sample]:
        partitions, tasks = self._app.state_table.owned.values(), self._scorer.tasks.values()
        yield Sample(catalogue.PARTITIONS, len(partitions))
        yield Sample(catalogue.STATE_KEYS, sum(len(partition.data) for partition in partitions))
        yield Sample(catalogue.SCORES_WAITING, sum(len(partition.outdated) for partition in partitions))
        yield Sample(catalogue.STALE_ACCOUNTS, sum(len(task.stale) for task in tasks))
        yield Sample(catalogue.TICKS, self._scorer.figures.ticks)
        if self._scorer.clock == "wall":
            now_ms = self._scorer.now_ms()
            due_ms = min((task.due[0][0] for task in tasks if task.due), default=now_ms)
            yield Sample(catalogue.TICK_DELAY, max(now_ms - due_ms, 0) / 1000)

    def _consumer_of(self) -> BatchConsumer:
        consumer: BatchConsumer = self._app.consumer  # type: ignore[assignment]  # our transport's
        return consumer

    def _recovery_of(self) -> ChunkedRecovery:
        recovery: ChunkedRecovery = self._app.tables.recovery  # type: ignore[attr-defined]  # our table manager's
        return recovery

    def _recovery(self) -> Iterator[Sample]:
        recovery = self._recovery_of()
        is_recovering = bool(self._app.state_table.recovering)
        yield Sample(catalogue.RECOVERING, is_recovering)
        yield Sample(catalogue.RECOVERY_REMAINING, recovery.remaining_records() if is_recovering else 0)
        yield Sample(catalogue.RECOVERY_DURATION, recovery.recovery_seconds)
        yield Sample(catalogue.REBALANCES, self._app.rebalancing_count)
