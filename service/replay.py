"""The scoring core without Kafka: a log of events in, scores and alerts out, the same as a worker would give.

Each account runs on its own event clock: its due ticks run before its next event and at the end, so that its alerts
depend on its own events alone. Memory is bounded by the accounts: messages go to disk as they come.
"""

from __future__ import annotations

import heapq
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import orjson

from schemas.times import time_text
from service.errors import InputError
from service.ingest import Decoder
from service.input_files import FileEvent, InputFile, RefusedLine
from service.outputs import alert_message, score_message
from service.scoring.effects import ALERTED, DUPLICATE, LATE
from service.scoring.engine import mark_sent, step, tick
from service.scoring.explain import score_view
from service.scoring.model import Model
from service.scoring.state import AccountState
from service.scoring.views import Alert
from service.topic_catalogue import TOPIC_KINDS

PROGRESS_EVENTS = 2_000
KIND_ORDER = {kind: index for index, kind in enumerate(TOPIC_KINDS)}


@dataclass(slots=True)
class ReplaySummary:
    """What a replay did; the same input gives the same summary."""

    model_version: str
    until_ms: int | None = None
    events: int = 0
    accounts: int = 0
    bands: dict[str, int] = field(default_factory=dict)
    alerts: dict[str, int] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    late: int = 0
    duplicates: int = 0
    after_until: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return the summary ready for JSON, with the end as a time of the wire."""
        from_core = asdict(self)
        until_ms = from_core.pop("until_ms")
        return {"until": None if until_ms is None else time_text(until_ms), **from_core}


class _AlertEntry(NamedTuple):
    time_ms: int
    account: str
    seq: int
    start: int
    length: int


class _AlertSpool:
    """Alerts in the order of accounts' work, kept on disk until they can be written in the order of time."""

    def __init__(self, spool: BinaryIO) -> None:
        self._spool = spool
        self._entries: list[_AlertEntry] = []
        self._end = 0

    def add(self, alert: Alert) -> None:
        """Keep one alert."""
        message = alert_message(alert)
        self._spool.write(message)
        self._entries.append(_AlertEntry(alert.time_ms, alert.account, alert.seq, self._end, len(message)))
        self._end += len(message)

    def write_sorted(self, out: BinaryIO) -> None:
        """Write all alerts as lines, ordered by time, account and seq."""
        for entry in sorted(self._entries):
            self._spool.seek(entry.start)
            out.write(self._spool.read(entry.length) + b"\n")


class Replay:
    """One replay: `apply` events in order, then `finish` once."""

    def __init__(self, model: Model, until_ms: int | None = None, spool: BinaryIO | None = None) -> None:
        self.summary = ReplaySummary(model.version)
        self._model = model
        self._until_ms = until_ms
        self._latest_ms: int | None = until_ms
        self._spool = _AlertSpool(spool) if spool is not None else None
        self._alerts: Counter[str] = Counter()
        self.states: dict[str, AccountState] = {}

    def apply(self, item: FileEvent) -> None:
        """Apply one event to its account, unless it happened after the end."""
        event = item.event
        summary = self.summary
        if self._until_ms is not None and event.time_ms > self._until_ms:
            summary.after_until += 1
            return
        state = self.states.get(event.account)
        if state is None:
            state = self.states[event.account] = AccountState(event.account)
        if self._latest_ms is None or event.time_ms > self._latest_ms:
            self._latest_ms = event.time_ms
        done = step(state, event, event.time_ms, self._model)
        summary.events += 1
        if done & DUPLICATE:
            summary.duplicates += 1
        elif done & LATE:
            summary.late += 1
        if done & ALERTED:
            self._take_alerts(state)

    def refuse(self, line: RefusedLine) -> None:
        """Count a line that holds no event."""
        self.summary.refused[line.reason] = self.summary.refused.get(line.reason, 0) + 1

    def finish(self, write_score: Callable[[bytes], object] | None = None) -> ReplaySummary:
        """Let time pass to the end for every account, hand out each one's score event, and complete the summary."""
        bands: Counter[str] = Counter()
        for account in sorted(self.states):
            state = self.states[account]
            if self._latest_ms is not None and tick(state, self._latest_ms, self._model) & ALERTED:
                self._take_alerts(state)
            bands[state.band] += 1
            if write_score is not None:
                write_score(score_message(score_view(state, self._model)) + b"\n")
        summary = self.summary
        summary.until_ms = self._latest_ms
        summary.accounts = len(self.states)
        summary.bands = dict(sorted(bands.items()))
        summary.alerts = dict(sorted(self._alerts.items()))
        summary.refused = dict(sorted(summary.refused.items()))
        return summary

    def write_alerts(self, out: BinaryIO) -> None:
        """Write every alert as a line, ordered by time, account and seq."""
        if self._spool is not None:
            self._spool.write_sorted(out)

    def _take_alerts(self, state: AccountState) -> None:
        for alert in state.unsent:
            self._alerts[alert.kind] += 1
            if self._spool is not None:
                self._spool.add(alert)
        mark_sent(state, state.seq)


def merge_events(streams: Sequence[Iterable[FileEvent]]) -> Iterator[FileEvent]:
    """Merge streams by event time as the worker merges its inputs: ties by kind, then in the order of the streams."""
    ordered = [_ties_by_kind(stream) for stream in streams]
    return ordered[0] if len(ordered) == 1 else heapq.merge(*ordered, key=_merge_key)


def _merge_key(item: FileEvent) -> tuple[int, int]:
    return item.event.time_ms, KIND_ORDER[item.kind]


def _ties_by_kind(stream: Iterable[FileEvent]) -> Iterator[FileEvent]:
    for _, ties in groupby(stream, key=lambda item: item.event.time_ms):
        yield from sorted(ties, key=lambda item: KIND_ORDER[item.kind])


def replay_files(
    files: Sequence[InputFile],
    decoder: Decoder,
    model: Model,
    *,
    until_ms: int | None = None,
    out: Path | None = None,
    refuse: Callable[[RefusedLine], None] = lambda _: None,
    progress: Callable[[int], None] = lambda _: None,
) -> ReplaySummary:
    """Replay files up to `until_ms` (None: the latest event); write `scores.ndjson`, `alerts.ndjson`, `summary.json`.

    `refuse` is told every line without an event, `progress` the number of events so far. Without `out` nothing is
    written. Raises InputError when a file cannot be read or `out` cannot be written.
    """
    with tempfile.TemporaryFile() as spool:
        replay = Replay(model, until_ms, spool if out is not None else None)

        def note(line: RefusedLine) -> None:
            replay.refuse(line)
            refuse(line)

        for count, item in enumerate(merge_events([file.events(decoder, note) for file in files])):
            replay.apply(item)
            if not count % PROGRESS_EVENTS:
                progress(count)
        return replay.finish() if out is None else _write_all(replay, out)


def _write_all(replay: Replay, out: Path) -> ReplaySummary:
    try:
        out.mkdir(parents=True, exist_ok=True)
        with (out / "scores.ndjson").open("wb") as scores:
            summary = replay.finish(scores.write)
        with (out / "alerts.ndjson").open("wb") as alerts:
            replay.write_alerts(alerts)
        (out / "summary.json").write_bytes(orjson.dumps(summary.as_json(), option=orjson.OPT_INDENT_2) + b"\n")
    except OSError as error:
        raise InputError(f"--out {out} cannot be written: {error.strerror or error}; name another folder") from None
    return summary
