"""Messages on disk until all of them can be written in the order of time; in memory stays one small entry each."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple

from service.outputs import action_message, alert_message
from service.scoring.views import ActionTaken, Alert


class _Entry(NamedTuple):
    time_ms: int
    account: str
    seq: int
    start: int
    length: int


class Spool:
    """Takes messages of one kind as accounts give them, and gives them back ordered by time, account and seq."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._entries: list[_Entry] = []
        self._end = 0

    def add_alert(self, alert: Alert) -> None:
        """Keep one alert."""
        self._add(alert, alert_message(alert))

    def add_action(self, taken: ActionTaken) -> None:
        """Keep the outcome of one action."""
        self._add(taken, action_message(taken))

    def _add(self, view: Alert | ActionTaken, message: bytes) -> None:
        self._file.write(message)
        self._entries.append(_Entry(view.time_ms, view.account, view.seq, self._end, len(message)))
        self._end += len(message)

    def write_sorted(self, out: BinaryIO) -> None:
        """Write all messages as lines."""
        for entry in sorted(self._entries):
            self._file.seek(entry.start)
            out.write(self._file.read(entry.length) + b"\n")


class Spools(NamedTuple):
    """What a replay tells besides scores."""

    alerts: Spool
    actions: Spool


@contextmanager
def opened_spools() -> Iterator[Spools]:
    """Open spools that are gone afterwards."""
    with tempfile.TemporaryFile() as alerts, tempfile.TemporaryFile() as actions:
        yield Spools(Spool(alerts), Spool(actions))
