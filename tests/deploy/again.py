"""What goes on by itself while something else is tested or measured."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Again:
    """Does something again and again in a thread until the block ends; what it raises is raised then."""

    def __init__(self, work: Callable[[], object], pause_seconds: float) -> None:
        self._work = work
        self._pause_seconds = pause_seconds
        self._ended = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._ended.wait(self._pause_seconds):
            try:
                self._work()
            except Exception as error:  # raised in the test's thread
                self._error = error
                return

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(30)
        if self._error is not None:
            raise self._error
