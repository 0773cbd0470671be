"""Alerts on disk until all of them can be written in the order of time; in memory stays one small entry each."""

from __future__ import annotations

from typing import BinaryIO, NamedTuple

from service.outputs import alert_message
from service.scoring.views import Alert


class _Entry(NamedTuple):
    time_ms: int
    account: str
    seq: int
    start: int
    length: int


class AlertSpool:
    """Takes alerts as accounts give them, and gives them back ordered by time, account and seq."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._entries: list[_Entry] = []
        self._end = 0

    def add(self, alert: Alert) -> None:
        """Keep one alert."""
        message = alert_message(alert)
        self._file.write(message)
        self._entries.append(_Entry(alert.time_ms, alert.account, alert.seq, self._end, len(message)))
        self._end += len(message)

    def write_sorted(self, out: BinaryIO) -> None:
        """Write all alerts as lines."""
        for entry in sorted(self._entries):
            self._file.seek(entry.start)
            out.write(self._file.read(entry.length) + b"\n")
