"""What the worker's metrics need and nothing else counts: noted for a batch, a slice or an alert, never an event."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from faust.types import TP

from agents.runtime.batch import RecordBatch
from service.metrics.buckets import Buckets
from service.metrics.catalogue import ALERT_LATENCY, EVENT_AGE
from service.scoring.views import Alert


@dataclass(slots=True)
class Figures:
    """Counts since the start; ages are of live events, so under the event clock there are none."""

    is_live: bool
    event_age: Buckets = field(default_factory=lambda: Buckets(EVENT_AGE.bounds))
    alert_latency: Buckets = field(default_factory=lambda: Buckets(ALERT_LATENCY.bounds))
    alerts: Counter[str] = field(default_factory=Counter)
    ticks: int = 0
    applied_to_ms: dict[TP, int] = field(default_factory=dict)
    """By input partition: the timestamp of the last record that was taken; what comes behind it is younger."""

    def note_batch(self, batch: RecordBatch, now_ms: int) -> None:
        """Note that a batch was taken: every event as old as the first of them."""
        records = batch.records
        self.applied_to_ms[batch.tp] = records[-1].timestamp
        if self.is_live:
            self.event_age.add((now_ms - records[0].timestamp) / 1000, len(records))

    def note_alerts(self, alerts: list[Alert], since_ms: int | None, now_ms: int) -> None:
        """Note alerts that were acknowledged, and since when they were due; None when that is not known any more."""
        for alert in alerts:
            self.alerts[alert.kind] += 1
            if self.is_live:
                self.alert_latency.add((now_ms - (alert.time_ms if since_ms is None else since_ms)) / 1000)
