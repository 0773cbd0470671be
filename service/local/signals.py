"""What Ctrl-C, SIGTERM and SIGHUP mean while processes are started, run and stopped; nothing else listens there."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopSignals:
    """At first a signal raises KeyboardInterrupt; later it is handed to whoever asked, or to nobody."""

    def __init__(self) -> None:
        self._handle: Callable[[], object] | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in NUMBERS:
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup stays nohup
                self._before[number] = signal.signal(number, self._arrived)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def hand_to(self, handle: Callable[[], object]) -> None:
        """Call this at a signal, between two steps of the main thread."""
        self._handle = handle

    def ignore(self) -> None:
        """Do nothing at a signal: what follows takes a bounded time and must not be left half done."""
        self._handle = lambda: None

    def _arrived(self, _number: int, _frame: FrameType | None) -> None:
        if self._handle is None:
            raise KeyboardInterrupt
        self._handle()
